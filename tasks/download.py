"""Files by URL into the user's cache, checked before they get their final name.

A file is written under a temporary name and renamed when it is complete and correct, so an
interrupted download never leaves half a file behind and several processes may fetch the same one.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from lmms_causal.errors import UserError

__all__ = ["cache_dir", "fetch", "require_sha256", "sha256_of"]

CACHE_VARIABLE = "LMMS_CAUSAL_CACHE"
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
TIMEOUT_SECONDS = 30.0
ATTEMPTS = 4


def cache_dir(*parts: str) -> Path:
    """A folder in our cache: ``$LMMS_CAUSAL_CACHE``, else ``$XDG_CACHE_HOME/lmms_causal``.

    Without either, ``~/.cache/lmms_causal``. Nothing is created here.
    """
    if own := os.environ.get(CACHE_VARIABLE):
        root = Path(own).expanduser()
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lmms_causal"
    return root.joinpath(*parts)


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of the file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def require_sha256(path: Path, expected: str, remedy: str) -> None:
    """Raise a `UserError` that names file, both sums and the remedy unless the sum is right."""
    found = sha256_of(path)
    if found != expected:
        raise UserError(
            f"checksum mismatch for {path}: expected sha256 {expected}, found {found}; {remedy}"
        )


def fetch(
    url: str, target: Path, *, remedy: str, check: Callable[[Path], None] | None = None
) -> Path:
    """Download ``url`` to ``target`` unless it is there already, and return ``target``.

    Args:
        url: what to fetch. Connection trouble is retried with growing pauses, a refusal by the
            server (4xx) is not.
        target: the final file; its folder is created.
        remedy: end of the error message, what to do without this download.
        check: called with the temporary file; what it raises discards the download.

    Raises:
        UserError: no network, offline mode (``HF_HUB_OFFLINE=1``) or a refusal by the server.
    """
    if target.is_file():
        return target
    for variable in OFFLINE_VARIABLES:
        if os.environ.get(variable, "").lower() in ("1", "true", "yes", "on"):
            raise UserError(f"{url} is not in the cache and {variable} forbids downloads; {remedy}")
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        _copy(url, temporary, remedy)
        if check:
            check(temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def _copy(url: str, target: Path, remedy: str) -> None:
    problem: Exception | None = None
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(2 ** (attempt - 1))
        try:
            _copy_once(url, target)
            return
        except urllib.error.HTTPError as error:
            problem = error
            if 400 <= error.code < 500 and error.code != 429:
                break
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
            problem = error
    raise UserError(f"could not download {url} ({problem}); {remedy}") from problem


def _copy_once(url: str, target: Path) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "lmms-causal"})
    with (
        urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response,
        target.open("wb") as file,
    ):
        promised = response.headers.get("Content-Length")
        written = 0
        while block := response.read(1 << 16):
            written += file.write(block)
    if promised is not None and written != int(promised):
        raise ConnectionError(f"got {written} of {promised} bytes")
