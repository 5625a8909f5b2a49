"""A real TensorBoard behind a real run, as a headless Chromium shows it."""

import time
from collections.abc import Iterator

import pytest
from recorded import Run

from browser import Browser, chromium, is_installed
from zoo.cli.tensorboard import TensorBoard

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not is_installed(),
        reason="Chromium is missing; Debian: apt-get install chromium chromium-driver",
    ),
]


@pytest.fixture(scope="module")
def served(runs: dict[str, Run]) -> Iterator[str]:
    """The address of a TensorBoard that shows the classifier's run."""
    board = TensorBoard(runs["classifier"].folder.parent.parent, tell=lambda url: None)
    deadline = time.monotonic() + 60
    while board.url is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert board.url is not None, "TensorBoard did not start within a minute"
    yield board.url
    board.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(1400, 2400) as page:
        yield page


@pytest.fixture
def page(browser: Browser, served: str) -> Iterator[Browser]:
    """The browser, with a way to a page of TensorBoard; it forgets the page afterwards."""
    browser.served = served
    yield browser
    browser.open("about:blank")


def to(page: Browser, plugin: str) -> Browser:
    page.open(f"{page.served}#{plugin}")
    return page


NAME = "fashion_ffnn-synthetic/version_0"


def test_scalars_page_shows_groups_and_values(page: Browser, runs: dict[str, Run]) -> None:
    to(page, "timeseries").wait_for(NAME, "accuracy", "loss", "optimization", "speed")
    page.open("about:blank")
    accuracy = runs["classifier"].values("accuracy/test")[-1]
    shown = ("accuracy /test", f"{accuracy:.4f}".rstrip("0"))
    to(page, "timeseries&tagFilter=accuracy").wait_for(*shown, "accuracy /train", "accuracy /val")


def test_custom_scalars_page_groups_them(page: Browser) -> None:
    to(page, "custom_scalars").wait_for("Loss and metrics", "Optimization", "learning rate")


def test_images_page_shows_the_pictures(page: Browser) -> None:
    # Only the first groups of tags are unfolded, so the others are asked for.
    for tag in ("batch/train", "confusion/counts", "gallery/most_confidently_wrong"):
        to(page, f"images&tagFilter={tag}").wait_for(NAME, f"tag: {tag}")
        page.open("about:blank")
    to(page, "images&tagFilter=.").wait_for(NAME, "tag: weights/first_layer")
    loaded = """
        const found = [];
        (function look(node) {
          for (const child of node.querySelectorAll('*')) {
            if (child.shadowRoot) look(child.shadowRoot);
            if (child.tagName === 'IMG' && child.naturalWidth > 300) found.push(child.src);
          }
        })(document);
        return found.length;
    """
    deadline = time.monotonic() + 60
    while page.run(loaded) < 5 and time.monotonic() < deadline:
        time.sleep(0.3)
    assert page.run(loaded) >= 5


def test_graph_page_shows_the_layers(page: Browser) -> None:
    to(page, "graphs").wait_for(NAME, "Linear[head]", "Sequential[back", "input", "output")


def test_hparams_page_shows_settings_and_final_metrics(page: Browser, runs: dict[str, Run]) -> None:
    accuracy = runs["classifier"].values("accuracy/test")[-1]
    text = to(page, "hparams").wait_for(
        NAME, "optimizer.lr", "accuracy/test", f"{accuracy:.4f}"[:6]
    )
    assert "hp_metric" not in text


def test_pr_curves_page_shows_every_class(page: Browser) -> None:
    to(page, "pr_curves").wait_for(NAME, "pr/Sneaker", "pr/Ankle boot", "is at step 8")


def test_projector_page_shows_the_features(page: Browser) -> None:
    to(page, "projector").wait_for("Points: 1000", "test_features", "true 10 colors")


def test_text_page_shows_card_and_command(page: Browser) -> None:
    to(page, "text").wait_for("run/card", "sha256", "run/command", "run/versions")
