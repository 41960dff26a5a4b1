"""Servers on this machine that play the web: one of several files, one that continues a file."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from lmms_causal.errors import UserError
from lmms_causal.tasks import download
from lmms_causal.tasks.download import fetch

ETAG = '"version 1"'


class _Server(BaseHTTPRequestHandler):
    """``/good``; ``/short`` breaks off; ``/flaky`` fails twice; everything else is not found."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/flaky" and self.asked.count("/flaky") < 3:
            self.send_error(503)
        elif self.path in ("/good", "/short", "/flaky"):
            self.send_response(200)
            self.send_header("Content-Length", "10" if self.path == "/short" else "4")
            self.end_headers()
            self.wfile.write(b"data")
        else:
            self.send_error(404)

    def log_message(self, *args: object) -> None:
        pass


class _Ranges(BaseHTTPRequestHandler):
    """One file of a server whose behaviour a test sets; see the attributes."""

    body: bytes
    sent: dict[str, str]  # validators: ETag, Last-Modified
    cuts: list[int]  # break off after so many bytes, one answer each
    ranges: str  # honoured, ignored, refused (416), or honoured wrongly: shifted, longer, unchecked
    asked: list[tuple[str | None, str | None]]  # Range, If-Range
    hold: threading.Event | None  # wait for it before breaking off
    url: str

    def do_GET(self) -> None:
        server = type(self)
        wanted, condition = self.headers["Range"], self.headers["If-Range"]
        server.asked.append((wanted, condition))
        same = condition in server.sent.values() or server.ranges != "honoured"
        start = int(wanted[6:-1]) if wanted and same and server.ranges != "ignored" else 0
        if start and server.ranges == "refused":
            return self.send_error(416)
        rest, total = server.body[start:], len(server.body)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        for name, value in server.sent.items():
            self.send_header(name, value)
        if start:
            first = start + (server.ranges == "shifted")
            size = total + (server.ranges == "longer")
            self.send_header("Content-Range", f"bytes {first}-{total - 1}/{size}")
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else None
        self.wfile.write(rest[:cut])
        if cut is not None and server.hold:
            server.hold.wait(60)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def _running(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    proxies = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
    for variable in (*download.OFFLINE_VARIABLES, *proxies):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=lambda seconds: None))


@pytest.fixture
def server(online: None) -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    with _running(type("Handler", (_Server,), {"asked": asked})) as address:
        yield address, asked


@pytest.fixture
def ranges(online: None) -> Iterator[type[_Ranges]]:
    state = {"body": random.Random(0).randbytes(300_000), "sent": {"ETag": ETAG}, "hold": None}
    state |= {"cuts": [], "ranges": "honoured", "asked": []}
    handler = type("Handler", (_Ranges,), state)
    with _running(handler) as address:
        handler.url = f"{address}/file"
        yield handler


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``interrupt(ranges, target, after=100_000)``: a run that gives up after so many bytes."""

    def run(server: type[_Ranges], target: Path, after: int = 100_000) -> None:
        server.cuts[:] = [after]
        with monkeypatch.context() as once:
            once.setattr(download, "ATTEMPTS", 1)
            with pytest.raises(UserError, match=f"{after} of 300000 bytes"):
                fetch(server.url, target, remedy="-")
        assert not target.exists()

    return run
