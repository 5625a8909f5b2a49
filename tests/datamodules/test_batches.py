"""TensorBatches: order, shards, and going on in the middle of an epoch."""

from collections import Counter
from typing import Any

import pytest
import torch

from datamodules import TensorBatches
from datamodules.errors import UserError


def batches(count: int, batch_size: int, **options: object) -> TensorBatches:
    """Return batches of examples that are their own numbers."""
    x = torch.arange(count)
    return TensorBatches(x, 10 * x, batch_size, **options)


def read(loader: TensorBatches) -> list[list[int]]:
    return [x.tolist() for x, _ in loader]


def flat(loader: TensorBatches) -> list[int]:
    return [i for batch in read(loader) for i in batch]


def test_every_example_comes_once_with_its_own_target() -> None:
    loader = batches(10, 4)
    assert read(loader) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(loader) == 3
    assert all((y == 10 * x).all() for x, y in batches(10, 4, shuffle=True))


def test_order_follows_from_seed_and_epoch_alone() -> None:
    first, again, other_seed = (batches(50, 8, shuffle=True, seed=s) for s in (3, 3, 4))
    torch.rand(5)  # the global generator has no say
    assert read(first) == read(again)
    assert sorted(flat(first)) == list(range(50))
    assert read(first) != read(other_seed)
    first.set_epoch(1)
    assert read(first) != read(again)
    again.set_epoch(4)  # the order needs no memory of earlier epochs
    again.set_epoch(1)
    assert read(first) == read(again)


@pytest.mark.parametrize("options", [{"shuffle": True}, {"replacement": True}])
def test_no_two_epochs_of_any_seeds_are_in_the_same_order(options: dict[str, bool]) -> None:
    orders = set()
    for seed in range(20):
        loader = batches(50, 8, seed=seed, **options)
        for epoch in range(20):
            loader.set_epoch(epoch)
            orders.add(tuple(loader.indices().tolist()))
    assert len(orders) == 20 * 20


def test_every_order_is_equally_likely() -> None:
    loader = batches(3, 1, shuffle=True)
    counts: Counter[tuple[int, ...]] = Counter()
    for epoch in range(1200):
        loader.set_epoch(epoch)
        counts[tuple(flat(loader))] += 1
    # Six orders, 200 times each with a standard deviation of 13.
    assert len(counts) == 6
    assert all(140 < count < 260 for count in counts.values())


def test_several_inputs_are_batched_together() -> None:
    numbers = torch.arange(10)
    loader = TensorBatches({"a": numbers, "b": (2 * numbers, 3 * numbers)}, numbers, 4)
    read_back = list(loader)
    assert [len(y) for _, y in read_back] == [4, 4, 2]
    for x, y in read_back:
        assert torch.equal(x["a"], y)
        assert torch.equal(x["b"][0], 2 * y)
        assert torch.equal(x["b"][1], 3 * y)
    with pytest.raises(ValueError, match="9 inputs but 10 targets"):
        TensorBatches((numbers, numbers[1:]), numbers, 4)


def test_shuffling_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    read(batches(50, 8, shuffle=True))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("join_single", [False, True])
@pytest.mark.parametrize("world_size", [2, 3, 7])
@pytest.mark.parametrize("count", [7, 20, 21, 22, 56, 57, 63])
def test_training_ranks_read_every_example_once_in_equally_many_batches(
    count: int, world_size: int, join_single: bool
) -> None:
    options = {"shuffle": True, "join_single": join_single, "world_size": world_size}
    ranks = [batches(count, 4, rank=r, **options) for r in range(world_size)]
    seen = [read(loader) for loader in ranks]
    assert sorted(i for rank in seen for batch in rank for i in batch) == list(range(count))
    assert len({len(rank) for rank in seen}) == 1
    assert [len(loader) for loader in ranks] == [len(rank) for rank in seen]
    assert all(batch for rank in seen for batch in rank)
    # Together they read in the order of one process.
    order = flat(batches(count, count, shuffle=True))
    assert [flat(loader) for loader in ranks] == [order[r::world_size] for r in range(world_size)]


@pytest.mark.parametrize("count", [20, 21, 22])
def test_evaluating_ranks_score_every_example_exactly_once(count: int) -> None:
    shards = [flat(batches(count, 4, rank=r, world_size=3)) for r in range(3)]
    assert sorted(i for shard in shards for i in shard) == list(range(count))


def test_two_ranks_of_half_the_batch_make_the_batches_of_one_process() -> None:
    whole = read(batches(32, 8, shuffle=True))
    halves = [batches(32, 4, shuffle=True, rank=r, world_size=2) for r in (0, 1)]
    for batch, *parts in zip(whole, *map(read, halves), strict=True):
        assert sorted(batch) == sorted(parts[0] + parts[1])


def test_a_last_single_example_joins_the_batch_before_it() -> None:
    # Batch normalisation cannot train on one example.
    assert read(batches(9, 4, join_single=True)) == [[0, 1, 2, 3], [4, 5, 6, 7, 8]]
    assert len(batches(9, 4, join_single=True)) == 2
    assert read(batches(10, 4, join_single=True))[-1] == [8, 9]
    assert read(batches(1, 4, join_single=True)) == [[0]]
    assert read(batches(3, 1, join_single=True)) == [[0], [1], [2]]


def test_replacement_draws_as_many_but_not_every_one() -> None:
    loader = batches(100, 10, replacement=True, seed=1)
    drawn = flat(loader)
    assert len(drawn) == 100
    assert 50 < len(set(drawn)) < 80  # 1 - 1/e of them, 63, on average
    loader.set_epoch(1)
    assert flat(loader) != drawn


@pytest.mark.parametrize("stop_after", [1, 3, 5])
def test_resumes_in_the_middle_of_an_epoch(stop_after: int) -> None:
    interrupted = batches(50, 8, shuffle=True, seed=5)
    interrupted.set_epoch(2)
    whole = read(interrupted)
    reading = iter(interrupted)
    for _ in range(stop_after):
        next(reading)
    state = interrupted.state_dict()

    resumed = batches(50, 8, shuffle=True, seed=5)
    resumed.load_state_dict(state)
    reading = iter(resumed)  # Lightning asks for the iterator before it sets the epoch
    resumed.set_epoch(2)
    assert [x.tolist() for x, _ in reading] == whole[stop_after:]
    # The next epoch is a whole one.
    resumed.set_epoch(3)
    assert len(read(resumed)) == len(whole)


def test_an_epoch_left_early_does_not_shorten_the_next() -> None:
    # `limit_train_batches` leaves an epoch early without an interruption.
    loader = batches(50, 8, shuffle=True)
    next(iter(loader))
    assert sorted(flat(loader)) == list(range(50))
    state = loader.state_dict()
    resumed = batches(50, 8, shuffle=True)
    resumed.load_state_dict(state)
    resumed.set_epoch(1)
    assert sorted(flat(resumed)) == list(range(50))


def test_a_state_from_the_end_of_an_epoch_begins_a_whole_one() -> None:
    loader = batches(50, 8)
    read(loader)
    resumed = batches(50, 8)
    resumed.load_state_dict(loader.state_dict())
    assert len(read(resumed)) == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 4, "rank": 2, "world_size": 2}, "rank"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        batches(10, **options)


def test_inputs_and_targets_must_be_equally_many() -> None:
    with pytest.raises(ValueError, match="3 inputs but 2 targets"):
        TensorBatches(torch.zeros(3), torch.zeros(2), 1)


@pytest.mark.parametrize("state", [{"position": 3}, {"epoch": "1", "position": 3}, {}, []])
def test_a_place_in_the_data_that_is_none_is_refused(state: Any) -> None:
    with pytest.raises(UserError, match="the place in the data"):
        batches(6, 2).load_state_dict(state)
