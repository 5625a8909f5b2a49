"""The benchmark: named sections, sound arithmetic. Figures are for a machine at rest."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import benchmark
import zoo


def test_ratio_is_the_median_over_pairs() -> None:
    # The second pair ran in a slow minute, which hit both.
    assert benchmark.median_ratio([1.1, 11.0, 1.3], [1.0, 10.0, 1.0]) == pytest.approx(1.1)


def test_loop_measures_three_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "EXAMPLES", 256)
    monkeypatch.setattr(benchmark, "HIDDEN_WIDTHS", {"784-8-10": [8]})
    report = benchmark.measure_loop(benchmark.Options(repeats=1))
    assert [row[0] for row in report.rows] == ["784-8-10"] * 3
    assert report.rows[0][-1] == "1.00"
    assert all(float(row[2]) > 0 for row in report.rows)
    assert all(len(row) == len(report.header) for row in report.rows)


def test_load_measures_every_network_with_weights() -> None:
    report = benchmark.measure_load(benchmark.Options(repeats=1))
    assert [row[0] for row in report.rows] == zoo.list_models(pretrained=True)
    assert all(float(row[2]) > 0 for row in report.rows)


def test_unknown_section_gets_the_nearest_one(run_process: Callable) -> None:
    result = run_process(benchmark.__file__, "inspekt")
    assert result.status == 2
    assert result.err.startswith("error: ")
    assert "inspect" in result.err


@pytest.mark.slow
def test_inspect_compares_the_levels(tmp_path: Path) -> None:
    options = ("--repeats", "1", "--epochs", "1", "--source", "synthetic")
    benchmark.main(["inspect", *options, "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())["inspect"]
    assert set(found) == {"none", "basic", "full"}
    assert found["full"][0]["written"] < 15e6
