"""The page on which a network is tried, as a headless Chromium shows it."""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from quick import data_of

import zoo
from browser import Browser, chromium, is_installed
from datamodules.image_files.cropping import ImageReader
from datamodules.tabular.encode import encode_frame
from datamodules.text import token_ids, tokenize
from zoo import extras
from zoo.weights import save_weights

pytest.importorskip("gradio", reason="the extra `demo` is not installed")
ROOT = Path(__file__).parents[2]
needs_chromium = pytest.mark.skipif(
    not is_installed(),
    reason="Chromium is missing; Debian: apt-get install chromium chromium-driver",
)
pytestmark = pytest.mark.filterwarnings("ignore")


@contextmanager
def served(weights: str | Path) -> Iterator[str]:
    """Run the command as a user does, and give the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, ROOT / "scripts/demo.py", "--weights", str(weights)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process.stdout.readline().split()[0]
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0, "Ctrl-C is how the page ends"


@contextmanager
def page_of(weights: str | Path, width: int = 1200) -> Iterator[Browser]:
    """Open the page; a request to any other host fails the test."""
    with served(weights) as url, chromium(width, 1000) as browser:
        browser.open(url)
        browser.wait_for("Probabilities")
        yield browser
        hosts = {urlparse(r).netloc for r in browser.requests() if re.match("https?:|wss?:", r)}
        assert hosts == {urlparse(url).netloc}


def saved(name: str, folder: Path) -> zoo.ZooModule:
    torch.manual_seed(0)
    model = zoo.create_model(name, datamodule=data_of(name)).eval()
    save_weights(model, folder / "weights.safetensors", name=name)
    return model


def answered(browser: Browser, first: str, seconds: float = 30) -> list[str]:
    """Wait until the answer begins with a class, and return classes and shares as they stand."""
    deadline = time.monotonic() + seconds
    while True:
        text = browser.run("return document.querySelector('#answer').innerText")
        parts = text.split("\n")[1:]
        if (parts and parts[0] == first) or time.monotonic() > deadline:
            assert parts, text
            assert parts[0] == first, text
            return parts
        time.sleep(0.3)


def wait_until(holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def best(model: zoo.ZooModule, x: torch.Tensor) -> str:
    return model.predict_step(x)["prediction"][0]


@pytest.mark.browser
@needs_chromium
@pytest.mark.parametrize("width", [1200, 400])
def test_a_stroke_and_an_uploaded_file_are_answered(tmp_path: Path, width: int) -> None:
    with page_of("conv_net.tuned", width) as page:
        page.wait_for("Draw", "Or upload")
        assert page.run("return window.innerWidth") == width
        page.run("window.scrollTo(0, 0)")
        time.sleep(1)
        page.stroke("#pad canvas", (0, -90), (0, 0), (0, 90))
        assert "100%" in answered(page, "1")
        for picture in ("#shown", "#why"):
            side = f"return document.querySelector('{picture} img')?.naturalWidth"
            wait_until(lambda side=side: page.run(side) == 8 * 28)
        overflow = "return document.documentElement.scrollWidth - window.innerWidth"
        assert page.run(overflow) <= 0
        # A zero as on paper: a dark ring on a bright ground, of any size, not in the middle.
        rows, columns = np.mgrid[:120, :160]
        ring = abs(np.hypot((rows - 50) / 1.3, columns - 70) - 25) < 5
        Image.fromarray(np.where(ring, 20, 235).astype(np.uint8)).save(tmp_path / "zero.png")
        page.upload("#upload input[type=file]", tmp_path / "zero.png")
        answered(page, "0")


@pytest.mark.browser
@needs_chromium
def test_a_form_is_made_of_the_columns(tmp_path: Path) -> None:
    model = saved("tabular_mlp", tmp_path)
    with page_of(tmp_path) as page:
        text = page.wait_for("age (18 to ", "plan", "since (%Y-%m-%d)", "Predict")
        assert "online" in text
        page.press("#field-age textarea", "44")
        page.press("#field-plan input", "family\n")
        page.press("#field-online input", "yes\n")
        page.press("#field-since textarea", "2013-01-01")
        cells = dict.fromkeys((c["name"] for c in model.spec.preprocessing["columns"]), "")
        cells |= {"age": "44", "plan": "family", "online": "yes", "since": "2013-01-01"}
        x = encode_frame(pd.DataFrame([cells]), model.spec.preprocessing)
        shares = model.predict_step(x)["probabilities"][0]
        expected = f"{100 * shares.max():.0f}%"
        wait_until(lambda: expected in answered(page, best(model, x)))
        page.wait_for("column 'region': 1 of 1 rows hold nothing")
        page.press("#field-since textarea", "1.1.13")
        page.wait_for("column 'since': 1 of 1 rows hold no date as in training")


@pytest.mark.browser
@needs_chromium
def test_a_sentence_is_typed(tmp_path: Path) -> None:
    model = saved("sentiment_bilstm", tmp_path)
    sentence = "The acting was not dull"
    described = model.spec.preprocessing
    x = token_ids([tokenize(sentence)], described["vocabulary"], described["max_length"])
    with page_of(tmp_path) as page:
        page.press("#field-0 textarea", sentence)
        answered(page, best(model, x))
        marked = "return document.querySelector('#why').innerText.split(/\\s+/)"
        wait_until(lambda: page.run(marked)[-5:] == tokenize(sentence))


@pytest.mark.browser
@needs_chromium
def test_numbers_are_for_gates_and_fizzbuzz() -> None:
    with page_of("xor_mlp") as page:
        page.press("#field-0 input", "1")
        answered(page, "1")
        page.press("#field-1 input", "1")
        answered(page, "0")
    with page_of("fizzbuzz_net.tuned") as page:
        page.press("#field-0 input", "15")
        answered(page, "fizzbuzz")


# Without a browser


def test_what_is_none_of_the_classes_is_unknown() -> None:
    from zoo.deployment.demo import Shares, shares_label

    shares = Shares({"1": 0.25, "7": 0.75})
    assert shares_label().postprocess(shares).label == "7"
    shares.is_unknown = True
    assert shares_label().postprocess(shares).label == "unknown"
    # gradio writes one for a class of its own kind
    assert not (ROOT / "zoo/deployment/demo.pyi").exists()


def test_a_picture_is_cut_out_and_put_in_the_middle() -> None:
    from zoo.deployment.demo import Page

    page = Page(zoo.load_weights("conv_net.tuned"))
    paper = np.full((200, 300, 3), 240, dtype=np.uint8)
    paper[20:120, 30:50] = 10
    seen = page.read_picture(paper)
    assert seen.shape == (1, 28, 28)
    rows, columns = np.nonzero(seen[0])
    assert rows.max() - rows.min() + 1 == 20
    assert abs(rows.mean() - 13.5) <= 0.5
    assert abs(columns.mean() - 13.5) <= 0.5
    read, _ = ImageReader.of(page.model.spec)(Image.fromarray(paper).convert("RGB"))
    assert np.array_equal(seen, read), "a file is read in the same way by `predict`"


def test_a_port_in_use_is_told(run_cli: Callable) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run_cli("demo", "--weights", "xor_mlp", "--port", port)
    assert result.status == 2
    assert result.err == (
        f"error: Port {port} cannot be used (Address already in use): leave --port out, and a "
        "free one is taken.\n"
    )
    assert run_cli("demo", "--weights", "xor_mlp", "--port", 70000).status == 2


def test_a_missing_extra_is_named_with_its_command(
    run_cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    result = run_cli("demo", "--weights", "xor_mlp")
    assert result.status == 2
    assert result.err == (
        "error: The page needs gradio, which is not installed: pip install 'lightning-zoo[demo]'\n"
    )


def test_a_page_that_is_closed_stops_nothing() -> None:
    from urllib.request import urlopen

    with served("xor_mlp") as url:
        for _ in range(2):
            with socket.create_connection((urlparse(url).hostname, urlparse(url).port)) as half:
                half.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with urlopen(url, timeout=60) as answer:
            assert answer.status == 200
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
