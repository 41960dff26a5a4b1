"""Installed commands as a user types them, without the seconds that every start spends on imports.

A test of a command line needs a process of its own: harnesses keep registries, caches and patched
classes for as long as they live. Most of such a process's time goes into importing torch and
transformers. So it is forked from one that has imported these libraries (``warm_start``), but
neither the harnesses nor anything of ours, and runs the installed script from its first line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path

__all__ = ["installed", "typed"]

#: Beginnings of variables that libraries read while they are imported.
_READ_AT_IMPORT = ("CUDA_", "HF_", "LD_", "MKL_", "OMP_", "PYTHON", "TORCH", "TRANSFORMERS_")
_one_at_a_time = threading.Lock()


def installed(program: str) -> str:
    """Return the path of a script that was installed beside this Python."""
    return str(Path(sys.executable).with_name(program))


def typed(
    program: str,
    *arguments: str,
    fresh: bool = False,
    folder: Path | None = None,
    prelude: str = "",
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """Run an installed script; return its exit code and what it printed.

    Args:
        program: name of the script, such as ``lmms-eval``.
        arguments: what is typed behind it.
        fresh: start Python anew. So does a variable that libraries read while being imported.
        folder: where it is typed; here by default.
        prelude: Python to execute in the process before the script, for what has no variable.
        variables: environment variables beside those of this process.
    """
    command = [installed(program), *arguments]
    environment = {**os.environ, **variables}
    if fresh or any(name.startswith(_READ_AT_IMPORT) for name in variables):
        assert not prelude, "a fresh start runs the script alone"
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=folder, check=False
        )
    with tempfile.TemporaryDirectory() as printed, _one_at_a_time:
        request = {
            **{"command": command, "environment": environment, "prelude": prelude},
            **{"folder": str(folder or Path.cwd()), "printed": printed},
        }
        server = _server()
        assert server.stdin and server.stdout
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        exit_code = int(server.stdout.readline())
        stdout, stderr = (
            Path(printed, name).read_text(encoding="utf-8", errors="replace")
            for name in ("stdout", "stderr")
        )
    return subprocess.CompletedProcess(command, exit_code, stdout, stderr)


@cache
def _server() -> subprocess.Popen[str]:
    """Start the process to fork from. It ends with this one, whose end closes the pipe."""
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("warm_start.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
