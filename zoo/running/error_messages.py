"""jsonargparse's nested reports of what does not fit, in one sentence each."""

import ast
import inspect
import re
from collections.abc import Iterable

from zoo.errors import nearest

HELP = "`--help` with `--model NAME` lists them all."


def in_one_sentence(message: str, options: Iterable[str]) -> str:
    """Return what is wrong with the command line, and what would be right.

    Args:
        message: jsonargparse's message.
        options: All options that there are.
    """
    options = [option for option in options if option.startswith("--") and option[-1] != "+"]
    if found := re.search(r"[Uu]nrecognized arguments: (\S+)", message):
        return _no_option(found.group(1).partition("=")[0], options)
    if found := re.search(r"[Kk]ey [\"'](.*?)[\"'] is not expected", message):
        return _no_option(f"--{found.group(1)}", options)
    found = re.search(r"Parser key \"(.*?)\":\s*(.*)", message, re.DOTALL)
    if not found:
        return _plain(message)
    key, problem = found.groups()
    if nested := re.search(r"NestedArg\(key='(.*?)', val=(.*?)\)", problem):
        key, given = f"{key}.{nested.group(1)}", nested.group(2).strip("'\"")
    else:
        given = _given(problem)
    for explain in (_unknown_argument, _missing_argument, _wrong_choice, _unknown_class):
        if sentence := explain(key, given, problem):
            return sentence
    return _wrong_type(key, given, problem)


def why_not_made(message: str) -> str:
    """Return why an object that the settings describe cannot be made: a logger without its package.

    Args:
        message: jsonargparse's message, or that of the object's class.
    """
    if errors := re.search(r"Errors:\s*- (.*?)(?:\n  - |\nGiven value|$)", message, re.DOTALL):
        problem = errors.group(1)
    else:
        problem = message
    problem = re.sub(r"Problem with given class_path '[\w.]+':\s*", "", problem)
    class_path = re.search(r"class_path[= ]'([\w.]+)'", message)
    name = class_path.group(1).rpartition(".")[2] if class_path else "What the settings describe"
    if requirement := re.search(r"Requirement '(.+?)' not met", problem):
        return f"{name} needs {requirement.group(1)}: pip install '{requirement.group(1)}'."
    return f"{name} cannot be made: {_plain(problem)}"


def _no_option(option: str, options: list[str]) -> str:
    if not option.startswith("-"):
        return f"'{option}' belongs to no option."
    # `--model.width` is as likely a wrong word as a wrong spelling: show what its group has.
    siblings = [o for o in options if o.startswith(option.partition(".")[0] + ".")]
    close = nearest(option, siblings or options)
    if close:
        advice = f"Did you mean {' or '.join(close)}?"
    elif 0 < len(siblings) < 40:
        advice = f"There are {', '.join(o for o in siblings if not o.endswith('.help'))}."
    else:
        advice = ""
    return " ".join(filter(None, [f"There is no option {option}.", advice, HELP]))


def _unknown_argument(key: str, given: str, problem: str) -> str | None:
    """Explain an option that a class of optimizer or schedule does not have."""
    found = re.search(r"Option '(\w+)' is not accepted", problem)
    if not found:
        return None
    name, group = found.group(1), key.partition(".")[0]
    known = {p for c in _classes(group) for p in inspect.signature(c).parameters}
    # If another class has just this option, the spelling was not the mistake.
    close = [] if name in known else [f"--{group}.{option}" for option in nearest(name, known)]
    advice = f" Did you mean {' or '.join(close)}?" if close else ""
    return f"There is no option --{key} for this {group}.{advice}"


def _missing_argument(key: str, given: str, problem: str) -> str | None:
    found = re.search(r"arguments are required: ([\w, ]+)", problem)
    if not found:
        return None
    class_path = re.search(r"class_path='([\w.]+)'", problem)
    name = class_path.group(1).rpartition(".")[2] if class_path else given
    missing = [f"--{key}.{argument.strip()}" for argument in found.group(1).split(",")]
    return f"--{key} {name} needs {' and '.join(missing)}."


def _wrong_choice(key: str, given: str, problem: str) -> str | None:
    listed = re.findall(r"typing\.Literal(\[.*?\])", problem)
    if not listed:
        return None
    choices = list(dict.fromkeys(str(c) for names in listed for c in ast.literal_eval(names)))
    close = nearest(given, choices)
    advice = f" Did you mean {' or '.join(close)}?" if close else ""
    return f"--{key} takes one of {', '.join(choices)}; not {given}.{advice}"


def _unknown_class(key: str, given: str, problem: str) -> str | None:
    found = re.search(r"Expected a path but (\S+) either not accessible", problem)
    names = [c.__name__ for c in _classes(key)]
    if not found or not names:
        return None
    close = nearest(found.group(1), names)
    advice = f" Did you mean {' or '.join(close)}?" if close else " Give its full dotted path."
    return f"--{key}: there is no class '{found.group(1)}'.{advice}"


def _wrong_type(key: str, given: str, problem: str) -> str:
    if nested := re.search(r"--\w+ takes ([\w ]+), not", problem):  # said of the class's own option
        return f"--{key} takes {nested.group(1)}, not {given}."
    types = [t for t in re.findall(r"Expected a <class '(\w+)'>", problem) if t != "NoneType"]
    if types and given:
        return f"--{key} takes {' or '.join(dict.fromkeys(types))}, not {given}."
    return f"--{key}: {_plain(problem)}"


def _given(problem: str) -> str:
    found = re.search(r"Given value: (.*)", problem) or re.search(r"Got value: (.*)", problem)
    return found.group(1).strip() if found else ""


def _plain(problem: str) -> str:
    return " ".join(problem.split())[:400]


def _classes(key: str) -> list[type]:
    """Return the classes that an option such as `--optimizer` takes by their bare names."""
    import torch
    from lightning.pytorch import Callback
    from lightning.pytorch.loggers import Logger
    from lightning.pytorch.profilers import Profiler

    bases = {
        "optimizer": torch.optim.Optimizer,
        "lr_scheduler": torch.optim.lr_scheduler.LRScheduler,
        "trainer.callbacks": Callback,
        "trainer.logger": Logger,
        "trainer.profiler": Profiler,
    }
    found, open_ = [], [bases[key]] if key in bases else []
    while open_:
        subclasses: list[type] = open_.pop().__subclasses__()
        found += subclasses
        open_ += subclasses
    return found
