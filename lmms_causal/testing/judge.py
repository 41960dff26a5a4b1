"""A judge for tests: a server on this machine that answers like an OpenAI-compatible one."""

from __future__ import annotations

import json
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any

__all__ = ["Refusal", "StubJudge", "by_words", "stub_judge"]

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Refusal:
    """An answer that is no reply: status, headers, and a body that is sent as JSON."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: object = None


class StubJudge:
    """What the server says and was asked.

    Attributes:
        reply: from a prompt to the reply, None for one without content; may be replaced.
        asked: the prompts.
        requests: the bodies of the requests.
        status: of every answer.
        refusals: sent first, one a request, in place of replies.
    """

    def __init__(self, reply: Callable[[str], str | None]) -> None:
        self.reply = reply
        self.asked: list[str] = []
        self.requests: list[dict[str, Any]] = []
        self.refusals: deque[Refusal] = deque()
        self.status = 200
        self.url = ""


def by_words(prompt: str) -> str:
    """1 if every word of the block ``<reference>`` occurs in the block ``<response>``."""
    blocks = {
        name: re.findall(r"\w+", text.casefold())
        for name, text in re.findall(r"<(reference|response)>\n(.*?)\n</\1>", prompt, re.DOTALL)
    }
    right = set(blocks.get("reference", ["?"])) <= set(blocks.get("response", []))
    return f"Compared. <score>{int(right)}</score>"


@contextmanager
def stub_judge(reply: Callable[[str], str | None] = by_words) -> Iterator[StubJudge]:
    """Run the server in threads of this process; ``url`` is what ``LLM_JUDGE_URL`` must be."""
    judge = StubJudge(reply)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send({"data": []})

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            request = json.loads(self.rfile.read(length))
            prompt = request["messages"][-1]["content"]
            judge.asked.append(prompt)
            judge.requests.append(request)
            if judge.refusals:
                refusal = judge.refusals.popleft()
                self._send(refusal.body, refusal.status, refusal.headers)
                return
            message = {"role": "assistant", "content": judge.reply(prompt)}
            self._send({"model": f"{request['model']}-0001", "choices": [{"message": message}]})

        def _send(
            self, body: object, status: int | None = None, headers: Mapping[str, str] = NO_HEADERS
        ) -> None:
            data = json.dumps(body).encode()
            self.send_response(status or judge.status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        judge.url = f"http://127.0.0.1:{server.server_port}/v1/chat/completions"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield judge
        finally:
            server.shutdown()
            thread.join()
