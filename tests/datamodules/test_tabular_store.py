"""Tables on disk: what is read from a cache, and caches that cannot be."""

import os

import numpy as np
import pandas as pd
import pytest
import torch
from tables import GOOD, read, refusal

from datamodules import UserError
from datamodules.tabular import rows as rows_room
from datamodules.tabular import store


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


def test_every_rank_reads_its_own_rows_of_a_large_table(table, tmp_path, monkeypatch):
    frame = pd.DataFrame(
        {"x": np.random.default_rng(0).permutation(3_000) * 0.5, "y": np.arange(3_000) % 2}
    )
    data = table(frame, "y", cache="yes", cache_dir=str(tmp_path / "cache"))
    monkeypatch.setattr(rows_room, "WINDOWED_FROM", 0)
    x, y = data.splits["train"]
    ranks = [
        rows_room.RowBatches(x, y, 64, shuffle=True, pad=True, rank=rank, world_size=2)
        for rank in range(2)
    ]
    read = torch.cat([b for r in ranks for b, _ in r]).flatten()
    torch.testing.assert_close(read.sort().values, x[:].flatten().sort().values)


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
    assert "No room for the table's cache" in message
    assert "--data.cache_dir" in message
    assert "--data.cache no" in message


def test_a_disk_that_fills_while_the_cache_is_written(file, tmp_path):
    # /dev/full answers every write with "no space left on device".
    writer = store.CacheWriter(tmp_path / "cache" / "t", 10, [])
    writer._rows = open("/dev/full", "wb", buffering=0)  # noqa: SIM115, PTH123
    with pytest.raises(UserError, match="No room"):
        writer.write(np.zeros((2, 2), np.float32), np.zeros((2, 1)))
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_folder_that_cannot_be_written(file, tmp_path):
    (tmp_path / "cache").write_text("a file is in the way")
    message = refusal(file(GOOD), cache="yes", cache_dir=str(tmp_path / "cache"))
    assert "cannot be written" in message
