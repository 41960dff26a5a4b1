"""Calls to a judge through lmms-eval's providers: waiting as told, and errors in one line.

The providers would repeat whatever fails five times, ten seconds apart; the OpenAI client beneath
them repeats twice more, uncounted, and waits ten minutes for a reply. Both are turned off, and what
is worth repeating is repeated here: trouble on the way and at the server, and a rate limit for as
long as the server asks (``Retry-After``, RFC 9110, section 10.2.3). No error holds a key.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

__all__ = ["JudgeError", "JudgeServer"]

ATTEMPTS = 3
"""How often a call that fails is made, 2 and 4 seconds apart unless the server names a time."""
ATTEMPTS_IF_LIMITED = 6
"""How often a call is made that a rate limit (HTTP 429) turns away."""
LONGEST_PAUSE = 120.0
"""Seconds. Who is asked to wait longer gives up at once: it is a quota, not a rate."""
PATIENCE = 20
"""Failed attempts in a row after which a judge counts as gone and nobody waits for it any more."""
TIMEOUT_SECONDS = 300
"""For one reply."""

_CLIENTS_OF_OPENAI = ("openai", "azure")
_PASSING = (408, 409, 425, 429)
"""Refusals (4xx) that may be none the next time."""
_KINDS = {401: "refused", 403: "refused", 404: "unknown", 429: "limited"}
_KEYS = ("OPENAI_API_KEY", "AZURE_API_KEY", "AWS_BEARER_TOKEN_BEDROCK")
_USER_IN_ADDRESS = re.compile(r"//[^/\s@]*@")
_KEY_IN_ADDRESS = re.compile(r"([?&][\w-]*(?:key|token|sig|secret)[\w-]*=)[^&\s]+", re.IGNORECASE)
_log = logging.getLogger(__name__)


class JudgeError(Exception):
    """A call that failed for good; the message is one line without keys.

    ``kind`` tells what would help: "package" or "credentials" (missing), "refused" (wrong ones),
    "unknown" (no such model or address), "limited", "unreachable" or "other".
    """

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class JudgeServer:
    """One of lmms-eval's providers, shared by all threads that score.

    Args:
        provider: its name in lmms-eval.
        model: the judge's name there.
        max_tokens: longest reply.
    """

    def __init__(self, provider: str, model: str, max_tokens: int) -> None:
        self._provider, self._model, self._max_tokens = provider, model, max_tokens
        self._lock = threading.Lock()
        self._server: Any = None
        self._failed_in_a_row = 0
        self._not_before = 0.0

    def connect(self) -> None:
        """Make the provider, which asks nobody: what it finds missing here are credentials.

        Raises:
            JudgeError: a key or a package is missing.
        """
        with self._lock:
            if self._server is not None:
                return
            try:
                from lmms_eval.llm_judge import get_server

                server = get_server(self._provider, self._configuration())
                # "local" has no credentials, and would ask for a list of models instead.
                if self._provider != "local" and not server.is_available():
                    raise ValueError("the provider says that it is not available")
            except Exception as error:
                kind = "package" if isinstance(error, ImportError) else "credentials"
                raise JudgeError(reason(error), kind) from error
            if self._provider in _CLIENTS_OF_OPENAI and hasattr(server.client, "with_options"):
                server.client = server.client.with_options(max_retries=0, timeout=TIMEOUT_SECONDS)
            self._server = server

    def reply(self, prompt: str, *, patient: bool = True) -> tuple[str, str | None]:
        """What the judge says, "" if that is nothing, and the model's name as the server gives it.

        Args:
            prompt: the whole question.
            patient: repeat a call that fails; one that is turned away by a rate limit always is.

        Raises:
            JudgeError: no reply.
        """
        self.connect()
        for attempt in range(ATTEMPTS_IF_LIMITED):
            if (pause := self._not_before - time.monotonic()) > 0:
                time.sleep(pause)
            try:
                answer = self._call(prompt)
            except Exception as error:
                if not self._wait(error, attempt, patient):
                    raise JudgeError(reason(error), _kind(error)) from error
            else:
                with self._lock:
                    self._failed_in_a_row = 0
                return answer
        raise AssertionError("the last attempt returns or raises")

    def _wait(self, error: Exception, attempt: int, patient: bool) -> bool:
        """Wait until the call may be made again; False if that is of no use."""
        limited = status_of(error) == HTTPStatus.TOO_MANY_REQUESTS
        attempts = ATTEMPTS_IF_LIMITED if limited else ATTEMPTS if patient else 1
        told = seconds_told(error)
        pause = 2.0 ** (attempt + 1) if told is None else told
        again = may_pass(error) and attempt + 1 < attempts and pause <= LONGEST_PAUSE
        with self._lock:
            if not limited or not again:  # who is only told to wait has found the judge at home
                self._failed_in_a_row += 1
                if self._failed_in_a_row == PATIENCE:
                    _log.warning("the judge has failed %d times in a row; no more waits", PATIENCE)
            if self._failed_in_a_row >= PATIENCE:
                return False
            if again and told is not None:  # for all threads
                self._not_before = max(self._not_before, time.monotonic() + told)
        if again and told is None:
            time.sleep(pause)
        return again

    def _call(self, prompt: str) -> tuple[str, str | None]:
        from lmms_eval.llm_judge import Request

        messages = [{"role": "user", "content": prompt}]
        request = Request(messages=messages, config=self._configuration())
        try:
            response = self._server.evaluate(request)
        except AttributeError as error:
            # A reply without content, such as one whose thoughts took all its tokens: the
            # providers strip it without a look.
            if error.name == "strip" and error.obj is None:
                return "", None
            raise
        served = response.model_used
        return str(response.content or ""), None if served is None else str(served)

    def _configuration(self) -> Any:
        from lmms_eval.llm_judge import ServerConfig

        return ServerConfig(
            model_name=self._model,
            temperature=0.0,
            max_tokens=self._max_tokens,
            timeout=TIMEOUT_SECONDS,
            num_retries=1,
            retry_delay=0,
        )


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error of requests, OpenAI's client or botocore is about."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        status = getattr(response, "status_code", None)
    return status if isinstance(status, int) else None


def seconds_told(error: BaseException) -> float | None:
    """How long the server asks to wait: its ``Retry-After``, in seconds or as a date."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    else:
        headers = getattr(response, "headers", {})
    value = str(headers.get("retry-after") or "").strip()
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
    return max(0.0, (date - datetime.now(timezone.utc)).total_seconds())


def may_pass(error: BaseException) -> bool:
    """Whether the same call may succeed later: not with a wrong key, model, prompt or no credit."""
    status = status_of(error)
    if status is None:
        return True
    return (status >= 500 or status in _PASSING) and "insufficient_quota" not in _body(error)


def reason(error: BaseException) -> str:
    """What went wrong, in one line of at most 300 characters, without keys and passwords."""
    status = status_of(error)
    if status is not None:
        known = status in {known.value for known in HTTPStatus}
        words = f"HTTP {status}" + (f" {HTTPStatus(status).phrase}" if known else "")
        words += f": {told}" if (told := _told(error)) else ""
    elif isinstance(error, (LookupError, TypeError)):
        words = f"the answer is no chat completion ({type(error).__name__}: {error})"
    else:
        root: BaseException = error
        while (deeper := root.__cause__ or root.__context__) is not None:
            root = deeper
        said = root.strerror if isinstance(root, OSError) and root.strerror else str(root)
        words = f"{type(error).__name__}: {said or error}"
    for variable in _KEYS:
        if len(key := os.environ.get(variable, "")) >= 8:
            words = words.replace(key, "***")
    words = _KEY_IN_ADDRESS.sub(r"\1***", _USER_IN_ADDRESS.sub("//", words))
    return " ".join(words.split())[:300]


def _kind(error: BaseException) -> str:
    status = status_of(error)
    if status is not None:
        return _KINDS.get(status, "other")
    return "other" if isinstance(error, (LookupError, TypeError)) else "unreachable"


def _body(error: BaseException) -> str:
    response = getattr(error, "response", None)
    return "" if isinstance(response, Mapping) else str(getattr(response, "text", ""))


def _told(error: BaseException) -> str:
    """The message in the body of a refusal, as OpenAI's API and its like write it."""
    if isinstance(getattr(error, "response", None), Mapping):
        return str(error)
    try:
        found = json.loads(_body(error))
        for _ in range(2):
            if isinstance(found, Mapping):
                found = found.get("error") or found.get("message") or found.get("detail")
    except ValueError:
        return ""
    return found if isinstance(found, str) else ""
