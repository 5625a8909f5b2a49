"""2,000 damaged files: each is read, or refused with one sentence; none ends in a traceback."""

import random
import signal
import warnings

import pytest

from datamodules import Tabular, UserError

SEEDS = [
    "x,k,when,label\n"
    + "".join(
        f"{i}.5,{'abc'[i % 3]},2024-0{1 + i % 9}-1{i % 9},{'yn'[i % 2]}\n" for i in range(40)
    ),
    "x;k;label\n" + "".join(f'{i},25;"a;{i % 4}";{i % 3}\n' for i in range(40)),
    "".join(f"{i}.5\t{i * i}\t{i % 7}.25\t{i % 2}\n" for i in range(40)),
    "a b label\n" + "".join(f"  {i}   {i % 5}.5  {i * 2.5}\n" for i in range(40)),
]
PIECES = [
    b",", b";", b"\t", b'"', b"\n", b"\r\n", b"\r", b"\0", b"\xff", b"\xef\xbb\xbf", b"?", b"NA",
    b"inf", b"1e999", b"-", b".", b",,,,", b"\n\n\n", b"'", b"\xc3", b"9" * 400, b"2024-13-45",
    b"True", b" ", b"#", b"\\", b"label", b'""', b"1_000", b"0x1F",
]  # fmt: skip


def mutated(rng: random.Random) -> bytes:
    """A table with one to eight accidents: bytes changed, cut, repeated, inserted, shuffled."""
    content = bytearray(rng.choice(SEEDS).encode())
    for _ in range(rng.randint(1, 8)):
        at, size = rng.randrange(len(content) + 1), rng.randint(1, 60)
        kind = rng.randrange(7)
        if kind == 0:
            content[at:at] = rng.choice(PIECES)
        elif kind == 1:
            del content[at : at + size]
        elif kind == 2:
            content[at:at] = content[at : at + size]
        elif kind == 3 and content:
            content[at % len(content)] = rng.randrange(256)
        elif kind == 4:
            lines = bytes(content).split(b"\n")
            rng.shuffle(lines)
            content = bytearray(b"\n".join(lines))
        elif kind == 5:
            content = content[:at]
        else:
            content[at:at] = rng.randbytes(rng.randint(1, 8))
    return bytes(content)


def reading(path, target, bad_rows):
    """Read a file; return the message with which it is refused, if it is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            data = Tabular(str(path), target, bad_rows=bad_rows)
            data.setup()
        assert data.profile
    except UserError as error:
        return str(error)
    except Exception as error:
        content = path.read_bytes()
        raise AssertionError(f"{type(error).__name__}: {error} on {content!r}") from error
    return ""


@pytest.mark.parametrize("part", range(4))
def test_no_damaged_file_ends_in_a_traceback_or_hangs(tmp_path, part):
    rng = random.Random(part)
    path = tmp_path / "t.csv"
    read = refused = 0
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"hangs on {path.read_bytes()!r}"))
    for _ in range(500):
        content = mutated(rng)
        path.write_bytes(content)
        target, bad_rows = rng.choice(["label", -1, -1]), rng.choice(["error", "skip"])
        signal.alarm(10)
        message = reading(path, target, bad_rows)
        signal.alarm(0)
        assert "\n" not in message
        read, refused = read + (not message), refused + bool(message)
        assert path.read_bytes() == content
    # A fuzz test that only ever refuses, or never, would test little.
    assert read > 50
    assert refused > 50
