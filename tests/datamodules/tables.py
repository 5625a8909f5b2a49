"""What the tests of tables share."""

from pathlib import Path

import pytest

from datamodules import Tabular, UserError

#: Rows of the table `people`.
N = 200
GOOD = "x,k,label\n" + "".join(f"{i}.5,{'abc'[i % 3]},{'yn'[i % 2]}\n" for i in range(40))


def kinds(data):
    """Return the kind of every column by its name."""
    return {column["name"]: column["kind"] for column in data.preprocessing["columns"]}


def refusal(path, target="label", **options):
    """Return the message with which a table is refused; it must name the file or the option."""
    before = Path(path).read_bytes() if Path(path).is_file() else None
    with pytest.raises(UserError) as caught:
        Tabular(str(path), target, **options).setup()
    if before is not None:
        assert Path(path).read_bytes() == before, "a file must never be changed"
    message = str(caught.value)
    assert "\n" not in message
    return message


def read(path, target="label", **options):
    """Return the datamodule of a file, set up."""
    data = Tabular(str(path), target, **options)
    data.setup()
    return data
