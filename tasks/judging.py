"""A language model as judge, through lmms-eval's own providers: asked safely and named in records.

lmms-eval's providers are configured by environment variables (``API_TYPE``, ``MODEL_VERSION`` and
the provider's own). What they lack is added here: a check before a model is loaded, replies that
are verdicts or nothing, and failures that are counted instead of scored 0.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lmms_causal.errors import UserError
from lmms_causal.tasks.judge_calls import JudgeError, JudgeServer
from lmms_causal.tasks.verdict_cache import VerdictCache

__all__ = [
    "LENGTH_VARIABLE",
    "MODE_VARIABLE",
    "PREFLIGHT_VARIABLE",
    "Judge",
    "JudgeSettings",
    "Parse",
    "Ruling",
    "longest_reply",
    "mode",
]

MODE_VARIABLE = "LMMS_CAUSAL_JUDGE"
PREFLIGHT_VARIABLE = "LMMS_CAUSAL_JUDGE_PREFLIGHT"
LENGTH_VARIABLE = "LMMS_CAUSAL_JUDGE_MAX_TOKENS"
MODEL_VARIABLE = "MODEL_VERSION"
PROVIDER_VARIABLE = "API_TYPE"

#: Providers that can be called from lmms-eval's scoring threads, and what each needs to be told.
PROVIDERS = {
    "openai": "OPENAI_API_KEY (and OPENAI_API_URL, the base address, for another server)",
    "azure": "AZURE_API_KEY and AZURE_ENDPOINT (and OPENAI_API_KEY to any word: lmms-eval's "
    "provider asks for it too)",
    "local": "LLM_JUDGE_URL (the full .../v1/chat/completions of a running server)",
    "bedrock": "AWS_REGION and AWS_BEARER_TOKEN_BEDROCK (and the package boto3)",
}
_ADDRESSES = {
    "openai": ("OPENAI_API_URL", "https://api.openai.com/v1"),
    "azure": ("AZURE_ENDPOINT", ""),
    "local": ("LLM_JUDGE_URL", "http://localhost:8000/v1/chat/completions"),
    "bedrock": ("AWS_REGION", ""),
}
_HELP = {
    "package": "install it (lmms-eval has the providers, also for lm-eval)",
    "credentials": "set {needs}",
    "refused": "correct {needs}",
    "unknown": f"correct {MODEL_VARIABLE} or {{needs}}",
    "limited": "wait, or use a key with a higher limit",
    "unreachable": "start the server, or set {needs}, or skip this check with "
    f"{PREFLIGHT_VARIABLE}=0 if the server starts later",
    "other": "check {needs}",
    "empty": f"give it more than {{length}} tokens with {LENGTH_VARIABLE} if it thinks first",
    "wrong": "name another judge",
}
"""What to do about each kind of trouble before a run."""
READINGS = 2
"""How often a reply without a verdict is asked for."""

_log = logging.getLogger(__name__)

Parse = Callable[[str], "int | None"]
"""From a reply to its verdict, None if it has none."""


def mode() -> str:
    """``require`` (the default) or ``off`` (answers are generated and logged, nobody judges).

    Raises:
        UserError: ``LMMS_CAUSAL_JUDGE`` is anything else.
    """
    given = os.environ.get(MODE_VARIABLE) or "require"
    if given not in ("require", "off"):
        raise UserError(f"{MODE_VARIABLE}={given} is neither 'require' nor 'off'")
    return given


def longest_reply() -> int:
    """Tokens that a judge may write, thoughts included: ``LMMS_CAUSAL_JUDGE_MAX_TOKENS``, or 1024.

    Raises:
        UserError: the variable holds no positive whole number.
    """
    given = os.environ.get(LENGTH_VARIABLE) or "1024"
    if not given.isdecimal() or int(given) < 1:
        raise UserError(f"{LENGTH_VARIABLE}={given} is no positive whole number, such as 8192")
    return int(given)


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

    ``served`` is the model's name as the server gives it, ``calls`` counts replies asked for,
    ``problem`` says why there is no verdict, and ``judge`` is None where nobody judges.
    """

    verdict: int | None
    reply: str = ""
    served: str | None = None
    calls: int = 0
    cached: bool = False
    problem: str | None = None
    judge: JudgeSettings | None = None


class Judge:
    """One judge for one task, shared by all threads that score.

    Args:
        task: name for messages.
        settings: who judges.
        cache: file of former replies.
        remedy: end of error messages: what to do without a judge.
        length: tokens of the longest reply.
    """

    def __init__(
        self, task: str, settings: JudgeSettings, cache: Path, remedy: str, length: int
    ) -> None:
        self.task, self.settings, self.remedy = task, settings, remedy
        self.cache = VerdictCache(cache)
        self._length = length
        self._server = JudgeServer(settings.provider, settings.model, length)
        self._lock = threading.Lock()
        self._tried = self._warned = False

    def preflight(self, trials: Mapping[str, Collection[int]], parse: Parse) -> None:
        """Ask for verdicts that are known, so that what is wrong shows before a model is loaded.

        Once they have been right, nobody is asked again.

        Args:
            trials: prompts, each with the verdicts that are right. Without any, only credentials
                are looked for, and nobody is asked.
            parse: from a reply to a verdict or None.

        Raises:
            UserError: no credentials, no server, or a judge that cannot do this.
        """
        if self._tried:
            return
        try:
            self._server.connect()
            for prompt, right in trials.items():
                reply, _ = self._server.reply(prompt, patient=False)
                if parse(reply) not in right:
                    said = " ".join(reply.split())[:120]
                    raise JudgeError(
                        f"it said {said!r} where the verdict is {' or '.join(map(str, right))}",
                        "wrong" if reply.strip() else "empty",
                    )
        except JudgeError as error:
            who = f"judge {self.settings.model!r} ({self.settings.provider}, {self.settings.host})"
            needs = PROVIDERS[self.settings.provider]
            raise UserError(
                f"{self.task}: the {who} does not work ({error}); "
                f"{_HELP[error.kind].format(needs=needs, length=self._length)}; {self.remedy}"
            ) from error
        self._tried = bool(trials)

    def ask(self, prompt: str, version: str, parse: Parse) -> Ruling:
        """The verdict on a prompt: from the cache, else from the judge. Never raises.

        A reply without a verdict is asked for once more. Only verdicts are cached.
        """
        key = VerdictCache.key(**asdict(self.settings), version=version, prompt=prompt)
        known = self._kept(key)
        if (verdict := parse(str(known.get("reply", "")))) is not None:
            served = known.get("served")
            return Ruling(verdict, str(known["reply"]), served, cached=True, judge=self.settings)
        reply, served, calls = "", None, 0
        problem = ""
        for _ in range(READINGS):
            calls += 1
            try:
                reply, served = self._server.reply(prompt)
            except JudgeError as error:
                problem = str(error)
                break
            if (verdict := parse(reply)) is not None:
                self._keep(key, reply, served)
                return Ruling(verdict, reply, served, calls, judge=self.settings)
            problem = "no verdict in the reply" if reply.strip() else "the reply is empty"
        self._warn(problem)
        return Ruling(None, reply, served, calls, problem=problem, judge=self.settings)

    def _warn(self, problem: str) -> None:
        with self._lock:
            first, self._warned = not self._warned, True
        if first:
            _log.warning(
                "%s: an answer has no verdict (%s); it counts as failed, not as wrong. Later ones "
                "are only counted. Verdicts are kept: judging the same answers again asks about "
                "the failed ones only",
                self.task,
                problem,
            )

    def _kept(self, key: str) -> Mapping[str, str]:
        try:
            return self.cache.get(key) or {}
        except OSError as error:
            _log.warning("%s: verdicts in %s cannot be read: %s", self.task, self.cache.path, error)
            return {}

    def _keep(self, key: str, reply: str, served: str | None) -> None:
        try:
            self.cache.put(key, {"reply": reply, "served": served, **asdict(self.settings)})
        except OSError as error:
            _log.warning("%s: verdicts are not kept in %s: %s", self.task, self.cache.path, error)
