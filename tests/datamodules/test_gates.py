"""The truth tables."""

import pytest
import torch

from datamodules import LogicGate

TABLES = {"and": [0, 0, 0, 1], "or": [0, 1, 1, 1], "xor": [0, 1, 1, 0]}


@pytest.mark.parametrize("gate", TABLES)
def test_the_table_in_order(gate: str) -> None:
    data = LogicGate(gate)
    for split in ("train", "val", "test"):
        x, y = data.splits[split]
        assert x.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
        assert y.tolist() == TABLES[gate]
        assert (x.dtype, y.dtype) == (torch.float32, torch.float32)
    assert (data.input_shape, data.task, data.num_outputs) == ((2,), "binary", 1)
    assert data.class_names == ["0", "1"]
    assert data.num_classes == 2


def test_an_epoch_in_the_tables_order_shuffled_or_drawn() -> None:
    def epoch(number: int, **options: bool) -> list[tuple[float, ...]]:
        loader = LogicGate("xor", batch_size=1, **options).train_dataloader()
        loader.set_epoch(number)
        return [tuple(x.flatten().tolist()) for x, _ in loader]

    table = [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)]
    assert epoch(0, shuffle=False) == epoch(1, shuffle=False) == table
    orders = [epoch(n) for n in range(5)]
    assert all(sorted(order) == table for order in orders)
    assert len({tuple(order) for order in orders}) > 1
    drawn = [epoch(n, replacement=True) for n in range(5)]
    assert all(len(order) == 4 for order in drawn)
    assert any(len(set(order)) < 4 for order in drawn)


def test_repeats_make_the_training_epoch_longer() -> None:
    data = LogicGate("or", repeats=8, batch_size=4)
    assert len(data.train_dataloader()) == 8
    assert sum(len(x) for x, _ in data.val_dataloader()) == 4
