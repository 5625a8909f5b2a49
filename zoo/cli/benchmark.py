"""`benchmark`: measure side by side what design choices cost, on the machine at hand."""

import argparse
import importlib
import json
from pathlib import Path

from zoo.benchmarks import SECTIONS, Options
from zoo.errors import UserError, unknown


def main(argv: list[str]) -> None:
    """Run the chosen sections and print a table for each."""
    parser = argparse.ArgumentParser(
        prog="benchmark",
        description="Measure side by side what design choices cost.",
        epilog="sections:\n" + "\n".join(f"  {n:9} {what}" for n, (_, what) in SECTIONS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="all if none is named")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each variant")
    parser.add_argument("--epochs", type=int, help="epochs of a run, where a section trains")
    parser.add_argument("--source", default="auto", help="auto, real or synthetic images")
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    chosen = parser.parse_args(argv)
    for name in chosen.sections:
        if name not in SECTIONS:
            raise unknown("section", name, SECTIONS)
    if chosen.repeats < 1:
        raise UserError(f"--repeats must be at least 1, not {chosen.repeats}.")
    import lightning.pytorch  # noqa: F401  it sets the levels of its loggers when imported

    from zoo.console import quiet, table

    quiet()
    options = Options(repeats=chosen.repeats, epochs=chosen.epochs, source=chosen.source)
    values = {}
    for name in chosen.sections or SECTIONS:
        report = importlib.import_module(SECTIONS[name][0]).measure(options)
        print(f"{name}: {report.title}\n\n{table(report.rows, report.header)}\n", flush=True)
        values[name] = report.values
    if chosen.json:
        chosen.json.write_text(json.dumps(values, indent=2), "utf-8")
