"""What every lm-eval model of ours adds to its class: rewriting, recording, guarding the cache."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.models.hf_vlms import DEFAULT_IMAGE_PLACEHOLDER

from lmms_causal._version import __version__
from lmms_causal.command_line import one_line_errors
from lmms_causal.errors import UserError
from lmms_causal.models.asked import Content
from lmms_causal.models.intervening import EscapedError, Intervening
from lmms_causal.models.marking import Marking, unmarked
from lmms_causal.models.weightless import renders_without_weights, weightless
from lmms_causal.segments import strip

__all__ = ["IntervenedLM"]

_IDENTITY = "lmms_causal/identity"


class IntervenedLM(Intervening):
    """Our part of every lm-eval model: rewriting, recording, and guarding the response cache."""

    chat_rewritten = False
    chat_announced = False
    segment_regex: str | None = None
    _twin: Any = None

    def __init__(self, interventions: str | None = None, **arguments: Any) -> None:
        self._rendered: dict[str, Content] = {}  # by the text that lm-eval passes on
        super().__init__(interventions, **arguments)
        self._marking = Marking.of(self.spec, self.segment_regex)

    @classmethod
    def _root(cls) -> Any:
        return LM

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Refuse a response cache that another model or intervention has written.

        lm-eval's key is the request alone: without this a second run is served the first one's
        answers.

        Raises:
            UserError: the cache holds answers of something else.
        """
        answers = getattr(cache_hook, "dbdict", None)
        if answers is not None:
            owner = answers.get(_IDENTITY)
            if owner is None and len(answers) == 0:
                answers[_IDENTITY] = self.identity
                answers.commit()
            elif owner != self.identity:
                _refuse_cache(owner, self.identity)
        super().set_cache_hook(cache_hook)  # type: ignore[misc]

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Apply the template to the history with its last user turn rewritten by the plan.

        What a plan needs to know about the turn is remembered: lm-eval passes on the rendered text
        only, in which there are no markers of segments.
        """
        plan = self.spec.plan()
        self.chat_rewritten = True
        history = unmarked(chat_history)
        last = max((i for i, turn in enumerate(history) if turn["role"] == "user"), default=None)
        if last is None:
            return self._renderer().apply_chat_template(list(history), add_generation_prompt)

        def render(content: str) -> str:
            told = [dict(turn) for turn in history]  # lm-eval's template changes what it is given
            told[last]["content"] = content
            return self._renderer().apply_chat_template(told, add_generation_prompt)

        content = self._reworded(chat_history[last]["content"])
        text = render(strip(content))
        if plan.reads_questions or plan.reads_parts or plan.reads_segments:
            self._rendered[text] = Content(content, render)
        return text

    @property
    def _placeholder(self) -> str | None:
        """What stands for a picture in lm-eval's contexts, in models that see."""
        return DEFAULT_IMAGE_PLACEHOLDER if getattr(self, "MULTIMODAL", False) else None

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """Return the template in use; see the base class."""
        self.chat_announced = bool(chat_template)
        return self._renderer().chat_template(chat_template)

    @property
    def tokenizer_name(self) -> str:
        """Name of the tokenizer, part of the identity of cached requests."""
        return self._renderer().tokenizer_name

    def _renderer(self) -> Any:
        """What renders prompts: the base class, or before the weights load its twin."""
        if self._pending is None:
            return super()
        base = type(self).__mro__[type(self).__mro__.index(Intervening) + 1]
        if not renders_without_weights(base) or not isinstance(
            self._pending.get("pretrained"), str
        ):
            self._load()
            return super()
        if self._twin is None:
            self._twin = self._telling(weightless, base, self._pending)
        return self._twin

    def _load(self) -> None:
        super()._load()
        self._twin = None
        self.chat_applied = self.chat_rewritten  # what the twin was asked for

    def get_model_info(self) -> dict[str, Any]:
        """Add the canonical spec, our version and the run's cost to what lm-eval records."""
        info = dict(super().get_model_info())  # type: ignore[misc]
        info["lmms_causal_interventions"] = str(self.spec)
        info["lmms_causal_version"] = __version__
        info["lmms_causal_cost"] = self.cost_summary()
        return info

    def cost_summary(self) -> dict[str, float]:
        """Return what was counted; a foreign wrapper counts the intervention's passes only."""
        return {"forward_passes": self.handle.forward_passes if self.handle else 0}

    @one_line_errors
    def _reworded(self, text: str) -> str:
        """The text as the plan sends it, with the markers of segments that the plan reads."""
        return self._marking.rewritten(text, self._repeated)

    def _repeated(self, text: str) -> str:
        """The text as the plan sends it; the placeholders of pictures around it stay and are once.

        Raises:
            UserError: pictures in the middle of the text, whose places a repetition would lose.
        """
        rewrite = self.spec.plan().rewrite
        if self._placeholder is None:
            return rewrite(text)
        mark = re.escape(self._placeholder)
        around = re.fullmatch(rf"((?:\s*{mark})*)(.*?)((?:{mark}\s*)*)", text, re.DOTALL)
        before, words, after = around.groups()  # type: ignore[union-attr]  # .*? matches anything
        if self._placeholder in words:
            raise UserError(
                f"interventions={self.spec} rewrites a question, and here pictures stand inside "
                "it; with few-shot examples add --apply_chat_template --fewshot_as_multiturn"
            )
        return before + rewrite(words) + after

    def _rewritten(self, requests: Sequence[Instance]) -> list[Instance]:
        """Requests with their contexts rewritten, unless the chat template's turn was."""
        if self.chat_rewritten:
            return list(requests)
        changed = []
        for request in requests:
            context, *rest = request.args
            if (new := self._reworded(context)) != context:
                request = copy.copy(request)
                request.arguments = (new, *rest)
            changed.append(request)
        return changed

    @one_line_errors
    def _run(self, verb: str, requests: list[Instance], **options: Any) -> Any:
        if self._pending is not None:
            self._load()
        try:
            return getattr(super(), verb)(self._rewritten(requests), **options)
        except EscapedError as escaped:
            raise escaped.error from None

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> Any:
        """Generate with the plan's rewrites; see the base class."""
        return self._run("generate_until", requests, disable_tqdm=disable_tqdm)

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> Any:
        """Score with the plan's rewrites; see the base class."""
        return self._run("loglikelihood", requests, disable_tqdm=disable_tqdm)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> Any:
        """Score whole texts; see the base class. There is no turn to rewrite here."""
        plan = self.spec.plan()
        if plan.rewrites or plan.preparations or plan.reads_segments:
            raise UserError(
                f"interventions={self.spec} changes or reads a question; rolling scoring has none"
            )
        return super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)  # type: ignore[misc]


@one_line_errors
def _refuse_cache(owner: str | None, identity: str) -> None:
    raise UserError(
        f"--use_cache: this cache holds answers of {owner or 'another model'}; this run is "
        f"{identity}; lm-eval would serve the old answers, so use another path or delete the file"
    )
