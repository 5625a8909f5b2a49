"""Tables on disk: what is read from a cache, and caches that cannot be."""

import os

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from tables import GOOD, read, refusal

from datamodules import TensorBatches, UserError
from datamodules.tabular import reading, statistics, store
from datamodules.tabular import rows as rows_room


def test_a_mapped_table_gives_what_memory_gives(table, people, tmp_path, monkeypatch):
    whole = table(people, "left")
    mapped = table(people, "left", cache="yes", cache_dir=str(tmp_path / "cache"))
    for split in ("train", "val", "test"):
        torch.testing.assert_close(
            mapped.splits[split][0][:], whole.splits[split][0], equal_nan=True
        )
    assert mapped.input_shape == whole.input_shape
    ours = [x for x, _ in mapped.val_dataloader()]
    torch.testing.assert_close(torch.cat(ours), whole.splits["val"][0], equal_nan=True)
    batches = [torch.cat([x, y[:, None]], 1) for x, y in mapped.train_dataloader()]
    theirs = [torch.cat([x, y[:, None]], 1) for x, y in whole.train_dataloader()]
    torch.testing.assert_close(torch.cat(batches), torch.cat(theirs), equal_nan=True)


def test_a_large_table_is_shuffled_in_windows_and_every_row_is_read(table, tmp_path, monkeypatch):
    frame = pd.DataFrame(
        {"x": np.random.default_rng(0).permutation(5_000) * 0.5, "y": np.arange(5_000) % 2}
    )
    data = table(frame, "y", cache="yes", cache_dir=str(tmp_path / "cache"))
    monkeypatch.setattr(rows_room, "WINDOWED_FROM", 0)
    monkeypatch.setattr(rows_room, "WINDOW_BYTES", 4 * 2_000)
    batches = data.train_dataloader()
    first = torch.cat([x for x, _ in batches]).flatten()
    batches.set_epoch(1)
    second = torch.cat([x for x, _ in batches]).flatten()
    expected = data.splits["train"][0][:].flatten()
    assert not torch.equal(first, second)
    for order in (first, second):
        torch.testing.assert_close(order.sort().values, expected.sort().values)


def test_many_columns_are_read_few_rows_at_a_time_and_give_the_same(table, monkeypatch):
    numbers = np.random.default_rng(0).normal(size=(200, 60))
    frame = pd.DataFrame(numbers, columns=[f"x{i}" for i in range(60)]).assign(y=list("ny") * 100)
    whole = table(frame, "y")
    monkeypatch.setattr(reading, "CELLS", 61 * 7)
    monkeypatch.setattr(rows_room, "BLOCK_NUMBERS", 60 * 7)
    monkeypatch.setattr(statistics, "QUANTILE_NUMBERS", 60 * 140)
    pieces = table(frame, "y")
    for split in ("train", "val", "test"):
        torch.testing.assert_close(pieces.splits[split], whole.splits[split], rtol=0, atol=0)
    for one, other in zip(*(d.preprocessing["numeric"] for d in (whole, pieces)), strict=True):
        assert one == {**other, **{k: pytest.approx(other[k], rel=1e-12) for k in ("mean", "std")}}


@pytest.fixture(params=["mapped", "in windows"])
def numbered(request, table, tmp_path, monkeypatch):
    """Make the datamodule of a mapped table whose 3,001 training rows are numbered, in any order.

    One that is too large to stay in memory is read in windows, here of 1,000 rows.
    """
    if request.param == "in windows":
        monkeypatch.setattr(rows_room, "WINDOWED_FROM", 0)
        monkeypatch.setattr(rows_room, "WINDOW_BYTES", 4 * 1_000)
    numbers = np.random.default_rng(0).permutation(3_201)
    frame = pd.DataFrame({"x": numbers * 0.5, "y": np.arange(3_201) % 2})
    settings = {"val_split": 100, "test_split": 100, "batch_size": 375}

    def make(**options):
        return table(
            frame, "y", cache="yes", cache_dir=str(tmp_path / "cache"), **{**settings, **options}
        )

    return make


class Reader(pl.LightningModule):
    """A network that remembers the batches that it was shown."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.read = []

    def training_step(self, batch, batch_idx):
        self.read.append(batch[0].flatten().tolist())
        return self.layer(batch[0]).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def shown(data, folder, ckpt_path=None):
    """Return the batches of a training of two epochs, saved after updates 3, 6, 9, ..."""
    reader = Reader()
    saving = ModelCheckpoint(folder, "{step}", every_n_train_steps=3, save_top_k=-1)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        callbacks=[saving],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(reader, datamodule=data, ckpt_path=ckpt_path)
    return reader.read


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("step", [3, 12])
def test_a_training_from_a_map_goes_on_where_it_was(numbered, tmp_path, step):
    whole = shown(numbered(), tmp_path / "checkpoints")
    assert len(whole) == 16
    for epoch in (whole[:8], whole[8:]):
        assert len({x for batch in epoch for x in batch}) == 3_001
    checkpoint = tmp_path / "checkpoints" / f"step={step}.ckpt"
    resumed = shown(numbered(), tmp_path / "again", ckpt_path=str(checkpoint))
    assert resumed == whole[step:]


def test_a_last_single_row_of_a_map_joins_the_batch_before_it(numbered):
    # Batch normalisation cannot train on one row: 3,001 rows are 8 batches of 375 and one more.
    batches = numbered().train_dataloader()
    assert [len(x) for x, _ in batches] == [375] * 7 + [376]
    assert len(batches) == 8


def test_the_order_of_a_map_follows_the_seed_of_the_run(numbered, monkeypatch):
    def order(run_seed, data_seed):
        monkeypatch.setenv("PL_GLOBAL_SEED", str(run_seed))
        return numbered(seed=data_seed).train_dataloader().indices().tolist()

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) == order(1, 5)
    assert order(1, 0) != order(2, 0)
    assert sorted(order(2, 0)) == list(range(3_001))


@pytest.mark.parametrize("split", ["train", "val"])
def test_two_processes_read_every_row_of_a_map_once(numbered, split):
    x, y = numbered(val_split=101).splits[split]  # 3,000 rows to train on
    options = {"shuffle": True} if split == "train" else {}
    ranks = [TensorBatches(x, y, 64, **options, rank=rank, world_size=2) for rank in range(2)]
    read = torch.cat([b for r in ranks for b, _ in r]).flatten()
    torch.testing.assert_close(read.sort().values, x[:].flatten().sort().values)
    assert len({len(r) for r in ranks}) == 1


def test_a_cache_that_was_cut_short_is_made_again(file, tmp_path):
    path, folder = file(GOOD), tmp_path / "cache"
    first = read(path, cache="yes", cache_dir=str(folder)).splits["train"][0][:]
    rows = next(folder.glob("*/rows.f32"))
    for damage in (rows.read_bytes()[:-4], b""):
        rows.write_bytes(damage)
        again = read(path, cache="yes", cache_dir=str(folder)).splits["train"][0][:]
        np.testing.assert_array_equal(again.numpy(), first.numpy())
        assert len(rows.read_bytes()) == 40 * 2 * 4
    next(folder.glob("*/table.json")).write_text("{")
    read(path, cache="yes", cache_dir=str(folder))
    assert [p.name[0] for p in folder.iterdir()] == ["t"], "nothing temporary is left behind"


def test_a_changed_file_is_read_anew(file, tmp_path):
    options = {"cache": "yes", "cache_dir": str(tmp_path / "cache")}
    path = file(GOOD)
    read(path, **options)
    path.write_text(GOOD.replace(",a,", ",d,"))
    os.utime(path, ns=(1, 1))
    changed = read(path, **options)
    assert "d" in changed.preprocessing["categorical"][0]["vocabulary"]


def test_caches_of_a_file_as_it_was_are_removed(file, tmp_path):
    path, folder = file(GOOD), tmp_path / "cache"
    options = {"cache": "yes", "cache_dir": str(folder)}
    read(path, **options)
    read(path, **options, missing=["nil"])
    assert len(list(folder.iterdir())) == 2  # the same file, read in two ways
    path.write_text(path.read_text() + path.read_text().splitlines()[-1] + "\n")
    read(path, **options)
    assert len(list(folder.iterdir())) == 1


def test_no_room_for_the_cache(file, tmp_path, monkeypatch):
    usage = store.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: usage._replace(free=10))
    message = refusal(file(GOOD), cache="yes", cache_dir=str(tmp_path / "cache"))
    assert "No space for the table's cache" in message
    assert "--data.cache_dir" in message
    assert "--data.cache no" in message


def test_a_disk_that_fills_while_the_cache_is_written(file, tmp_path):
    # /dev/full answers every write with "no space left on device".
    writer = store.CacheWriter(tmp_path / "cache" / "t", 10, [])
    writer._rows = open("/dev/full", "wb", buffering=0)  # noqa: SIM115, PTH123
    with pytest.raises(UserError, match="No space"):
        writer.write(np.zeros((2, 2), np.float32), np.zeros((2, 1)))
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_folder_that_cannot_be_written(file, tmp_path):
    (tmp_path / "cache").write_text("a file is in the way")
    message = refusal(file(GOOD), cache="yes", cache_dir=str(tmp_path / "cache"))
    assert "cannot be written" in message
