"""Load the compiled kernels: from the package, from the cache, or compiled now.

``LMMS_CAUSAL_NATIVE=0`` leaves them alone. What is in the way is said once, as a warning, and
everything else goes on through torch.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

from lmms_causal.kernels.native import abi
from lmms_causal.kernels.native.build import (
    LEVELS,
    OFF,
    PROBE,
    CannotCompile,
    build,
    build_probe,
    levels_here,
    name,
    sources_digest,
)

__all__ = ["Library", "library", "missing", "peak_flops"]

_PACKAGED = Path(__file__).resolve().parent / "lib"
T = TypeVar("T")


class Library:
    """A loaded library.

    Attributes:
        level: of its instructions, see ``build.LEVELS``.
        threads: whether it can use more than one.
        path: its file.

    Raises:
        OSError: the file cannot be loaded here, or is of another version.
    """

    def __init__(self, path: Path, level: int, threads: bool) -> None:
        self.path, self.level, self.threads = path, level, threads
        self._loaded = ctypes.CDLL(str(path))
        if getattr(self._loaded, "lc_abi", lambda: None)() != abi.ABI:
            _close(self._loaded)
            raise OSError(f"{path} is of another version")
        for function in (self._loaded.lc_prefill, self._loaded.lc_decode):
            function.argtypes = [ctypes.POINTER(abi.Call)]
            function.restype = ctypes.c_int32
        self._loaded.lc_peak.argtypes = [ctypes.c_int32]
        self._loaded.lc_peak.restype = ctypes.c_double
        self.prefill = self._loaded.lc_prefill
        self.decode = self._loaded.lc_decode
        self.peak = self._loaded.lc_peak


def _close(loaded: ctypes.CDLL) -> None:
    """Forget a library, or another one at its place would be taken for it."""
    import _ctypes

    _ctypes.dlclose(loaded._handle)


def library() -> Library | None:
    """The library, or None where there can be none; see :func:`missing`."""
    return _found()[0]


def missing() -> str | None:
    """Why there is no library, or None."""
    return _found()[1]


def peak_flops(dtype: str) -> float | None:
    """Operations per second that one core does on registers, measured now.

    Args:
        dtype: ``float32`` or ``bfloat16``.
    """
    loaded = library()
    return None if loaded is None else loaded.peak(abi.TYPES[dtype])


@cache
def _found() -> tuple[Library | None, str | None]:
    if os.environ.get("LMMS_CAUSAL_NATIVE", "1").lower() in OFF:
        return None, "switched off by LMMS_CAUSAL_NATIVE"
    reason = None
    if sys.byteorder != "little" or sys.maxsize < 1 << 32:
        reason = "they are for little-endian processors of 64 bits"
    else:
        try:
            kinds = (True, False) if _openmp() else (False,)
            for level in range(_level(), -1, -1):  # an older compiler may not know the highest
                for threads in kinds:
                    try:
                        return _loaded(level, threads), None
                    except (OSError, CannotCompile) as error:
                        reason = reason or str(error)
        except (OSError, CannotCompile) as error:
            reason = str(error)
    warnings.warn(
        f"the compiled attention kernels are not used: {reason}; attention runs through torch",
        stacklevel=2,
    )
    return None, reason


def _loaded(level: int, threads: bool) -> Library:
    """The library of a level, compiled if need be."""
    return _opened(
        name(level, threads),
        lambda path: Library(path, level, threads),
        lambda path: build(path, level, threads),
    )


def _level() -> int:
    """The level of this processor, asked of it by the plainest library there is."""
    if len(levels_here()) == 1:
        return 0
    probe = _opened(PROBE, lambda path: ctypes.CDLL(str(path)), build_probe)
    return min(int(probe.lc_level()), len(LEVELS) - 1)


def _opened(file: str, load: Callable[[Path], T], compile_to: Callable[[Path], None]) -> T:
    """A library from the package, or else from the cache, or else compiled into it."""
    packaged = _PACKAGED / file
    cached = _cache() / file
    for path in (packaged, cached):
        if path.exists():
            try:
                return load(path)
            except OSError:  # broken, or of another system: make a new one
                continue
    from filelock import FileLock

    cached.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{cached}.lock"):  # several processes start at once: one compiles
        if cached.exists():
            with contextlib.suppress(OSError):
                return load(cached)
        compile_to(cached)
        return load(cached)


def _cache() -> Path:
    """The folder of compiled libraries for this source and machine."""
    import platform

    try:
        if own := os.environ.get("LMMS_CAUSAL_CACHE"):
            root = Path(own).expanduser()
        else:
            root = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lmms_causal"
    except RuntimeError:
        raise CannotCompile(
            "there is no home folder to keep them in; set LMMS_CAUSAL_CACHE"
        ) from None
    return root / "native" / f"{platform.system()}-{platform.machine()}-{sources_digest()}".lower()


def _openmp() -> bool:
    """Make the OpenMP runtime that torch has loaded visible to ours; whether there is one."""
    import torch

    folder = Path(torch.__file__).resolve().parent
    for path in [*folder.glob("lib/libgomp*.so*"), *folder.parent.glob("torch.libs/libgomp*.so*")]:
        try:
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            return True
        except OSError:
            continue
    for known in ("libgomp.so.1", "libomp.so.5"):
        try:
            ctypes.CDLL(known, mode=ctypes.RTLD_GLOBAL)
            return True
        except OSError:
            continue
    return False
