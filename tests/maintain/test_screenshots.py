"""Pictures for the README need a run that has what they show."""

from collections.abc import Callable
from pathlib import Path

import screenshots


def test_a_folder_without_such_runs_gets_the_command_that_makes_one(
    run_process: Callable, tmp_path: Path
) -> None:
    result = run_process(screenshots.__file__, tmp_path)
    assert result.status == 2
    assert "--inspect full" in result.err
