"""A table's profile: what was read, what each column is, what was left out and why."""

from pathlib import Path
from typing import Any

import numpy as np

from datamodules.errors import counted
from datamodules.tabular.store import Table
from datamodules.tabular.targets import Target

# Above this share, a class is hardly the one that is looked for.
COMMON = 0.7


def sections(
    table: Table,
    target: Target,
    rows: dict[str, np.ndarray],
    preprocessing: dict[str, Any],
    notes: list[str],
    telling: list[str],
) -> list[tuple[str, list[str]]]:
    """Return the profile as titled lists of lines.

    Args:
        table: The table.
        target: What is predicted.
        rows: The rows of every split.
        preprocessing: What was fitted on its training rows.
        notes: What else a user should know.
        telling: Columns from which alone the target can be told, as sentences.
    """
    report, balance = table.report, target.balance(rows["train"])
    name = ", ".join(Path(file).name for file in report.files[:3])
    used = {column["name"]: column["kind"] for column in preprocessing["columns"]}
    by_kind = ", ".join(
        f"{list(used.values()).count(kind)} {kind}"
        for kind in ("numeric", "boolean", "date", "category")
        if kind in used.values()
    )
    shape = [
        f"{report.rows:,} rows, {report.columns:,} columns; besides the target {len(used):,} are "
        f"used: {by_kind}",
        ", ".join(f"{role} {len(index):,}" for role, index in rows.items()) + " rows",
    ]
    found = [(name, shape), ("Target", _target(preprocessing, target.task, balance, report))]
    found.append(("Gives the answer away", telling))
    missing = [
        f"{entry['name']}: {entry['share_missing']:.1%}"
        for entry in preprocessing["numeric"] + preprocessing["categorical"]
        if entry.get("share_missing")
    ]
    found.append(("Missing in the training rows", missing))
    found.append(("Left out", [f"'{column}' {why}" for column, why in report.dropped.items()]))
    remarks = [
        f"'{column}': {count:,} cells cannot be read as numbers or dates and count as missing "
        f"(the first: '{first[:40]}' in row {row:,}); "
        f"--data.categorical '[{column}]' reads them as categories"
        for column, (count, first, row) in report.unreadable.items()
    ]
    remarks += [
        f"'{column}': {count:,} infinite values count as missing"
        for column, count in report.infinite.items()
    ]
    remarks += report.unlike_training
    found.append(("Remarks", remarks + report.notes + notes))
    return [(title, lines) for title, lines in found if lines]


def _target(
    preprocessing: dict[str, Any], task: str, balance: dict[str, int] | None, report: Any
) -> list[str]:
    target = preprocessing["target"]
    lines = [f"{', '.join(target['names'])}: {task}"]
    if balance is not None:
        total, shown = sum(balance.values()), list(balance.items())[:12]
        more = f", {len(balance) - 12} more" if len(balance) > 12 else ""
        shares = ", ".join(f"{name} {count / total:.1%}" for name, count in shown)
        lines[0] += f" ({shares}{more})"
        if task == "binary":
            negative, positive = list(balance)
            line = f"positive, for F1 and average precision, is '{positive}'"
            if balance[positive] > COMMON * total:
                line += f"; if '{negative}' is what is looked for: --data.positive '{negative}'"
            lines.append(line)
    else:
        moments = zip(target["mean"], target["std"], strict=True)
        means = ", ".join(f"{mean:.6g} ± {std:.4g}" for mean, std in moments)
        lines[0] += f" (mean ± standard deviation {means})"
    if report.missing_target:
        lines.append(
            f"{counted(report.missing_target, 'row')} left out because it is missing there"
        )
    return lines


def as_text(found: list[tuple[str, list[str]]]) -> str:
    """Return the profile for a terminal."""
    lines = []
    for title, entries in found:
        if len(entries) > 1 and all(len(entry) < 40 for entry in entries):
            entries = ["; ".join(entries)]
        lines.append(f"{title}: {entries[0]}")
        lines += [f"{' ' * (len(title) + 2)}{entry}" for entry in entries[1:]]
    return "\n".join(lines)


def as_markdown(found: list[tuple[str, list[str]]], preprocessing: dict[str, Any]) -> str:
    """Return the profile for TensorBoard, with a table of all features."""
    lines = []
    for title, entries in found:
        lines += [f"**{title}**", "", *(f"- {entry}" for entry in entries), ""]
    lines += ["| feature | kind | mean | std | values |", "|---|---|---|---|---|"]
    for entry in preprocessing["numeric"]:
        scale = "log" if entry["log"] else ""
        lines.append(
            f"| {entry['name']} | numeric {scale} | {entry['mean']:.4g} | {entry['std']:.4g} | |"
        )
    for entry in preprocessing["categorical"]:
        shown = ", ".join(entry["vocabulary"][:8])
        more = f" and {len(entry['vocabulary']) - 8} more" if len(entry["vocabulary"]) > 8 else ""
        lines.append(f"| {entry['name']} | category | | | {shown}{more} |")
    return "\n".join(lines)
