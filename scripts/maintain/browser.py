"""A headless Chromium that opens a page, runs JavaScript in it and takes pictures of it.

It speaks the W3C WebDriver protocol with `chromedriver` (Debian: `apt-get install chromium
chromium-driver`) over the standard library, so that it needs no further package.
"""

import base64
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from zoo.errors import UserError

# Nothing of this may call home; a user directory of its own keeps runs apart.
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--enable-unsafe-swiftshader",  # the projector draws with WebGL
)
# What the driver says of an element that a script has not made yet, or is making anew.
NOT_DRAWN = (
    "no such element",
    "stale element reference",
    "element not interactable",
    "element click intercepted",
    "invalid element state",
)


def is_installed() -> bool:
    """Tell whether Chromium and its driver are there."""
    return bool(shutil.which("chromium") and shutil.which("chromedriver"))


class Browser:
    """A page in a headless Chromium.

    Args:
        session: Address of the driver's session.
    """

    def __init__(self, session: str) -> None:
        self._session = session

    def open(self, url: str) -> None:
        """Load a page."""
        _post(f"{self._session}/url", {"url": url})

    def run(self, script: str) -> Any:
        """Return what a JavaScript function body returns."""
        return _post(f"{self._session}/execute/sync", {"script": script, "args": []})

    def text(self) -> str:
        """Return all text that the page shows, also in shadow roots and inner frames."""
        return self.run(_TEXT)

    def wait_for(self, *wanted: str, seconds: float = 60.0) -> str:
        """Wait until the page's text has all of these in it, and return the text.

        Raises:
            TimeoutError: If one is missing all the time; it says which, and what there is.
        """
        deadline = time.monotonic() + seconds
        while True:
            text = self.text()
            missing = [part for part in wanted if part not in text]
            if not missing:
                return text
            if time.monotonic() > deadline:
                raise TimeoutError(f"The page never showed {missing}, but:\n{text[:3000]}")
            time.sleep(0.3)

    def press(self, selector: str, text: str) -> None:
        """Click on an element and type text into it, in place of what is there."""

        def type_text() -> None:
            element = self._element(selector)
            _post(f"{element}/click", {})
            _post(f"{element}/clear", {})
            _post(f"{element}/value", {"text": text})

        _when_drawn(type_text)

    def upload(self, selector: str, file: Path) -> None:
        """Give a file to an input for files."""
        _when_drawn(lambda: _post(f"{self._element(selector)}/value", {"text": str(file)}))

    def stroke(self, selector: str, *points: tuple[int, int]) -> None:
        """Draw with the mouse on an element, through points counted from its middle."""
        origin = _when_drawn(lambda: self._found(selector))
        moves = [
            {"type": "pointerMove", "duration": 60, "x": x, "y": y, "origin": origin}
            for x, y in points
        ]
        actions = [moves[0], {"type": "pointerDown", "button": 0}, *moves[1:]]
        actions += [{"type": "pointerUp", "button": 0}]
        mouse = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}}
        _post(f"{self._session}/actions", {"actions": [{**mouse, "actions": actions}]})

    def requests(self) -> list[str]:
        """Return the addresses that the page has asked for since the last call."""
        entries = _post(f"{self._session}/se/log", {"type": "performance"})
        events = [json.loads(entry["message"])["message"] for entry in entries]
        wanted = [e["params"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [request["request"]["url"] for request in wanted]

    def _found(self, selector: str) -> dict[str, str]:
        return _post(f"{self._session}/element", {"using": "css selector", "value": selector})

    def _element(self, selector: str) -> str:
        (identifier,) = self._found(selector).values()
        return f"{self._session}/element/{identifier}"

    def screenshot(self) -> bytes:
        """Return a picture of the window, as PNG."""
        with urlopen(f"{self._session}/screenshot") as answer:
            return base64.b64decode(json.load(answer)["value"])


@contextmanager
def chromium(width: int = 1400, height: int = 900) -> Iterator[Browser]:
    """Start a Chromium with an empty page, and end it.

    Args:
        width: Of the page, in pixels.
        height: Of the page, in pixels.

    Raises:
        UserError: If it is not installed.
    """
    if not is_installed():
        raise UserError(
            "Chromium and chromedriver are needed; Debian: apt-get install chromium chromium-driver"
        )
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        driver = subprocess.Popen(
            ["chromedriver", "--port=0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            port = next(
                found.group(1)
                for line in driver.stdout
                if (found := re.search(r"started successfully on port (\d+)", line))
            )
            server = f"http://127.0.0.1:{port}/session"
            flags = [*FLAGS, f"--user-data-dir={Path(profile)}"]
            options = {"binary": shutil.which("chromium"), "args": flags}
            logs = {"performance": "ALL"}
            match = {"goog:chromeOptions": options, "goog:loggingPrefs": logs}
            wanted = {"capabilities": {"alwaysMatch": match}}
            session = f"{server}/{_post(server, wanted)['sessionId']}"
            # No window is narrower than 500 pixels, whatever --window-size says; a page can be.
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            override = {"cmd": "Emulation.setDeviceMetricsOverride", "params": size}
            _post(f"{session}/goog/cdp/execute", override)
            try:
                yield Browser(session)
            finally:
                urlopen(Request(session, method="DELETE")).close()
        finally:
            driver.terminate()
            driver.wait()


def _when_drawn(act: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Act on a page, again and again while it is still being drawn, and return what comes of it.

    Raises:
        RuntimeError: If it is not drawn in time, or the driver has another complaint.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return act()
        except HTTPError as error:
            told = json.load(error)["value"]
            if told["error"] not in NOT_DRAWN or time.monotonic() > deadline:
                raise RuntimeError(f"{told['error']}: {told['message']}") from error
        time.sleep(0.3)


def _post(url: str, content: dict[str, Any]) -> Any:
    body = json.dumps(content).encode()
    with urlopen(Request(url, body, {"Content-Type": "application/json"})) as answer:
        return json.load(answer)["value"]


_TEXT = """
function shown(node) {
  if (node.nodeType === Node.TEXT_NODE) return node.textContent;
  if (node.nodeType !== Node.ELEMENT_NODE) return '';
  if (['STYLE', 'SCRIPT', 'TEMPLATE', 'NOSCRIPT'].includes(node.nodeName)) return '';
  if (getComputedStyle(node).display === 'none') return '';
  if (node.nodeName === 'IFRAME') {
    const page = node.contentDocument;
    return page && page.body ? shown(page.body) : '';
  }
  const inside = [...(node.shadowRoot ? node.shadowRoot.childNodes : []), ...node.childNodes];
  return inside.map(shown).join(' ');
}
return shown(document.body).replace(/\\s+/g, ' ');
"""
