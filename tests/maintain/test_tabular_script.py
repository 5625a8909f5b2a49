"""How fast tables are is measured on a table that the script makes."""

import re
from collections.abc import Callable

import pytest

import tabular


def test_speed_measures_reading_the_cache_and_batches(run_process: Callable) -> None:
    result = run_process(tabular.__file__, "speed", "--rows", 3000)
    assert result.status == 0, result.err
    assert "3,000 rows, 17 columns" in result.out
    for measured in ("first reading", "from the cache", "epoch from the map", "epoch from memory"):
        assert measured in result.out


def test_scale_trains_beside_boosted_trees(run_process: Callable) -> None:
    result = run_process(tabular.__file__, "scale", "--rows", 300)
    assert result.status == 0, result.err
    assert re.search(r"300 rows  tabular_net .* AUROC 0\.\d{4}  \d+ epochs", result.out)
    assert re.search(r"HistGradientBoosting .* AUROC 0\.\d{4}", result.out)


@pytest.mark.slow
def test_two_processes_share_a_mapped_table(run_process: Callable) -> None:
    result = run_process(tabular.__file__, "processes", "--rows", 3000, timeout=600)
    assert result.status == 0, result.err
    assert "1 process(es) " in result.out
    assert re.search(r"2 process\(es\) .* MB; of the map Rss \d+, .*Anonymous 0", result.out)
