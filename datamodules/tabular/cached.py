"""A table by way of its cache: read from there if it is whole, else from the files and kept."""

from pathlib import Path
from typing import Any, Literal

from datamodules.tabular import incoming, store
from datamodules.tabular.reading import ReadOptions
from datamodules.tabular.schema import SchemaRequest
from datamodules.tabular.store import Table
from datamodules.tabular.table_reader import TableReader


def read(
    files: list[tuple[str, Path]],
    reading: ReadOptions,
    request: SchemaRequest,
    network_reads: dict[str, Any] | None,
    cache: Literal["auto", "yes", "no"],
    folder: Path | None,
) -> Table:
    """Read a table's files, or what was kept of them.

    Args:
        files: Role (`all`, `train`, `val`, `test`) and path of every file.
        reading: How to read them.
        request: What the user asks of the columns; names take the place of numbers in it.
        network_reads: The preprocessing of the network that the table is read for, without what it
            predicts, if it was made with another table.
        cache: `auto` keeps large tables, `yes` every one, `no` none.
        folder: Folder of the caches; that in the user's cache folder if None.

    Raises:
        UserError: If the files cannot be read, or the cache not written.
    """
    wanted = vars(request).copy()
    options = {"split_option": wanted.pop("split_option"), "wanted": wanted}
    options |= {"reading": vars(reading), "roles": [role for role, _ in files]}
    if network_reads is not None:
        options["network_reads"] = network_reads
    state = store.fingerprint([path for _, path in files])
    kept = (folder or store.default_folder()) / store.key(state, options)
    # What was written down here has another name next time: nobody would read such a cache.
    passing = any(incoming.is_written_down(path) for _, path in files)
    if cache != "no" and not passing and (table := store.load(kept)) is not None:
        return table
    reader = TableReader(files, reading, request, network_reads)
    expected = reader.expected_bytes
    automatic = cache == "auto" and not passing
    if cache == "yes" or (automatic and expected > store.CACHE_FROM):
        return reader.run(store.CacheWriter(kept, expected, state))
    return reader.run(store.MemoryWriter())
