"""The comparison of exported files gives a row for each network."""

import re

import pytest

import exports
import zoo


def test_a_network_gets_its_differences_and_times(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    exports.main(["xor_mlp"])
    row = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"\| `xor_mlp` \|( \S+e[-+]\d\d \|){2}( [\d.]+ ms \|){2}", row)


def test_a_pattern_that_fits_nothing_is_told() -> None:
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    with pytest.raises(zoo.UserError, match="No network's name matches 'nothing'"):
        exports.main(["nothing"])
