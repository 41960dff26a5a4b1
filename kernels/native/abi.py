"""The records of ``abi.h``, for ctypes."""

from __future__ import annotations

import ctypes

__all__ = ["ABI", "KINDS", "TYPES", "Call", "Term", "refusal"]

ABI = 3
TYPES = {"float32": 0, "bfloat16": 1, "float16": 2}
KINDS = {"add": 0, "gain": 1, "weigh": 2}

_POINTER = ctypes.c_void_p
_I32, _I64, _F32 = ctypes.c_int32, ctypes.c_int64, ctypes.c_float


class Term(ctypes.Structure):
    """An edit, as the kernel reads it."""

    _fields_ = (
        ("kind", _I32),
        ("unused", _I32),
        ("u", _POINTER),
        ("w", _POINTER),
        ("u_stride", _I64 * 2),
        ("w_stride", _I64 * 2),
    )


class Call(ctypes.Structure):
    """A call, as the kernels read it; the meaning of its fields stands in ``abi.h``."""

    _fields_ = (
        *((name, _POINTER) for name in ("q", "k", "v", "o", "lse")),
        *((f"{name}_stride", _I64 * 3) for name in "qkvo"),
        *((name, _I64) for name in ("batch", "heads", "kv_heads", "m", "n", "d", "e")),
        ("type", _I32),
        ("threads", _I32),
        ("scale", _F32),
        ("softcap", _F32),
        *((name, _I32) for name in ("q_tile", "k_tile", "planes", "unused")),
        *((name, _POINTER) for name in ("starts", "columns", "masks", "bitmaps")),
        *((name, _I64) for name in ("start_count", "count", "bitmap_count")),
        ("terms", ctypes.POINTER(Term)),
        ("term_count", _I64),
        ("head_scale", _POINTER),
        ("head_scale_stride", _I64),
    )


def refusal(status: int) -> str:
    """What a status other than 0 means."""
    return {
        1: "sizes that do not fit each other",
        2: "tile lists that are not ascending, or point outside",
        3: "there is not enough memory",
    }.get(status, f"status {status}")
