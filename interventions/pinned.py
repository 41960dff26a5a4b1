"""Files that a spec names with a digest of their content: ``means.safetensors#1f3a9c0e``.

Results and response caches record the model arguments only. With the digest in them they change
when the file does, and a file that is no longer the same is refused.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from lmms_causal.errors import UserError

__all__ = ["pin", "read_pinned"]

_DIGEST_LENGTH = 8


def pin(path: str | Path) -> str:
    """Return how a spec names a file: its path, ``#`` and the digest of its content.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        content = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    return f"{path}#{_digest(content)}"


def read_pinned(reference: str, written: str, kind: str, owner: str = "") -> bytes:
    """Return the content of a file.

    Args:
        reference: ``FILE#DIGEST``.
        written: what stands before it in a spec, such as ``interventions=@`` or ``table=``.
        kind: what the file is, for errors.
        owner: who reads it, for errors, such as ``intervention head_ablate:`` and a blank.

    Raises:
        UserError: the file cannot be read, or its digest is missing or another one.
    """
    name, _, pinned = reference.partition("#")
    try:
        content = Path(name).expanduser().read_bytes()
    except OSError as error:
        raise UserError(
            f"{owner}{written}{name}: cannot read the {kind} ({error.strerror}); give the path "
            f"of a file, as {written}FILE#DIGEST"
        ) from None
    digest = _digest(content)
    if pinned != digest:
        found = f"has content #{digest}, not #{pinned}" if pinned else "must be pinned"
        raise UserError(
            f"{owner}{written}{name}: the {kind} {found}; write {written}{name}#{digest}, so that "
            "results and caches identify its content"
        )
    return content


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGEST_LENGTH]
