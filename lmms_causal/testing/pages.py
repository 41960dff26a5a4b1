"""Pages of documentation that are followed to the letter: their code blocks, run in order.

A page is one script. A fenced block is taken by its language:

* ``bash``: run as it stands, in one shell for the whole page, which stops at the first failure;
* ``python``, ``yaml``, ... whose first line is a comment with a path (``# tasks/a/b.py``): the
  rest becomes that file;
* ``python`` otherwise: run by a fresh interpreter;
* ``text``: shown to the reader, and not run. So are indented blocks.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Block", "blocks", "checkout", "follow", "script"]

_FENCE = re.compile(r"^```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_PATH = re.compile(r"# (?P<path>[\w./-]+\.\w+)\n+")
_FOLDERS = ("tasks", "interventions", "kernels")
_BOUNDARY = "END_OF_THE_BLOCK"


@dataclass(frozen=True)
class Block:
    """One fenced block of a page.

    Attributes:
        language: the first word behind the fence.
        text: what stands between the fences, without the line that names a file.
        file: path of the file that the block is, or None.
        line: number of the block's first line in the page, from 1.
    """

    language: str
    text: str
    file: str | None
    line: int


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    source = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(source):
        text, line = match["text"], source[: match.start("text")].count("\n") + 1
        named = _PATH.match(text) if match["language"] != "bash" else None
        found.append(
            Block(
                language=match["language"],
                text=text[named.end() :] if named else text,
                file=named["path"] if named else None,
                line=line,
            )
        )
    return found


def script(page: Path) -> str:
    """The page as one script for bash; on standard error it says where in the page it is.

    Raises:
        ValueError: a block that is neither run, nor a file, nor ``text``.
    """
    parts = ["set -euo pipefail"]
    for block in blocks(page):
        place = f"{page.name}:{block.line}"
        if block.language == "text":
            continue
        parts.append(f"echo '@ {place}' >&2")
        quoted = f"<<'{_BOUNDARY}'\n{block.text}{_BOUNDARY}"
        if block.file is not None:
            folder = str(Path(block.file).parent)
            parts.append(f"mkdir -p '{folder}'\ncat > '{block.file}' {quoted}")
        elif block.language == "bash":
            parts.append(block.text.rstrip("\n"))
        elif block.language == "python":
            parts.append(f"python - {quoted}")
        else:
            raise ValueError(f"{place}: a {block.language!r} block must name its file, or be text")
    return "\n".join(parts) + "\n"


def follow(
    page: Path, folder: Path, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a page in a folder, with this interpreter's programs first on the path.

    Raises:
        AssertionError: a command failed; the message names the block and ends with its output.
    """
    programs = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script(page)],
        cwd=folder,
        env={**environment, **(variables or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reached = re.findall(r"^@ (.*)$", done.stderr, re.MULTILINE)
        raise AssertionError(
            f"{reached[-1] if reached else page.name} ends with code {done.returncode}\n"
            f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        )
    return done


def checkout(root: Path, folder: Path) -> dict[str, str]:
    """Copy the sources to ``folder``, for pages that add files to them.

    Returns the variables under which ``import lmms_causal`` means the copy, also for the
    harnesses' commands: what an editable installation does for the original.
    """
    for name in (*_FOLDERS, "lmms_causal", "tests", "docs"):
        ignored = shutil.ignore_patterns("__pycache__", "*.so", "*.egg-info")
        shutil.copytree(root / name, folder / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.cfg"):
        shutil.copy(root / name, folder / name)
    for name in _FOLDERS:
        (folder / "lmms_causal" / name).symlink_to(folder / name)
    site = folder / ".site"
    site.mkdir()
    (site / "lmms_causal").symlink_to(folder / "lmms_causal")
    return {"PYTHONPATH": str(site)}
