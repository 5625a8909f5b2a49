"""Take pictures of TensorBoard's pages: `python scripts/maintain/screenshots.py runs`.

They are the README's, out of a folder of runs that `--inspect full` has written.
"""

import argparse
import io
import sys
import time
from pathlib import Path

from PIL import Image

from browser import Browser, chromium
from zoo.cli import run_main
from zoo.cli.tensorboard import TensorBoard
from zoo.errors import UserError

# Name of the picture: the page, what it shows when it is ready, and the window's size.
PICTURES = {
    "tensorboard_images": (
        "images&tagFilter=confusion/counts|gallery",
        ("tag: gallery/most_confidently_wrong", "tag: confusion/counts"),
        (1840, 1000),
    ),
    "tensorboard_projector": ("projector", ("Points: 1000",), (1280, 900)),
}
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
    """Start TensorBoard on a folder of runs and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, help="folder of runs that --inspect full has written")
    parser.add_argument("--out", type=Path, default=Path(".github"), help="where to put them")
    chosen = parser.parse_args(argv)
    if not list(chosen.runs.rglob("projector_config.pbtxt")):
        raise UserError(
            f"There is no run with a projector under '{chosen.runs}'. Make one: "
            "python scripts/fit.py --model fashion_ffnn --inspect full"
        )
    server = TensorBoard(chosen.runs)
    try:
        while server.url is None and server.is_running:
            time.sleep(0.1)
        for name, (page, ready, (width, height)) in PICTURES.items():
            with chromium(width, height) as browser:
                path = chosen.out / f"{name}.png"
                take(browser, f"{server.url}#{page}", ready, path)
                print(f"{path}  {path.stat().st_size / 1000:.0f} kB")
    finally:
        server.stop()


def take(browser: Browser, url: str, ready: tuple[str, ...], path: Path) -> None:
    """Open a page, wait until it shows its data, and save a picture of it in few colours."""
    browser.open(url)
    browser.wait_for(*ready)
    browser.run(TICK_ACTUAL_SIZE)
    time.sleep(5)  # what is drawn, not written, says nowhere that it is ready
    picture = Image.open(io.BytesIO(browser.screenshot())).convert("RGB")
    colours = COLOURS
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
            path, optimize=True
        )
        if path.stat().st_size < MOST_BYTES or colours <= 8:
            return
        colours //= 2


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
