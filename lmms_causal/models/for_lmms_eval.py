"""The model `causal` of lmms-eval: chat type, its simple-type twin, and `base=` for other wrappers.

``Causal`` and ``CausalSimple`` run any image-text-to-text or causal language model of transformers.
With ``base=NAME`` their factory returns the registered wrapper ``NAME`` instead, with the same
interventions put on it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms
from lmms_eval.protocol import ChatMessages
from lmms_eval.utils import simple_parse_args_string

from lmms_causal.command_line import one_line_errors
from lmms_causal.errors import UserError
from lmms_causal.interventions.spec import parse
from lmms_causal.models.argument_text import check_text, refuse_batch_size
from lmms_causal.models.arguments import Arguments
from lmms_causal.models.checking import CheckedPrompts, check_prompts
from lmms_causal.models.cost import Cost
from lmms_causal.models.documents import document_keys
from lmms_causal.models.generation import Settings
from lmms_causal.models.intervening_lmms_eval import intervened, registered
from lmms_causal.models.lmms_eval_forms import LossPair, report_cost, result_of, visual_part
from lmms_causal.models.marking import Marking
from lmms_causal.models.prompts import Encoder
from lmms_causal.models.questions import last_user_text_rewritten
from lmms_causal.models.runner import Runner
from lmms_causal.models.turns import Prompt

__all__ = ["Causal", "CausalSimple", "LossPair"]


_CONVERSATIONS = 8  # batches of conversations held at a time, in tasks of several rounds


class _Factory:
    """What the registry sees: named after the plan, so that results record the canonical spec."""

    is_simple: bool

    @classmethod
    @one_line_errors
    def create_from_arg_string(
        cls, arg_string: str, additional_config: dict[str, Any] | None = None
    ) -> Any:
        """Build the model from ``--model_args``, or the wrapper that ``base`` names, with our plan.

        Raises:
            UserError: an unknown or doubled argument, a bad spec, an unknown base or checkpoint.
        """
        check_text(arg_string)
        arguments = simple_parse_args_string(arg_string)
        refuse_batch_size(arguments, additional_config)
        arguments.update({k: v for k, v in (additional_config or {}).items() if v is not None})
        base = arguments.pop("base", None)
        if base is None:
            spec = parse(arguments.get("interventions"))
            named = type(f"{cls.__name__}[{spec}]", (cls,), {"__module__": cls.__module__})
            return named(**arguments)
        arguments.pop("max_batch_size", None)
        return intervened(registered(base, simple=cls.is_simple), arguments)(**arguments)


class _CausalModel(_Factory, lmms):
    """What the chat and the simple type share: loading late, running, counting."""

    def __init__(self, **given: Any) -> None:
        super().__init__()
        self._arguments = Arguments.read(given)
        self._spec = parse(self._arguments.interventions)
        self._plan = self._spec.plan()
        self._marking = Marking.of(self._spec, self._arguments.segment_regex)
        self._kind = self._arguments.checkpoint.kind()
        self._device = self._arguments.checkpoint.place()
        self._runner: Runner | None = None
        self._encoder: Encoder | None = None

    @property
    def device(self) -> Any:
        """The device of the model's inputs."""
        return self._device

    @property
    def model(self) -> Any:
        """The transformers model; asking for it loads the weights."""
        return self._ready().model

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, padding on the left."""
        return self._readers().tokenizer

    @property
    def batch_size(self) -> int:
        """Rows decoded at once."""
        return self._arguments.batch_size

    def clean(self) -> None:
        """Take the intervention off and let go of the model."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None
        super().clean()

    def _readers(self) -> Encoder:
        if self._encoder is None:
            self._encoder = self._arguments.encoder()
        return self._encoder

    def _ready(self) -> Runner:
        if self._runner is None:
            self._runner = Runner(
                self._arguments.checkpoint.load_model(),
                self._readers(),
                self._plan,
                batch_size=self.batch_size,
                quiet=self.rank != 0,
            )
        return self._runner

    def _doc(self, request: Instance) -> Any:
        *_, doc_id, task, split = request.args
        return self.task_dict[task][split][doc_id]

    @abstractmethod
    def _messages(self, request: Instance, key: str) -> list[dict[str, Any]]:
        """The conversation of a request, with parts as transformers names them."""

    def _gen_kwargs(self, request: Instance) -> dict[str, Any]:
        return next(part for part in request.args if isinstance(part, dict))

    def _conversation(self, messages: Sequence[Any], doc: Any, key: str) -> list[dict[str, Any]]:
        """Validate a task's messages, add the system prompt, and apply the plan's rewrites.

        The last user turn has markers around its segments, if the plan reads them.
        """
        turns = ChatMessages(messages=list(messages)).to_hf_messages()
        turns = self._apply_system_prompt(turns, self._arguments.system_text())
        return self._marking.conversation(turns, self._rewritten, doc, key)

    def _rewritten(self, turns: Sequence[Any]) -> list[dict[str, Any]]:
        return last_user_text_rewritten(turns, self._plan.rewrite)

    def _rendering(self, requests: Sequence[Instance]) -> Callable[[int], Prompt]:
        """Return what renders the request of an index, pictures and all."""
        encoder = self._readers()
        keys = document_keys(requests)

        def render(index: int) -> Prompt:
            try:
                messages = self._messages(requests[index], keys[index])
            except OSError as error:  # a picture that the data set itself opens, for example
                raise UserError(f"{keys[index]}: cannot be prepared: {error}") from error
            return encoder.render(messages, keys[index])

        return render

    def _checked(self, requests: Sequence[Instance]) -> CheckedPrompts:
        return CheckedPrompts(len(requests), self._rendering(requests), quiet=self.rank != 0)

    def _settings(self, requests: Sequence[Instance]) -> list[Settings]:
        return [Settings.from_task(self._gen_kwargs(it), self._arguments.seed) for it in requests]

    @one_line_errors
    def check_inputs(self, requests: Sequence[Instance]) -> None:
        """Look at all that is going to be asked, without weights; of several rounds at the first.

        Every picture is opened and every prompt rendered, and nothing is kept. The verbs do the
        same with what they are given; who gives it to them bit by bit calls this first.

        Raises:
            UserError: a broken picture, a prompt that cannot be made, impossible settings.
        """
        for request in requests:
            if any(isinstance(part, dict) for part in request.args):
                self._settings([request])
        check_prompts(len(requests), self._rendering(requests), quiet=self.rank != 0)

    @one_line_errors
    def generate_until(self, requests: list[Instance]) -> list[GenerationResult]:
        """Answer every request; token counts come with the answers, costs with the run."""
        settings = self._settings(requests)
        prompts = self._checked(requests)
        answers = self._ready().generate(prompts, settings)
        self._report()
        return [result_of(answer) for answer in answers]

    def _report(self) -> None:
        runner = self._ready()
        report_cost(runner.cost)
        runner.cost = Cost()


class Causal(_CausalModel):
    """The chat type: messages with images and videos, a system prompt, several rounds."""

    is_simple = False

    def _messages(self, request: Instance, key: str) -> list[dict[str, Any]]:
        to_messages = request.args[1]
        if to_messages is None:
            raise UserError(
                "lmms-eval 0.7 loses chat messages with --cache_requests; run without it"
            )
        doc = self._doc(request)
        return self._conversation(to_messages(doc), doc, key)

    def loglikelihood(self, requests: list[Instance]) -> list[Any]:
        """Refuse: lmms-eval builds no such requests for chat models."""
        raise UserError("lmms-eval scores log-likelihoods with simple models; add --force_simple")

    @one_line_errors
    def generate_until_multi_round(self, requests: list[Instance]) -> list[list[str]]:
        """Answer round by round until the task ends the conversation.

        The task's ``doc_to_messages`` gets ``round_idx``, ``previous_output`` and
        ``previous_round_info`` and returns ``(messages, done, outputs, info)``. A few conversations
        are held at a time, so that only their pictures are in memory.
        """
        keys = document_keys(requests)
        step = _CONVERSATIONS * self.batch_size
        if len(requests) > step:  # fewer are all rendered before the first is answered
            self.check_inputs(requests)
        outputs: list[list[str]] = []
        for start in range(0, len(requests), step):
            part = slice(start, start + step)
            outputs += self._converse(requests[part], keys[part])
        self._report()
        return outputs

    def _converse(self, requests: Sequence[Instance], keys: Sequence[str]) -> list[list[str]]:
        """Hold these conversations in step."""
        encoder = self._readers()
        outputs: list[list[str]] = [[] for _ in requests]
        information: dict[int, Any] = {}
        open_requests = list(range(len(requests)))
        turn = 0
        while open_requests:
            prompts: dict[int, Prompt] = {}
            for index in open_requests:
                doc, to_messages = self._doc(requests[index]), requests[index].args[1]
                if turn == 0:
                    messages = to_messages(doc)
                else:
                    messages, done, _, information[index] = to_messages(
                        doc,
                        round_idx=turn,
                        previous_output=list(outputs[index]),
                        previous_round_info=information.get(index),
                    )
                    if done:
                        continue
                key = f"{keys[index]}/round{turn}"
                prompts[index] = encoder.render(self._conversation(messages, doc, key), key)
            open_requests = list(prompts)
            settings = self._settings([requests[i] for i in open_requests])
            answers = self._ready().generate(list(prompts.values()), settings) if prompts else []
            for index, answer in zip(open_requests, answers, strict=True):
                outputs[index].append(answer.text)
            turn += 1
        return outputs


class CausalSimple(_CausalModel):
    """The simple-type twin (``--force_simple``): images first, then text; it scores choices too."""

    is_simple = True

    def _messages(self, request: Instance, key: str) -> list[dict[str, Any]]:
        to_visual = next(part for part in request.args[2:] if callable(part))
        doc = self._doc(request)
        shown = to_visual(doc) or []
        content = [visual_part(visual) for visual in shown]
        content.append({"type": "text", "text": request.args[0]})
        return self._conversation([{"role": "user", "content": content}], doc, key)

    @one_line_errors
    def loglikelihood(self, requests: list[Instance]) -> list[GenerationResult]:
        """Score continuations: the mean loss of a token, as lmms-eval's wrappers return it."""
        prompts = self._checked(requests)
        texts = []
        for request in requests:
            target = request.args[1]
            texts.append(str(target(self._doc(request)) if callable(target) else target))
        scores = self._ready().score(prompts, texts)
        self._report()
        return [
            GenerationResult(LossPair((score.mean_loss, score.is_greedy)), TokenCounts())
            for score in scores
        ]

    def generate_until_multi_round(self, requests: list[Instance]) -> list[Any]:
        """Refuse: the chat type does that."""
        raise UserError("several rounds need the chat type of causal; run without --force_simple")
