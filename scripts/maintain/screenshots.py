"""Take the README's pictures of pages: `python scripts/maintain/screenshots.py [runs]`.

The page on which a network is tried; and TensorBoard's, out of a folder of runs that `--inspect
full` has written.
"""

import argparse
import io
import signal
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image

from browser import Browser, chromium
from zoo.cli import run_main
from zoo.cli.tensorboard import TensorBoard
from zoo.errors import UserError

# Name of the picture: the page, what it shows when it is ready, and the page's size.
PICTURES = {
    "tensorboard_images": (
        "images&tagFilter=confusion/counts|gallery",
        ("tag: gallery/most_confidently_wrong", "tag: confusion/counts"),
        (1840, 860),
    ),
    "tensorboard_projector": ("projector", ("Points: 1000",), (1280, 760)),
}
ROOT = Path(__file__).parents[2]
COLOURS = 256
MOST_BYTES = 200_000
# Pictures are shown small unless this is ticked; its element is deep in shadow roots.
TICK_ACTUAL_SIZE = """
(function look(node) {
  for (const child of node.querySelectorAll('*')) {
    if (child.shadowRoot) look(child.shadowRoot);
    if (child.tagName === 'PAPER-CHECKBOX' && /actual image size/.test(child.textContent)) {
      child.click();
    }
  }
})(document);
"""


def main(argv: list[str]) -> None:
    """Take the page's picture, and with a folder of runs those of TensorBoard."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "runs", type=Path, nargs="?", help="folder of runs that --inspect full has written"
    )
    parser.add_argument("--out", type=Path, default=Path(".github"), help="where to put them")
    chosen = parser.parse_args(argv)
    if chosen.runs is None:
        demo(chosen.out / "demo.png")
    else:
        tensorboard(chosen.runs, chosen.out)


def demo(path: Path) -> None:
    """Draw a seven on the page of `conv_net.tuned`, and take its picture."""
    command = [sys.executable, ROOT / "scripts/demo.py", "--weights", "conv_net.tuned"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        with chromium(1200, 820) as browser:
            browser.open(server.stdout.readline().split()[0])
            browser.wait_for("Draw", "Probabilities")
            time.sleep(2)
            browser.stroke("#pad canvas", (-50, -80), (50, -80), (0, 80))
            browser.wait_for("100%")
            time.sleep(5)  # the pictures below say nowhere that they are ready
            save(browser.screenshot(), path)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()


def tensorboard(runs: Path, out: Path) -> None:
    """Start TensorBoard on a folder of runs and take the pictures of its pages."""
    if not list(runs.rglob("projector_config.pbtxt")):
        raise UserError(
            f"There is no run with a projector under '{runs}'. Make one: "
            "python scripts/fit.py --model fashion_ffnn --inspect full"
        )
    server = TensorBoard(runs)
    try:
        while server.url is None and server.is_running:
            time.sleep(0.1)
        for name, (page, ready, (width, height)) in PICTURES.items():
            with chromium(width, height) as browser:
                take(browser, f"{server.url}#{page}", ready, out / f"{name}.png")
    finally:
        server.stop()


def take(browser: Browser, url: str, ready: tuple[str, ...], path: Path) -> None:
    """Open a page, wait until it shows its data, and save a picture of it in few colours."""
    browser.open(url)
    browser.wait_for(*ready)
    browser.run(TICK_ACTUAL_SIZE)
    time.sleep(5)  # what is drawn, not written, says nowhere that it is ready
    save(browser.screenshot(), path)


def save(screenshot: bytes, path: Path) -> None:
    """Save a picture in as few colours as its size asks for."""
    picture = Image.open(io.BytesIO(screenshot)).convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = COLOURS
    while True:
        picture.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
            path, optimize=True
        )
        if path.stat().st_size < MOST_BYTES or colours <= 8:
            break
        colours //= 2
    print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
