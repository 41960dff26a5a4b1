"""Files by URL into the user's cache, checked before they get their final name.

A file is written as ``NAME.part`` and renamed when it is complete and correct, so what has the
final name is always whole. An interrupted download is continued with a range request (RFC 9110,
sections 13.1.5 and 14) if the server still has the same version; ``NAME.part.json`` says which one
that is. Several processes may fetch the same file: one downloads, the others wait for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

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
            server (4xx) is not. What an earlier attempt or run has got of the same version is
            continued, if the server can.
        target: the final file; its folder is created.
        remedy: end of the error message, what to do without this download.
        check: called with the complete file before it gets its name; what it raises discards the
            download.

    Raises:
        UserError: no network, offline mode (``HF_HUB_OFFLINE=1``) or a refusal by the server.
    """
    if target.is_file():
        return target
    for variable in OFFLINE_VARIABLES:
        if os.environ.get(variable, "").lower() in ("1", "true", "yes", "on"):
            raise UserError(f"{url} is not in the cache and {variable} forbids downloads; {remedy}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with _partial_file(target) as part:
        if target.is_file():  # another process was faster
            _discard(part)
            return target
        try:
            _copy(url, part, remedy)
        except BaseException:
            if _stored_version(part) is None:
                _discard(part)
            raise
        try:
            if check:
                check(part)
        except Exception:
            _discard(part)
            raise
        _record(part).unlink(missing_ok=True)
        os.replace(part, target)
    return target


@dataclass(frozen=True)
class _Version:
    """What tells the version of a file that a server sent from the next one; size in bytes."""

    url: str
    etag: str
    modified: str
    size: int

    @classmethod
    def of(cls, url: str, headers: Message) -> _Version | None:
        """None without a size or a strong validator: the bytes of two answers could then differ.

        A weak ETag is of no use, nor is a date beside it, nor one within a second of the answer's
        (RFC 9110, sections 8.8.2.2 and 13.1.5).
        """
        size = headers.get("Content-Length", "")
        etag, modified = headers.get("ETag", ""), headers.get("Last-Modified", "")
        if not size.isdecimal() or not (etag or _is_past(modified, headers.get("Date", ""))):
            return None
        return None if etag.startswith("W/") else cls(url, etag, modified, int(size))

    def continues(self, headers: Message, offset: int) -> bool:
        """Whether a 206 answer has this version's bytes from ``offset`` on."""
        got = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", "").strip())
        return (
            got is not None
            and (int(got[1]), int(got[2])) == (offset, self.size)
            and headers.get("ETag", "") == self.etag
            # The date is optional in an answer to If-Range.
            and headers.get("Last-Modified", self.modified) == self.modified
        )


def _is_past(modified: str, now: str) -> bool:
    try:
        return (parsedate_to_datetime(now) - parsedate_to_datetime(modified)).total_seconds() >= 1
    except (TypeError, ValueError):  # absent or malformed
        return False


def _record(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _stored_version(part: Path) -> _Version | None:
    """The version that the bytes in ``part`` belong to, None if that is not known."""
    try:
        version = _Version(**json.loads(_record(part).read_text(encoding="utf-8")))
        return version if 0 < part.stat().st_size <= version.size else None
    except (OSError, ValueError, TypeError):
        return None


def _discard(part: Path) -> None:
    _record(part).unlink(missing_ok=True)
    part.unlink(missing_ok=True)


@contextmanager
def _partial_file(target: Path) -> Iterator[Path]:
    """``NAME.part``, locked until the block ends: waits while another process or thread has it.

    Where files cannot be locked it is a file of our own, which does not outlive the block.
    """
    part = target.with_name(target.name + ".part")
    lock = _lock(part)
    if lock is not None:
        try:
            yield part
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # a forked child may have the handle too
            os.close(lock)
        return
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        _discard(Path(name))


def _lock(part: Path) -> int | None:
    """Handle of the locked file; None where there are no locks or the file is not ours to write."""
    while fcntl is not None:
        try:
            handle = os.open(part, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return None
        ours = False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            # While we waited the file may have been renamed or removed: then lock its successor.
            ours = os.path.samestat(os.fstat(handle), part.stat())
        except FileNotFoundError:
            pass
        except OSError:
            return None
        finally:
            if not ours:
                os.close(handle)
        if ours:
            return handle
    return None


def _copy(url: str, part: Path, remedy: str) -> None:
    problem: Exception | None = None
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(2 ** (attempt - 1))
        try:
            _copy_once(url, part)
            return
        except urllib.error.HTTPError as error:
            problem = error
            if 400 <= error.code < 500 and error.code != 429:
                break
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
            problem = error
    raise UserError(f"could not download {url} ({problem}); {remedy}") from problem


def _copy_once(url: str, part: Path) -> None:
    """Continue ``part`` if possible, else write it from the start.

    The request without a range is made only when the one with it has failed: a server that has
    another version, or no ranges, answers the first with the whole file.
    """
    offset, answer = 0, None
    stored = _stored_version(part)
    if stored is not None and stored.url == url:
        # Of a complete file the last byte is asked for again, to hear that the version is the same.
        offset = min(part.stat().st_size, stored.size - 1)
        answer = _open_rest(stored, offset) if offset else None
    with answer or _open(url, {}) as response, part.open("r+b") as file:
        if stored is not None and answer is not None and response.status == 206:
            size: int | None = stored.size
            file.truncate(offset)
            file.seek(offset)
        else:
            promised = response.headers.get("Content-Length")
            size = None if promised is None else int(promised)
            # Truncated first: no moment at which the record could describe other bytes.
            file.truncate(0)
            _record(part).unlink(missing_ok=True)
            if version := _Version.of(url, response.headers):
                _record(part).write_text(json.dumps(asdict(version)), encoding="utf-8")
        while block := response.read(1 << 16):
            file.write(block)
        written = file.tell()
    if size is not None and written != size:
        raise ConnectionError(f"got {written} of {size} bytes")


def _open_rest(version: _Version, offset: int) -> Any:
    """The answer with the bytes from ``offset`` on (206) or the whole file, None if neither."""
    wanted = {"Range": f"bytes={offset}-", "If-Range": version.etag or version.modified}
    try:
        answer = _open(version.url, wanted)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        error.close()
        return None
    if answer.status == 206 and not version.continues(answer.headers, offset):
        answer.close()
        return None
    return answer


def _open(url: str, headers: Mapping[str, str]) -> Any:
    request = urllib.request.Request(url, headers={"User-Agent": "lmms-causal", **headers})
    return urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
