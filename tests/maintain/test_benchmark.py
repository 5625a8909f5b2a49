"""The benchmark: named sections, sound arithmetic. Figures are for a machine at rest."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import benchmark
import zoo
from benchmark import SECTIONS


def test_ratio_is_the_median_over_pairs() -> None:
    # The second pair ran in a slow minute, which hit both.
    assert benchmark.median_ratio([1.1, 11.0, 1.3], [1.0, 10.0, 1.0]) == pytest.approx(1.1)


def test_train_lets_everybody_train_in_turn(tmp_path: Path) -> None:
    options = ("--repeats", "1", "--examples", "128", "--epochs", "1", "--source", "synthetic")
    cases = ("mnist_classifier", "logistic_regression")
    found_at = tmp_path / "found.json"
    benchmark.main(["train", *options, "--cases", *cases, "--json", str(found_at)])
    found = json.loads(found_at.read_text())["train"]
    everybody = {"documented", "tight", "stock", "zoo"}
    for case in cases:
        assert {f"{case} {name} 32-true" for name in everybody} <= found.keys()
    assert "mnist_classifier zoo bf16-mixed" in found
    assert all(clock > 0 for m in found.values() for clock in m["wall"] + m["processor"])


def test_evaluate_measures_a_test_beside_a_bare_forward() -> None:
    options = benchmark.Options(repeats=1, source="synthetic", cases=("mnist_classifier",))
    (row,) = SECTIONS["evaluate"](options).rows
    assert row[0] == "mnist_classifier"
    assert all(float(cell) > 0 for cell in row[1:])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "epochs", "bounds"),
    [
        ("fashion_ffnn", 1, (1.8, 1.2, 0.8)),
        ("mnist_classifier", 1, (3.0, 1.0, 0.6)),
        ("logistic_regression", 500, (9.0, 9.0, 0.6)),  # it took 19 times as long as `tight`
    ],
)
def test_fit_is_near_the_best_loop_by_hand(
    case: str, epochs: int, bounds: tuple[float, ...]
) -> None:
    """The bounds are far above what was measured: also a busy machine keeps them."""
    options = benchmark.Options(repeats=3, epochs=epochs, source="synthetic", cases=(case,))
    found = SECTIONS["train"](options).values
    ours, *theirs = (
        found[f"{case} {name} 32-true"]["processor"]
        for name in ("zoo", "tight", "documented", "stock")
    )
    ratios = [benchmark.median_ratio(ours, other) for other in theirs]
    assert all(ratio < bound for ratio, bound in zip(ratios, bounds, strict=True)), ratios


@pytest.mark.slow
def test_start_runs_to_the_first_step() -> None:
    rows = SECTIONS["start"](benchmark.Options(repeats=1)).rows
    assert [row[0] for row in rows][1:] == [
        "fit xor_mlp, to the first step",
        "fit fashion_ffnn, to the first step",
    ]


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
