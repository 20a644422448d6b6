"""A headless Chromium driven over its own DevTools protocol: open, read, click, take a picture."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from websockets.sync.client import ClientConnection, connect

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-first-run",
    "--remote-debugging-port=0",
)


def find_chromium() -> str | None:
    """Return the path of an installed Chromium, None where there is none (`apt-get install chromium`)."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


@contextmanager
def browser(width: int = 1280, height: int = 800) -> Iterator["Tab"]:
    """Start Chromium with an empty profile and give its one tab; end it on leaving."""
    program = find_chromium()
    if program is None:
        raise FileNotFoundError("no Chromium found; install one, on Debian: apt-get install chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
        process = subprocess.Popen(
            [program, *_FLAGS, *as_root, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            # No keepalive: a test may wait for a run for longer than a ping, and reads nothing meanwhile.
            with connect(_tab_address(Path(profile)), max_size=None, ping_interval=None) as connection:
                tab = Tab(connection)
                tab.resize(width, height)
                yield tab
        finally:
            process.terminate()
            process.wait(timeout=20)


def _tab_address(profile: Path) -> str:
    """Return the WebSocket address of the first tab, once the browser listens."""
    port_file = profile / "DevToolsActivePort"
    eventually(lambda: port_file.exists() and "\n" in port_file.read_text(), "Chromium to listen", 30)
    port = port_file.read_text().splitlines()[0]
    with urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
        pages = [target for target in json.load(answer) if target["type"] == "page"]
    return str(pages[0]["webSocketDebuggerUrl"])


class Tab:
    """One page. `requests` lists the address of everything it asked for since it was opened."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._last_id = 0
        self.requests: list[str] = []
        for domain in ("Page", "Network", "Runtime"):
            self.command(f"{domain}.enable")

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one DevTools command and return its result."""
        self._last_id += 1
        self._connection.send(json.dumps({"id": self._last_id, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(timeout=60))
            if message.get("method") == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
            if message.get("id") == self._last_id:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return dict(message["result"])

    def open(self, url: str) -> None:
        """Go to an address and wait until it is loaded."""
        self.requests.clear()
        self.command("Page.navigate", url=url)
        self.wait_until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, script: str) -> Any:
        """Return the value of a JavaScript expression."""
        answer = self.command("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']['exception'].get('description')}")
        return answer["result"].get("value")

    def wait_until(self, script: str, seconds: float = 60) -> None:
        """Wait until a JavaScript expression is true."""
        eventually(lambda: bool(self.evaluate(script)), script, seconds)

    def wait_for(self, words: str, seconds: float = 60) -> None:
        """Wait until the page shows the words."""
        self.wait_until(f"document.body && document.body.innerText.includes({json.dumps(words)})", seconds)

    def wait_until_idle(self, seconds: float = 1.0) -> None:
        """Wait until nothing loads any more and the text has not changed for so many seconds."""
        seen, since = "", time.monotonic()
        while time.monotonic() - since < seconds:
            time.sleep(0.05)
            now = self.evaluate(_STATE)
            if now != seen or not now.startswith("true"):
                seen, since = now, time.monotonic()

    def click(self, words: str) -> None:
        """Click the innermost element whose text is the words."""
        self.wait_until(f"Boolean({_ELEMENT % json.dumps(words)})")
        self.evaluate(f"{_ELEMENT % json.dumps(words)}.click()")

    def resize(self, width: int, height: int, *, scale: float = 1, dark: bool = False) -> None:
        """Set the size of the page in CSS pixels, the pixels of a picture per CSS pixel, and the theme."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=False,
        )
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[theme])

    def screenshot(self, path: Path) -> None:
        """Write what the page shows as a PNG file."""
        path.write_bytes(b64decode(self.command("Page.captureScreenshot", format="png")["data"]))


# Digits are left out: pages count the seconds since something happened.
_STATE = """([...document.images].every(i => i.complete) && !document.body.innerText.includes('Loading'))
    + document.body.innerText.replace(/[0-9]+/g, '')"""

_ELEMENT = """[...document.querySelectorAll('a, button, [role], span, div')]
    .filter(e => e.innerText && e.innerText.trim() === %s).at(-1)"""


def eventually(is_true: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Return once it is true; raise a TimeoutError that says what never came."""
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(0.05)
