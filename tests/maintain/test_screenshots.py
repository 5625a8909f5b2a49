"""Pictures for the README need a run that has what they show."""

from collections.abc import Callable
from pathlib import Path

import pytest

import browser
import screenshots


def test_a_folder_without_such_runs_gets_the_command_that_makes_one(
    run_process: Callable, tmp_path: Path
) -> None:
    result = run_process(screenshots.__file__, tmp_path)
    assert result.status == 2
    assert "--inspect full" in result.err


@pytest.mark.browser
@pytest.mark.skipif(not browser.is_installed(), reason="Chromium is missing")
def test_what_a_script_draws_late_and_again_is_waited_for() -> None:
    made = "setTimeout(() => document.body.innerHTML = '<input id=late>', {})"
    page = f"data:text/html,<body><script>{made.format(700)};{made.format(1000)}</script>"
    with browser.chromium() as chromium:
        chromium.open(page)
        chromium.press("#late", "here")
        assert chromium.run("return document.querySelector('#late').value") == "here"
