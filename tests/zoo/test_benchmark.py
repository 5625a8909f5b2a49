"""The benchmark: named sections, sound arithmetic. Figures are for a machine at rest."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import zoo
from zoo.benchmarks import SECTIONS, Options, loading, loop, median_ratio


def test_every_section_can_be_measured() -> None:
    for module, purpose in SECTIONS.values():
        assert callable(importlib.import_module(module).measure)
        assert purpose


def test_ratio_is_the_median_over_pairs() -> None:
    # The second pair ran in a slow minute, which hit both.
    assert median_ratio([1.1, 11.0, 1.3], [1.0, 10.0, 1.0]) == pytest.approx(1.1)


def test_loop_measures_three_ways(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loop, "EXAMPLES", 256)
    monkeypatch.setattr(loop, "NETWORKS", {"784-8-10": [8]})
    report = loop.measure(Options(repeats=1))
    assert [row[0] for row in report.rows] == ["784-8-10"] * 3
    assert report.rows[0][-1] == "1.00"
    assert all(float(row[2]) > 0 for row in report.rows)
    assert all(len(row) == len(report.header) for row in report.rows)


def test_load_measures_every_network_with_weights() -> None:
    report = loading.measure(Options(repeats=1))
    assert [row[0] for row in report.rows] == zoo.list_models(pretrained=True)
    assert all(float(row[2]) > 0 for row in report.rows)


def test_unknown_section_gets_the_nearest_one(run_cli: Callable) -> None:
    result = run_cli("benchmark", "inspekt")
    assert result.status == 2
    assert "inspect" in result.err


def test_screenshots_need_runs(run_cli: Callable, tmp_path: Path) -> None:
    result = run_cli("screenshots", tmp_path)
    assert result.status == 2
    assert "--inspect full" in result.err


@pytest.mark.slow
def test_inspect_compares_the_levels(run_cli: Callable, tmp_path: Path) -> None:
    options = ("--repeats", "1", "--epochs", "1", "--source", "synthetic")
    result = run_cli("benchmark", "inspect", *options, "--json", tmp_path / "found.json")
    assert result.status == 0, result.err
    found = json.loads((tmp_path / "found.json").read_text())["inspect"]
    assert set(found) == {"none", "basic", "full"}
    assert found["full"][0]["written"] < 15e6
