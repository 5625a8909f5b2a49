"""The README's table of networks is that of the recipes and cards."""

import re
import warnings
from pathlib import Path

import pytest

from readme import README, networks_table, rewrite
from zoo import UserError


def test_the_table_of_networks_is_up_to_date() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a count of parameters may rest on synthetic data
        table = networks_table()

    assert table in README.read_text("utf-8"), "run: python scripts/maintain/readme.py"


def test_only_the_table_is_rewritten(tmp_path: Path) -> None:
    copy = tmp_path / "README.md"
    before, table, after = "# Title\n\n", "| an old table |", "\n\nMore.\n"
    copy.write_text(f"{before}<!-- networks -->\n{table}\n<!-- /networks -->{after}", "utf-8")

    assert rewrite(copy)
    text = copy.read_text("utf-8")
    assert text.startswith(before)
    assert text.endswith(after)
    assert table not in text
    assert "`mnist_net`" in text
    assert not rewrite(copy), "a second time there is nothing to do"


def test_a_readme_without_markers_is_left_alone(tmp_path: Path) -> None:
    copy = tmp_path / "README.md"
    copy.write_text("# Title\n", "utf-8")

    with pytest.raises(UserError, match="no markers"):
        rewrite(copy)
    assert copy.read_text("utf-8") == "# Title\n"


@pytest.mark.parametrize("page", ["README.md", ".github/CONTRIBUTING.md"])
def test_every_python_file_that_is_named_is_there(page: str) -> None:
    text = (README.parent / page).read_text("utf-8")
    named = set(re.findall(r"\b(?:datamodules|scripts|tests|zoo)/[\w/]+\.py\b", text))
    named = {path for path in named if not re.search("FAMILY|FILE|NAME", path)}

    assert {"scripts/fit.py", "scripts/maintain/readme.py"} <= named
    assert not [path for path in named if not (README.parent / path).is_file()]


def test_each_way_of_use_has_its_share_of_a_page_that_one_reads() -> None:
    """What is folded does not count."""
    text = re.sub(r"<details>.*?</details>\n", "", README.read_text("utf-8"), flags=re.DOTALL)
    outline, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    lines = {s.partition("\n")[0]: len(s.strip().splitlines()) for s in sections}

    (most,) = re.findall(r"one section of at most (\d+) lines", outline)
    assert {title: count for title, count in lines.items() if count > int(most)} == {}
    assert re.findall(r"\[([^]]+)\]\(#", outline) == list(lines)[:-1]
    assert list(lines)[-1] == "How it is laid out"


def test_nothing_in_the_readme_waits_to_be_filled_in() -> None:
    assert "@@" not in README.read_text("utf-8")
