"""A process that has imported everything, and forks the real command line on demand.

Starting Python with torch and a harness takes ten seconds of a processor, and a matrix that is
killed twice starts a run three times and a cell eight times. A fork starts at once; what it then
runs is the code of ``lmms-causal run`` and, for each cell, ``python -m lmms_causal.matrix.cell``,
each a process of its own that can be killed.

It reads lines of JSON and answers each with a number: ``{"words", "stdout", "stderr"}`` starts a
run, the answer is its process id; ``{"pid"}`` asks for its exit code, -1000 while it lives.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

ALIVE = -1000


def fork(
    main: Callable[[Sequence[str]], int], words: Sequence[str], stdout: int, stderr: int
) -> int:
    """Run a command's function in a process of its own; returns the process id."""
    if (pid := os.fork()) != 0:
        return pid
    code: Any = 1
    try:
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        code = main(words)
    except SystemExit as end:
        code = end.code or 0
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Forked:
    """Stands in for ``subprocess.Popen`` of a cell's command."""

    def __init__(self, command: Sequence[str], *, stdout: Any, env: dict[str, str], **_: Any):
        from lmms_causal.matrix import cell

        module = command.index(cell.__name__)

        def main(words: Sequence[str]) -> int:
            os.environ.clear()
            os.environ.update(env)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)  # as a new program has them
            return cell.main(words)

        self.pid = fork(main, command[module + 1 :], stdout.fileno(), stdout.fileno())

    def wait(self, timeout: float | None = None) -> int:
        deadline = time.monotonic() + (timeout or 1e9)
        while (code := ended(self.pid)) == ALIVE:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("cell", timeout or 0)
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def ended(pid: int) -> int:
    """Return the exit code of a fork, or ALIVE."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else ALIVE


def run(words: Sequence[str]) -> int:
    from lmms_causal.cli import main
    from lmms_causal.matrix import running

    os.setsid()
    sys.argv = ["lmms-causal", *words]
    names = ("DEVNULL", "STDOUT", "TimeoutExpired")
    running.subprocess = SimpleNamespace(  # type: ignore[assignment]
        Popen=Forked, **{name: getattr(subprocess, name) for name in names}
    )
    return main(words)


def serve() -> None:
    import lmms_eval.__main__
    import lmms_eval.evaluator
    import lmms_eval.tasks  # noqa: F401
    import torch
    import transformers.models.clip.modeling_clip
    import transformers.models.llama.modeling_llama
    import transformers.models.llava.modeling_llava  # noqa: F401

    import lmms_causal.cli
    import lmms_causal.compare
    import lmms_causal.matrix.results.outcomes
    import lmms_causal.models.for_lmms_eval  # noqa: F401

    torch.set_num_threads(1)
    for line in sys.stdin:
        asked = json.loads(line)
        if "pid" in asked:
            answer = ended(asked["pid"])
        else:
            outputs = [os.open(asked[n], os.O_WRONLY | os.O_CREAT) for n in ("stdout", "stderr")]
            answer = fork(run, asked["words"], *outputs)
            for descriptor in outputs:
                os.close(descriptor)
        print(answer, flush=True)


if __name__ == "__main__":
    serve()
