"""What fuzzing does to good input: texts, bytes and nested values, changed somewhere.

All that is random comes from an object like `random.Random`, so that hypothesis can draw and shrink
it, and a script draw it fast.
"""

import copy
from typing import Any

JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 2**31, 2**63, -(2**70), 10**7, 3 * 10**8, 10**12, 0.5, -0.0),
    *(1e-300, 1e300, float("nan"), float("inf"), "", " ", "a", "-", "--", "..", "/", "~", "null"),
    *("none", "1e7", "0x10", "nan", "\u00b2", "\u202e", "a\0b", "é" * 300, "[", "{", "${x}", "*a"),
    *("!!python/name:os.system", "zoo.architectures.FeedForward", "torch.optim.SGD", "os.system"),
    *([], {}, [[]], [None], [1, "a"], {"a": 1}, {"class_path": "os.system"}, {"kind": "table"}),
    *([[[[[[[[]]]]]]]], {"class_path": "zoo.architectures.ConvNet", "init_args": {}}),
)


def mutated(value: Any, rng: Any) -> Any:
    """Return plain nested values with one to three changes, each anywhere."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        value = _changed(value, rng)
    return value


def _changed(value: Any, rng: Any) -> Any:
    places = list(_places(value))
    if not places or rng.random() < 0.02:
        return copy.deepcopy(rng.choice(JUNK))
    parent, key = rng.choice(places)
    how = rng.random()
    if how < 0.55:
        parent[key] = copy.deepcopy(rng.choice(JUNK))
    elif how < 0.7:
        del parent[key]
    elif how < 0.8 and isinstance(parent, dict):
        parent[str(rng.choice(JUNK))] = parent.pop(key)
    elif how < 0.9:  # something of elsewhere
        other, name = rng.choice(places)
        parent[key] = copy.deepcopy(other[name]) if other is not parent or name in other else None
    elif isinstance(parent[key], (int, float)) and not isinstance(parent[key], bool):
        parent[key] = parent[key] * rng.choice((-1, 0, 0.5, 10, 10**6)) + rng.choice((0, 1, -1))
    else:
        parent[key] = [parent[key]] * rng.choice((0, 1, 2, 50))
    return value


def _places(value: Any) -> Any:
    if isinstance(value, dict):
        keys: Any = list(value)
    elif isinstance(value, list):
        keys = range(len(value))
    else:
        return
    for key in keys:
        yield value, key
        yield from _places(value[key])


def mutated_bytes(content: bytes, rng: Any) -> bytes:
    """Return bytes with one to three changes: a bit, a byte, a part lost, doubled or put in."""
    found = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        place = rng.randint(0, max(0, len(found) - 1))
        size = rng.choice((1, 1, 2, 4, 8, 100))
        how = rng.randint(0, 5)
        if how == 0 and found:
            found[place] ^= 1 << rng.randint(0, 7)
        elif how == 1:
            found[place : place + size] = bytes(rng.choice((0, 1, 127, 255)) for _ in range(size))
        elif how == 2:
            del found[place : place + size]
        elif how == 3:
            found[place:place] = found[place : place + size]
        elif how == 4:
            del found[place:]
        else:
            junk = str(rng.choice(JUNK)).encode()
            found[place:place] = rng.choice((junk, b"\n", b",", b'"', b"\x00", b"\xff\xfe", b";"))
    return bytes(found)
