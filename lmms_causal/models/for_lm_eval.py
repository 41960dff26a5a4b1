"""The models `causal` and `causal-multimodal` of lm-eval, and `base=` for its other wrappers.

They are lm-eval's own Hugging Face classes, so that every argument of those works, with our
interventions on them, generation seeded by document, and log-likelihoods of answers about images,
which upstream does not compute.
"""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import lm_eval.models  # noqa: F401  registers the built-ins, before anything is looked up
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import model_registry
from lm_eval.models.hf_vlms import DEFAULT_IMAGE_PLACEHOLDER, HFMultimodalLM
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import postprocess_generated_text, replace_placeholders, resize_image
from lm_eval.utils import simple_parse_args_string

from lmms_causal._version import __version__
from lmms_causal.command_line import one_line_errors
from lmms_causal.errors import UserError, nearest
from lmms_causal.interventions.spec import parse
from lmms_causal.models.generation import Generation, Settings
from lmms_causal.models.intervening import EscapedError, Intervening
from lmms_causal.models.loading import Checkpoint, available_device, pad_left
from lmms_causal.models.prompts import Encoder, Prompt, open_picture
from lmms_causal.models.runner import Runner
from lmms_causal.models.weightless import renders_without_weights, weightless

__all__ = ["Causal", "CausalMultimodal", "intervened"]

logger = logging.getLogger(__name__)

_IDENTITY = "lmms_causal/identity"


class _Intervened(Intervening):
    """Our part of every lm-eval model: rewriting, recording, and guarding the response cache."""

    chat_rewritten = False
    _twin: Any = None

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
        """Apply the template to the history with its last user turn rewritten by the plan."""
        plan = self.spec.plan()
        if plan.rewrites:
            chat_history = copy.deepcopy(chat_history)
            for turn in reversed(chat_history):
                if turn["role"] == "user":
                    turn["content"] = plan.rewrite(turn["content"])
                    break
        self.chat_rewritten = True
        return self._renderer().apply_chat_template(chat_history, add_generation_prompt)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """Return the template in use; see the base class."""
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

    def _rewritten(self, requests: Sequence[Instance]) -> list[Instance]:
        """Requests with their contexts rewritten, unless the chat template's turn was."""
        plan = self.spec.plan()
        if not plan.rewrites or self.chat_rewritten:
            return list(requests)
        changed = []
        for request in requests:
            context, *rest = request.args
            twin = copy.copy(request)
            twin.arguments = (plan.rewrite(context), *rest)
            changed.append(twin)
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
        if self.spec.plan().rewrites:
            raise UserError(
                f"interventions={self.spec} rewrites a question; rolling scoring has none"
            )
        return super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)  # type: ignore[misc]


class _Factory:
    """Named after the plan; ``base=NAME`` builds another of lm-eval's wrappers instead."""

    @classmethod
    @one_line_errors
    def create_from_arg_string(
        cls, arg_string: str, additional_config: dict[str, Any] | None = None
    ) -> Any:
        """Build the model from ``--model_args`` given as text."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @classmethod
    @one_line_errors
    def create_from_arg_obj(
        cls, arg_dict: Mapping[str, Any], additional_config: dict[str, Any] | None = None
    ) -> Any:
        """Build the model from ``--model_args``, or the wrapper that ``base`` names, with our plan.

        Raises:
            UserError: a bad spec, an unknown base or checkpoint, a text model for images.
        """
        arguments = dict(arg_dict)
        arguments.update({k: v for k, v in (additional_config or {}).items() if v is not None})
        base = arguments.pop("base", None)
        if not arguments.get("device"):  # lm-eval's default is cuda, also where there is none
            arguments["device"] = available_device()
        spec = parse(arguments.get("interventions"))
        made = cls if base is None else intervened(_registered(base))
        named = type(f"{made.__name__}[{spec}]", (made,), {"__module__": made.__module__})
        return named(**arguments)


class _Run:
    """Generation and scoring by our own runner, on a model that lm-eval's class has loaded."""

    runner: Runner

    def __init__(self, interventions: str | None = None, seed: int = 0, **arguments: Any) -> None:
        self._seed = int(seed)
        super().__init__(interventions, **arguments)  # type: ignore[call-arg]

    def _install(self) -> None:
        if isinstance(self.think_end_token, int):  # type: ignore[attr-defined]
            raise UserError(
                f"think_end_token={self.think_end_token}: give its text; "  # type: ignore[attr-defined]
                "answers are cut as text"
            )
        pad_left(self.tokenizer)  # type: ignore[attr-defined]
        self.runner = Runner(
            self.model,  # type: ignore[attr-defined]
            Encoder(self.tokenizer, getattr(self, "processor", None)),  # type: ignore[attr-defined]
            self.spec.plan(),  # type: ignore[attr-defined]
            quiet=self.rank != 0,  # type: ignore[attr-defined]
        )
        size = self.batch_size  # type: ignore[attr-defined]
        self.runner.batch_size = self._detect_batch_size() if size == "auto" else int(size)

    def _detect_batch_size(self, *args: Any, **kwargs: Any) -> int:
        """Try batch sizes out as the base class does, without counting the trials as cost."""
        counted = copy.copy(self.runner.cost)
        try:
            return super()._detect_batch_size(*args, **kwargs)  # type: ignore[misc]
        finally:
            self.runner.cost = counted

    def cost_summary(self) -> dict[str, float]:
        """Return the run's totals."""
        return self.runner.cost.summary()

    def _ready(self, requests: Sequence[Instance]) -> None:
        """Load the weights, unless that is done."""
        if self._pending is not None:  # type: ignore[attr-defined]
            self._load()  # type: ignore[attr-defined]

    def _prompt(self, request: Instance, key: str) -> Prompt:
        return Prompt(text=request.args[0], key=key)

    @one_line_errors
    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Generate answers; stop texts end them, sampling is seeded by document."""
        self._ready(requests)
        requests = self._rewritten(requests)  # type: ignore[attr-defined]
        prompts = [self._prompt(r, key) for r, key in zip(requests, _keys(requests), strict=True)]
        settings = [Settings.from_task(request.args[1], self._seed) for request in requests]
        texts: dict[int, str] = {}

        def done(index: int, answer: Generation) -> None:
            texts[index] = self._finished(answer.text, settings[index])
            self.cache_hook.add_partial(  # type: ignore[attr-defined]
                "generate_until", requests[index].args, texts[index]
            )

        self.runner.generate(prompts, settings, done)
        return [texts[index] for index in range(len(requests))]

    def _finished(self, text: str, settings: Settings) -> str:
        return postprocess_generated_text(
            generation=text,
            stop=list(settings.until),
            think_end_token=self.think_end_token,  # type: ignore[attr-defined]
        )


class Causal(_Run, _Factory, _Intervened, HFLM):
    """Any causal language model of transformers, with interventions."""

    def __init__(self, interventions: str | None = None, **arguments: Any) -> None:
        super().__init__(interventions, **arguments)
        checkpoint = _checkpoint(arguments)
        if checkpoint and not checkpoint.loads_as_text():
            raise UserError(
                f"pretrained={checkpoint.pretrained} is a vision-language model; use "
                "--model causal-multimodal"
            )

    def _model_call(self, inps: Any, attn_mask: Any = None, labels: Any = None) -> Any:
        logits = super()._model_call(inps, attn_mask, labels)
        self.runner.count_pass(rows=inps.shape[0], tokens=inps.numel())
        return logits

    @one_line_errors
    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> Any:
        """Score with lm-eval's own code, on the clock."""
        self._ready(requests)
        self.runner.cost.requests += len(requests)
        with self.runner.cost.clock():
            return super().loglikelihood(requests, disable_tqdm)


class CausalMultimodal(_Run, _Factory, _Intervened, HFMultimodalLM):
    """Any image-text-to-text model, with interventions and image log-likelihoods."""

    warned_of_raw_prompts = False

    def __init__(self, interventions: str | None = None, **arguments: Any) -> None:
        super().__init__(interventions, **arguments)
        checkpoint = _checkpoint(arguments)
        if checkpoint and checkpoint.kind() == "text":
            raise UserError(
                f"pretrained={checkpoint.pretrained} reads text only; use --model causal, or a "
                "vision-language model"
            )

    def _prompt(self, request: Instance, key: str) -> Prompt:
        context = request.args[0]
        pictures = [
            resize_image(picture, self.image_width, self.image_height, self.image_max_side)
            for picture in _pictures(request)[: self.max_images]
        ]
        if not self.chat_applied:
            self._warn_of_raw_prompts()
            context = replace_placeholders(
                context, DEFAULT_IMAGE_PLACEHOLDER, self.image_token, self.max_images
            )
        return Prompt(context, tuple(picture.convert("RGB") for picture in pictures), (), key)

    def _warn_of_raw_prompts(self) -> None:
        if getattr(self.processor, "chat_template", None) and not self.warned_of_raw_prompts:
            self.warned_of_raw_prompts = True
            logger.warning(
                "prompts are sent without the model's chat template, which changes its answers; "
                "add --apply_chat_template unless that is what you want"
            )

    def _ready(self, requests: Sequence[Instance]) -> None:
        """Decode every picture before the weights load: a broken one stops the run early."""
        for request, key in zip(requests, _keys(requests), strict=True):
            for picture in _pictures(request):
                open_picture(picture, key)
        super()._ready(requests)

    @one_line_errors
    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Return ``(log probability, is greedy)`` of every continuation, with its images."""
        self._ready(requests)
        requests = self._rewritten(requests)
        identities = [f"{r.task_name}/{r.doc_id}" for r in requests]
        pairs = [
            (self._prompt(r, key), r.args[1]) for r, key in zip(requests, identities, strict=True)
        ]
        answers = [(s.log_probability, s.is_greedy) for s in self.runner.score(pairs)]
        for request, answer in zip(requests, answers, strict=True):
            self.cache_hook.add_partial("loglikelihood", request.args, answer)
        return answers


def _checkpoint(arguments: Mapping[str, Any]) -> Checkpoint | None:
    """What the arguments load; None for a model object, which Python callers may pass instead.

    Raises:
        UserError: ``pretrained`` is missing.
    """
    pretrained = arguments.get("pretrained")
    if pretrained is None:
        raise UserError("model argument pretrained=MODEL is missing: a hub id or a local folder")
    if not isinstance(pretrained, str) or arguments.get("gguf_file"):
        return None
    given = {k: arguments[k] for k in ("revision", "trust_remote_code") if k in arguments}
    return Checkpoint(pretrained, **given)


def intervened(base: type) -> type:
    """Return a subclass of one of lm-eval's Hugging Face wrappers that carries our plan."""
    if not issubclass(base, HFLM):
        raise UserError(
            f"base={base.__name__} is no Hugging Face wrapper of lm-eval; interventions need one"
        )
    return type(f"Causal{base.__name__}", (_Intervened, base), {"__module__": __name__})


def _pictures(request: Instance) -> list[Any]:
    _, _, *media = request.args
    return media[0].get("visual", []) if media else []


def _registered(name: str) -> type:
    known = tuple(model_registry.keys())
    if name not in known:
        raise UserError(f"base={name}: lm-eval has no such model{nearest(name, known)}")
    return model_registry.get(name)


def _keys(requests: Sequence[Instance]) -> list[str]:
    """``task/document/n`` for every request, n counting repeats of the same document."""
    seen: Counter[tuple[Any, Any, int]] = Counter()
    keys = []
    for request in requests:
        identity = (request.task_name, request.doc_id, request.idx)
        keys.append(f"{request.task_name}/{request.doc_id}/{seen[identity]}")
        seen[identity] += 1
    return keys


@one_line_errors
def _refuse_cache(owner: str | None, identity: str) -> None:
    raise UserError(
        f"--use_cache: this cache holds answers of {owner or 'another model'}; this run is "
        f"{identity}; lm-eval would serve the old answers, so use another path or delete the file"
    )
