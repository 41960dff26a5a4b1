"""All calls under AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lmms_causal.kernels.native.build import CannotCompile, build, compiler, name

FLAGS = (
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"),
    *("-g", "-O1"),
)


def _runtime() -> str:
    command = compiler()
    assert command is not None
    found = subprocess.run(
        [*command, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(found).is_absolute():
        pytest.skip(f"{command[0]} has no shared AddressSanitizer")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("level", ["own", pytest.param("plain", marks=pytest.mark.exhaustive)])
def test_no_memory_error_and_no_undefined_behaviour(own, tmp_path: Path, level: str) -> None:
    if not own.threads:
        pytest.skip("there is no OpenMP here")
    of = own.level if level == "own" else 0
    target = tmp_path / name(of)
    try:
        build(target, of, extra=FLAGS)
    except CannotCompile as error:
        pytest.skip(f"no sanitizers: {error}")
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("sanitized.py")), str(target), str(of)],
        env=os.environ
        | {
            "LD_PRELOAD": _runtime(),
            "ASAN_OPTIONS": "detect_leaks=0",
            "UBSAN_OPTIONS": "print_stacktrace=1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    assert "300 spoiled ones" in done.stdout
