"""A language model as judge, through lmms-eval's own providers: asked safely and named in records.

lmms-eval's providers are configured by environment variables (``API_TYPE``, ``MODEL_VERSION`` and
the provider's own). What they lack is added here: a check before a model is loaded, replies that
are verdicts or nothing, and failures that are counted instead of scored 0.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lmms_causal.errors import UserError
from lmms_causal.tasks.choices import strip_reasoning
from lmms_causal.tasks.verdict_cache import VerdictCache

__all__ = [
    "MODE_VARIABLE",
    "PREFLIGHT_VARIABLE",
    "Judge",
    "JudgeSettings",
    "Ruling",
    "mode",
    "parse_score",
]

MODE_VARIABLE = "LMMS_CAUSAL_JUDGE"
PREFLIGHT_VARIABLE = "LMMS_CAUSAL_JUDGE_PREFLIGHT"
MODEL_VARIABLE = "MODEL_VERSION"
PROVIDER_VARIABLE = "API_TYPE"

#: Providers that can be called from lmms-eval's scoring threads, and what each needs to be told.
PROVIDERS = {
    "openai": "OPENAI_API_KEY (and OPENAI_API_URL, the base address, for another server)",
    "azure": "AZURE_API_KEY and AZURE_ENDPOINT",
    "local": "LLM_JUDGE_URL (the full .../v1/chat/completions of a running server)",
    "bedrock": "AWS_REGION and AWS_BEARER_TOKEN_BEDROCK (and the package boto3)",
}
_ADDRESSES = {
    "openai": ("OPENAI_API_URL", "https://api.openai.com/v1"),
    "azure": ("AZURE_ENDPOINT", ""),
    "local": ("LLM_JUDGE_URL", "http://localhost:8000/v1/chat/completions"),
    "bedrock": ("AWS_REGION", ""),
}
PAUSES = (2.0, 4.0)
"""Seconds to wait before the second and the third attempt at one call."""
READINGS = 2
"""How often a reply without a verdict is asked for."""
PATIENCE = 20
"""Failed calls in a row after which a judge counts as gone and nobody waits for it any more."""

_log = logging.getLogger(__name__)
_SCORE = re.compile(r"<score>\s*([01])\s*</score>")
_ANY_SCORE = re.compile(r"<\s*/?\s*score\s*>", re.IGNORECASE)


def mode() -> str:
    """``require`` (the default) or ``off`` (answers are generated and logged, nobody judges).

    Raises:
        UserError: ``LMMS_CAUSAL_JUDGE`` is anything else.
    """
    given = os.environ.get(MODE_VARIABLE) or "require"
    if given not in ("require", "off"):
        raise UserError(f"{MODE_VARIABLE}={given} is neither 'require' nor 'off'")
    return given


def parse_score(reply: str) -> int | None:
    """0 or 1 as in ``<score>1</score>``; None without such a tag, or with tags that disagree.

    Reasoning is removed first. Numbers outside of a tag never count.

    >>> parse_score("Same number. <score>1</score>")
    1
    >>> parse_score("Score: 0/1") is None
    True
    >>> parse_score("<score>1</score> or <score>0</score>") is None
    True
    """
    text = strip_reasoning(reply)
    scores = _SCORE.findall(text)
    if len(set(scores)) != 1 or len(_ANY_SCORE.findall(text)) != 2 * len(scores):
        return None
    return int(scores[0])


@dataclass(frozen=True)
class JudgeSettings:
    """Who judges: lmms-eval's provider, the model asked for, and the host that serves it."""

    provider: str
    model: str
    host: str

    @classmethod
    def from_environment(cls, task: str, remedy: str) -> JudgeSettings:
        """The settings in the environment; `remedy` ends the message of an error.

        Raises:
            UserError: an unknown or unfit provider, or no model is named.
        """
        provider = (os.environ.get(PROVIDER_VARIABLE) or "openai").lower()
        if provider not in PROVIDERS:
            raise UserError(
                f"{task} cannot use the judge provider {PROVIDER_VARIABLE}={provider}; use one of: "
                f"{', '.join(PROVIDERS)}; {remedy}"
            )
        model = os.environ.get(MODEL_VARIABLE)
        if not model:
            raise UserError(
                f"{task} needs a judge and {MODEL_VARIABLE} does not name one; set "
                f"{PROVIDER_VARIABLE} (now {provider}), {MODEL_VARIABLE} and "
                f"{PROVIDERS[provider]}; {remedy}"
            )
        variable, default = _ADDRESSES[provider]
        address = os.environ.get(variable) or default
        # Without user name and password, which an address may hold.
        host = urlsplit(address).netloc.rpartition("@")[2] or address
        return cls(provider, model, host)


@dataclass(frozen=True)
class Ruling:
    """The outcome of asking once: a verdict or None, and where it comes from.

    ``served`` is the model's name as the server gives it, ``calls`` counts replies asked for, and
    ``problem`` says why there is no verdict.
    """

    verdict: int | None
    reply: str = ""
    served: str | None = None
    calls: int = 0
    cached: bool = False
    problem: str | None = None


class Judge:
    """One judge for one task, shared by all threads that score.

    Args:
        task: name for messages.
        settings: who judges.
        cache: file of former replies.
        remedy: end of error messages: what to do without a judge.
        max_tokens: length of a reply.
    """

    def __init__(
        self, task: str, settings: JudgeSettings, cache: Path, remedy: str, max_tokens: int = 1024
    ) -> None:
        self.task, self.settings, self.remedy = task, settings, remedy
        self.cache = VerdictCache(cache)
        self._max_tokens = max_tokens
        self._lock = threading.Lock()
        self._server: Any = None
        self._failed_in_a_row = 0

    def preflight(self, trials: dict[str, int], parse: Callable[[str], int | None]) -> None:
        """Ask for verdicts that are known, so that what is wrong shows before a model is loaded.

        Args:
            trials: prompts with the verdict each must get.
            parse: from a reply to a verdict or None.

        Raises:
            UserError: no credentials, no server, or a judge that cannot do this.
        """
        who = f"judge {self.settings.model!r} ({self.settings.provider}, {self.settings.host})"
        try:
            if not self._connected().is_available():
                raise ConnectionError("it is not available")
            for prompt, expected in trials.items():
                reply, _ = self._call(prompt)
                if parse(reply) != expected:
                    raise ValueError(
                        f"it said {' '.join(reply.split())[:120]!r} where the verdict is {expected}"
                    )
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"{self.task}: the {who} does not work ({type(error).__name__}: {reason}); set "
                f"{PROVIDERS[self.settings.provider]}, or skip this check with "
                f"{PREFLIGHT_VARIABLE}=0 if the server starts later; {self.remedy}"
            ) from error

    def ask(self, prompt: str, version: str, parse: Callable[[str], int | None]) -> Ruling:
        """The verdict on a prompt: from the cache, else from the judge. Never raises.

        A reply without a verdict is asked for once more. Only verdicts are cached.
        """
        key = VerdictCache.key(**asdict(self.settings), version=version, prompt=prompt)
        known = self.cache.get(key) or {}
        if (verdict := parse(str(known.get("reply", "")))) is not None:
            return Ruling(verdict, str(known["reply"]), known.get("served"), 0, cached=True)
        reply, served, calls = "", None, 0
        for _ in range(READINGS):
            calls += 1
            try:
                reply, served = self._persistently(prompt)
            except Exception as error:
                return Ruling(
                    None, reply, served, calls, problem=f"{type(error).__name__}: {error}"
                )
            if (verdict := parse(reply)) is not None:
                self._keep(key, reply, served)
                return Ruling(verdict, reply, served, calls)
        return Ruling(None, reply, served, calls, problem="no verdict in the reply")

    def _keep(self, key: str, reply: str, served: str | None) -> None:
        try:
            self.cache.put(key, {"reply": reply, "served": served, **asdict(self.settings)})
        except OSError as error:
            _log.warning("%s: verdicts are not kept in %s: %s", self.task, self.cache.path, error)

    def _persistently(self, prompt: str) -> tuple[str, str | None]:
        """`_call`, tried again after pauses while the judge has not been gone for long."""
        for pause in (*PAUSES, None):
            try:
                answer = self._call(prompt)
            except Exception:
                with self._lock:
                    self._failed_in_a_row += 1
                    gone = self._failed_in_a_row >= PATIENCE
                if pause is None or gone:
                    raise
                time.sleep(pause)
            else:
                with self._lock:
                    self._failed_in_a_row = 0
                return answer
        raise AssertionError("the last attempt returns or raises")

    def _call(self, prompt: str) -> tuple[str, str | None]:
        from lmms_eval.llm_judge import Request

        server = self._connected()
        request = Request(
            messages=[{"role": "user", "content": prompt}], config=self._configuration()
        )
        response = server.evaluate(request)
        served = response.model_used
        return str(response.content or ""), None if served is None else str(served)

    def _connected(self) -> Any:
        """The provider, made when first needed: without credentials making it fails."""
        with self._lock:
            if self._server is None:
                from lmms_eval.llm_judge import get_server

                self._server = get_server(self.settings.provider, self._configuration())
            return self._server

    def _configuration(self) -> Any:
        from lmms_eval.llm_judge import ServerConfig

        # Trying again is our business: the providers would wait 10 s five times.
        return ServerConfig(
            model_name=self.settings.model,
            temperature=0.0,
            max_tokens=self._max_tokens,
            num_retries=1,
            retry_delay=0,
        )
