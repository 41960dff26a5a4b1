"""A page in headless Chromium, driven over its debugging pipe: for screenshots and tests.

Needs a Chromium on the machine (Debian: ``apt-get install chromium``) and nothing else: the
DevTools protocol is JSON messages that end in a zero byte, on file descriptors 3 and 4.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["Browser", "chromium"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_TIMEOUT = 60.0
_FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--disable-gpu",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
)
#: Puts the pipe where the browser looks for it; by way of copies, since it may lie there crosswise.
_LAUNCH = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def chromium() -> str | None:
    """The Chromium of this machine, or None: ``CHROMIUM`` in the environment, else by name."""
    named = os.environ.get("CHROMIUM")
    return named or next((found for name in _NAMES if (found := shutil.which(name))), None)


class Browser:
    """One tab, without a network. A context manager; the process ends with it.

    Attributes:
        requests: Addresses that the page asked for, itself included.
        errors: What it wrote to the console as an error, exceptions included.
    """

    def __init__(self, program: str) -> None:
        self._program = program
        self.requests: list[str] = []
        self.errors: list[str] = []
        self._number = 0
        self._buffer = b""

    def __enter__(self) -> Browser:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        # A browser run by root, as in a container, has no sandbox.
        root = ["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else []
        arguments = [*_FLAGS, *root, f"--user-data-dir={self._profile.name}", "about:blank"]
        words = [sys.executable, "-c", _LAUNCH, str(to_read), str(to_write), self._program]
        self._process = subprocess.Popen(
            [*words, *arguments], pass_fds=(to_read, to_write), stderr=subprocess.DEVNULL
        )
        os.close(to_read)
        os.close(to_write)
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._write)  # on which the browser ends
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read)
        self._profile.cleanup()

    def open(self, file: Path, width: int, height: int, *, dark: bool = False) -> None:
        """Load a file into a window of `width` by `height`; narrow ones are phones."""
        phone = width < 600
        metrics = {"width": width, "height": height, "mobile": phone, "deviceScaleFactor": 1}
        self.call("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.call("Page.navigate", {"url": file.resolve().as_uri()})
        self.until("document.readyState === 'complete' && location.protocol === 'file:'")

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page.

        Raises:
            RuntimeError: It throws.
        """
        given = {"expression": script, "returnByValue": True, "awaitPromise": True}
        found = self.call("Runtime.evaluate", given)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"].get("description", script))
        return found["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until an expression is true.

        Raises:
            TimeoutError: It does not become true.
        """
        end = time.monotonic() + _TIMEOUT
        while not self.evaluate(condition):
            if time.monotonic() > end:
                raise TimeoutError(condition)
            time.sleep(0.02)

    def press(self, key: str, code: int = 0, text: str = "") -> None:
        """Press and let go a key, such as "Tab", "Enter", "ArrowRight"."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39}
        codes |= {"ArrowUp": 38, "ArrowDown": 40}
        given = {"key": key, "code": key, "windowsVirtualKeyCode": code or codes.get(key, 0)}
        text = text or ("\r" if key == "Enter" else "")
        down = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
        self.call("Input.dispatchKeyEvent", {**given, **down})
        self.call("Input.dispatchKeyEvent", {**given, "type": "keyUp"})

    def type(self, text: str) -> None:
        """Type text into what has the focus."""
        self.call("Input.insertText", {"text": text})

    def screenshot(self, file: Path, *, whole: bool = False, longest: int = 16000) -> None:
        """Write what the window shows, or the whole page, as PNG."""
        given: dict[str, Any] = {"format": "png"}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            height = min(size["height"], longest)
            given["clip"] = {"x": 0, "y": 0, "width": size["width"], "height": height, "scale": 1}
            given["captureBeyondViewport"] = True
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", given)["data"]))

    def pdf(self, file: Path) -> None:
        """Print the page into a file."""
        given = {"preferCSSPageSize": True}
        file.write_bytes(base64.b64decode(self.call("Page.printToPDF", given)["data"]))

    def call(self, method: str, given: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call a method of the DevTools protocol on the tab."""
        return self._call(method, given or {}, self._session)

    def _call(self, method: str, given: dict[str, Any], session: str = "") -> dict[str, Any]:
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": given}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        while True:
            answer = self._message()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self._note(answer)

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], _TIMEOUT)
            if not ready:
                raise TimeoutError(f"{self._program} does not answer")
            data = os.read(self._read, 1 << 20)
            if not data:
                raise RuntimeError(f"{self._program} has ended")
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        given = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(given["exceptionDetails"]["exception"].get("description", "?"))
        elif event.get("method") == "Log.entryAdded" and given["entry"]["level"] == "error":
            self.errors.append(given["entry"]["text"])
