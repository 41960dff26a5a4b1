"""A judge for tests: a server on this machine that answers like an OpenAI-compatible one."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["StubJudge", "by_words", "stub_judge"]


class StubJudge:
    """What the server says (``reply``, may be replaced), and the prompts it was asked."""

    def __init__(self, reply: Callable[[str], str]) -> None:
        self.reply = reply
        self.asked: list[str] = []
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
def stub_judge(reply: Callable[[str], str] = by_words) -> Iterator[StubJudge]:
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
            message = {"role": "assistant", "content": judge.reply(prompt)}
            self._send({"model": f"{request['model']}-0001", "choices": [{"message": message}]})

        def _send(self, body: object) -> None:
            data = json.dumps(body).encode()
            self.send_response(judge.status)
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
