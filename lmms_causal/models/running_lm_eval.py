"""Generation and scoring by our own runner, on a model that one of lm-eval's classes has loaded."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lm_eval.api.instance import Instance
from lm_eval.models.utils import postprocess_generated_text

from lmms_causal.command_line import one_line_errors
from lmms_causal.errors import UserError
from lmms_causal.models.asked import Asked, Content
from lmms_causal.models.documents import document_keys
from lmms_causal.models.generation import Generation, Settings
from lmms_causal.models.intervening_lm_eval import IntervenedLM
from lmms_causal.models.loading import pad_left
from lmms_causal.models.prompts import Encoder
from lmms_causal.models.runner import Runner
from lmms_causal.models.turns import Prompt

__all__ = ["RunningLM"]


class RunningLM(IntervenedLM):
    """Generation and scoring by our own runner, on a model that lm-eval's class has loaded."""

    runner: Runner
    shows_questions = True

    if TYPE_CHECKING:  # what lm-eval's class has
        _max_length: int | None
        batch_size: Any
        cache_hook: Any
        model: Any
        prefix_token_id: int
        rank: int
        think_end_token: str | int | None
        tokenizer: Any

    def __init__(
        self,
        interventions: str | None = None,
        seed: int = 0,
        segment_regex: str | None = None,
        **arguments: Any,
    ) -> None:
        self._seed = int(seed)
        self.segment_regex = segment_regex
        self._located: dict[tuple[str, str], Asked] = {}
        super().__init__(interventions, **arguments)

    @property
    def identity(self) -> str:
        """The answers' origin, with the seed: lm-eval caches those sampled without `do_sample`."""
        pattern = f"|segment_regex={self.segment_regex}" if self.segment_regex else ""
        return f"{super().identity}|seed={self._seed}{pattern}"

    def _install(self) -> None:
        if isinstance(self.think_end_token, int):
            raise UserError(
                f"think_end_token={self.think_end_token}: give its text; answers are cut as text"
            )
        pad_left(self.tokenizer)
        self.runner = Runner(
            self.model,
            Encoder(self.tokenizer, getattr(self, "processor", None)),
            self.spec.plan(),
            quiet=self.rank != 0,
            max_length=self._max_length,
        )
        size = self.batch_size
        self.runner.batch_size = self._detect_batch_size() if size == "auto" else int(size)

    def _detect_batch_size(self, *args: Any, **kwargs: Any) -> int:
        """Try batch sizes out as the base class does, without counting the trials as cost.

        They are tried on the plain model, since there is no picture in them, nor an answer that
        begins somewhere; the branches of the plan then share what fits.
        """
        counted = copy.copy(self.runner.cost)
        try:
            with self.runner.paused():
                fits = super()._detect_batch_size(*args, **kwargs)  # type: ignore[misc]
        finally:
            self.runner.cost = counted
        return max(1, int(fits) // (1 + len(self.spec.plan().branches)))

    def cost_summary(self) -> dict[str, float]:
        """Return the run's totals."""
        return self.runner.cost.summary()

    @one_line_errors
    def check_inputs(self, requests: Sequence[Instance]) -> None:
        """Look at all that is going to be asked, without weights, and keep nothing.

        The verbs do the same with what they are given; who gives it to them bit by bit calls this
        first.

        Raises:
            UserError: a document without the segments that the plan reads, impossible settings.
        """
        for request in requests:
            if request.request_type == "generate_until":
                self._settings(request)
        if self.spec.plan().reads_segments:
            keys = document_keys(requests)
            for request, key in zip(self._rewritten(requests), keys, strict=True):
                self._content(request, key)

    def _ready(self, requests: Sequence[Instance]) -> None:
        """Check the requests; load the weights, unless that is done."""
        self.check_inputs(requests)
        if self._pending is not None:
            self._load()

    def _settings(self, request: Instance) -> Settings:
        return Settings.from_task(request.args[1], self._seed, "max_gen_toks")

    def _prompt(self, request: Instance, key: str) -> Prompt:
        return self._asked(request, key).prompt((), key)

    def _content(self, request: Instance, key: str) -> Content:
        """The last user turn of a context: remembered from its template, or else all of it.

        Raises:
            UserError: the plan needs the turn, and lm-eval has taken the prompt from its own cache;
                the plan reads segments, and the document declares none that are there.
        """
        context = request.args[0]
        content = self._rendered.get(context)
        if content is None:
            plan = self.spec.plan()
            asks = plan.reads_questions or plan.reads_parts or plan.reads_segments
            if context and self.chat_announced and asks:
                raise UserError(
                    f"interventions={self.spec} reads the question, which lm-eval "
                    "loses with --cache_requests and --apply_chat_template; leave out "
                    "--cache_requests"
                )
            content = Content(context, self._sent)
        return replace(content, text=self._marking.completed(content.text, request.doc, key))

    def _asked(self, request: Instance, key: str) -> Asked:
        """The last user turn of a context, found in its prompt."""
        content = self._content(request, key)
        identity = (request.args[0], content.text)
        if identity not in self._located:
            self._located[identity] = Asked.locate(
                content.text, content.render, self._placeholder, key
            )
        return self._located[identity]

    def _sent(self, context: str) -> str:
        """The text that the tokenizer reads for a context.

        lm-eval conditions on its prefix token where there is no context.
        """
        return context or self.tokenizer.decode([self.prefix_token_id])

    def _scored(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """``(log probability, is greedy)`` of every continuation, by our own runner."""
        requests = self._rewritten(requests)
        prompts = [self._prompt(r, f"{r.task_name}/{r.doc_id}") for r in requests]
        scores = self.runner.score(prompts, [request.args[1] for request in requests])
        answers = [(score.log_probability, score.is_greedy) for score in scores]
        for request, answer in zip(requests, answers, strict=True):
            self.cache_hook.add_partial("loglikelihood", request.args, answer)
        return answers

    @one_line_errors
    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Generate answers; stop texts end them, sampling is seeded by document."""
        self._ready(requests)
        requests = self._rewritten(requests)
        prompts = [
            self._prompt(r, key) for r, key in zip(requests, document_keys(requests), strict=True)
        ]
        settings = [self._settings(request) for request in requests]
        texts: dict[int, str] = {}

        def done(index: int, answer: Generation) -> None:
            texts[index] = self._finished(answer.text, settings[index])
            self.cache_hook.add_partial("generate_until", requests[index].args, texts[index])

        self.runner.generate(prompts, settings, done)
        return [texts[index] for index in range(len(requests))]

    def _finished(self, text: str, settings: Settings) -> str:
        return postprocess_generated_text(
            generation=text,
            stop=list(settings.until),
            think_end_token=self.think_end_token,
        )
