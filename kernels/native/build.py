"""Compile the kernels: into the package when a wheel is built, or into a cache on first use.

Only the standard library is used here, because this also runs where nothing is installed yet
(``commands.py``). The source is compiled for a *level* of instructions (``LEVELS``), of which the
library that is loaded is never above the processor's; nothing is tuned to the machine that
compiles.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = [
    "LEVELS",
    "OFF",
    "PROBE",
    "CannotCompile",
    "build",
    "build_probe",
    "compiler",
    "levels_here",
    "name",
    "sources_digest",
]

LEVELS: tuple[tuple[str, ...], ...] = (
    (),
    ("-mavx2", "-mfma", "-mf16c"),
    ("-mavx2", "-mfma", "-mf16c", "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq"),
    (
        *("-mavx2", "-mfma", "-mf16c", "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq"),
        "-mavx512bf16",
    ),
)
"""Flags by level: none, AVX2 with FMA, AVX-512, AVX-512 with bfloat16."""

_FLAGS = ("-O3", "-std=c++17", "-fPIC", "-fno-math-errno", "-fvisibility=hidden", "-w")
_SUFFIX = ".dylib" if sys.platform == "darwin" else ".so"
_FOLDER = Path(__file__).resolve().parent

OFF = ("0", "no", "off", "false")
"""Values of ``LMMS_CAUSAL_NATIVE`` that leave the kernels alone."""

PROBE = f"processor{_SUFFIX}"
"""The file name of the library that only says what the processor can do."""


class CannotCompile(Exception):
    """There is no compiler, or it failed; the text says which."""


def compiler() -> list[str] | None:
    """The C++ compiler as a command: ``$CXX``, or the first of the usual names. None if none."""
    if command := shlex.split(os.environ.get("CXX", "")):
        return command if shutil.which(command[0]) else None
    return next(([found] for it in ("c++", "g++", "clang++") if (found := shutil.which(it))), None)


def levels_here() -> range:
    """The levels that compilers of this processor's family know."""
    return range(len(LEVELS) if platform.machine().lower() in ("x86_64", "amd64") else 1)


def name(level: int, threads: bool = True) -> str:
    """The file name of a library."""
    return f"attention-{level}{'' if threads else '-serial'}{_SUFFIX}"


def sources_digest() -> str:
    """A digest of all that a library depends on but the compiler."""
    digest = hashlib.sha256(repr((_FLAGS, LEVELS)).encode())
    for path in sorted(_FOLDER.glob("*.cpp")) + sorted(_FOLDER.glob("*.h")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def build(target: Path, level: int, threads: bool = True, extra: Sequence[str] = ()) -> None:
    """Compile one library to a file, which appears whole or not at all.

    OpenMP is compiled for and not linked: at run time the copy that torch has loaded is used, since
    two of them would fight over the cores.

    Args:
        target: the file.
        level: index into ``LEVELS``.
        threads: whether with OpenMP.
        extra: further flags for compiler and linker, as ``-fsanitize=address``.

    Raises:
        CannotCompile: there is no compiler, it failed, or the file cannot be written.
    """
    flags = [*_FLAGS, *LEVELS[level], *(["-fopenmp"] if threads else [])]
    # what asks the processor must run on any
    plain = {"features.cpp": [*_FLAGS]}
    sources = {path: plain.get(path.name, flags) for path in sorted(_FOLDER.glob("*.cpp"))}
    _made(target, sources, extra)


def build_probe(target: Path) -> None:
    """Compile the library ``PROBE``: ``lc_level`` alone, for any processor, in no time.

    Raises:
        CannotCompile: as in :func:`build`.
    """
    _made(target, {_FOLDER / "features.cpp": list(_FLAGS)}, ())


def _made(target: Path, sources: dict[Path, list[str]], extra: Sequence[str]) -> None:
    """Compile sources, each with its flags, and link them."""
    command = compiler()
    if command is None:
        named = os.environ.get("CXX", "").strip()
        there_is_none = f"CXX={named} is not a command" if named else "no C++ compiler was found"
        raise CannotCompile(f"{there_is_none}; set CXX to the name of one")
    undefined = ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as folder:
            objects = [str(Path(folder) / f"{source.stem}.o") for source in sources]
            commands = [
                [*command, *flags, *extra, "-c", str(source), "-o", made]
                for (source, flags), made in zip(sources.items(), objects, strict=True)
            ]
            with ThreadPoolExecutor() as pool:
                list(pool.map(_run, commands))
            linked = Path(folder) / target.name
            _run([*command, "-shared", *undefined, *extra, *objects, "-o", str(linked)])
            os.replace(linked, target)
    except OSError as error:
        raise CannotCompile(f"{target.parent}: {error.strerror or error}") from None


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        lines = [it for it in done.stderr.splitlines() if "error" in it] or done.stderr.splitlines()
        raise CannotCompile(f"{command[0]} failed: {(lines or ['no message'])[0].strip()}")
