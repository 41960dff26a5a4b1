"""The models `causal` and `causal-multimodal` of lm-eval, and `base=` for its other wrappers.

They are lm-eval's own Hugging Face classes, so that every argument of those works, with our
interventions on them, generation seeded by document, and log-likelihoods of answers about images,
which upstream does not compute.
"""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import lm_eval.models  # noqa: F401  registers the built-ins, before anything is looked up
from lm_eval.api.instance import Instance
from lm_eval.api.registry import model_registry
from lm_eval.models.hf_vlms import DEFAULT_IMAGE_PLACEHOLDER, HFMultimodalLM
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import postprocess_generated_text, replace_placeholders, resize_image
from lm_eval.utils import simple_parse_args_string

from lmms_causal.command_line import one_line_errors
from lmms_causal.errors import UserError, nearest
from lmms_causal.interventions.spec import parse
from lmms_causal.models.documents import document_keys
from lmms_causal.models.generation import Generation, Settings
from lmms_causal.models.intervening_lm_eval import IntervenedLM
from lmms_causal.models.loading import Checkpoint, available_device, pad_left
from lmms_causal.models.media import open_picture
from lmms_causal.models.prompts import Encoder, Prompt
from lmms_causal.models.runner import Runner

__all__ = ["Causal", "CausalMultimodal", "intervened"]

logger = logging.getLogger(__name__)


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
        _check_names(arguments)
        made = cls if base is None else intervened(_registered(base))
        named = type(f"{made.__name__}[{spec}]", (made,), {"__module__": made.__module__})
        return named(**arguments)


class _Run:
    """Generation and scoring by our own runner, on a model that lm-eval's class has loaded."""

    runner: Runner

    def __init__(self, interventions: str | None = None, seed: int = 0, **arguments: Any) -> None:
        self._seed = int(seed)
        super().__init__(interventions, **arguments)  # type: ignore[call-arg]

    @property
    def identity(self) -> str:
        """The answers' origin, with the seed: lm-eval caches those sampled without `do_sample`."""
        return f"{super().identity}|seed={self._seed}"  # type: ignore[misc]

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
            max_length=self._max_length,  # type: ignore[attr-defined]
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
        prompts = [
            self._prompt(r, key) for r, key in zip(requests, document_keys(requests), strict=True)
        ]
        settings = [
            Settings.from_task(request.args[1], self._seed, "max_gen_toks") for request in requests
        ]
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


class Causal(_Run, _Factory, IntervenedLM, HFLM):
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


class CausalMultimodal(_Run, _Factory, IntervenedLM, HFMultimodalLM):
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
        shown = tuple(open_picture(picture, key) for picture in pictures)  # no copy of an RGB one
        return Prompt(context, shown, (), key)

    def _warn_of_raw_prompts(self) -> None:
        if getattr(self.processor, "chat_template", None) and not self.warned_of_raw_prompts:
            self.warned_of_raw_prompts = True
            logger.warning(
                "prompts are sent without the model's chat template, which changes its answers; "
                "add --apply_chat_template unless that is what you want"
            )

    def _ready(self, requests: Sequence[Instance]) -> None:
        """Decode every picture before the weights load: a broken one stops the run early."""
        for request, key in zip(requests, document_keys(requests), strict=True):
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
        prompts = [self._prompt(r, f"{r.task_name}/{r.doc_id}") for r in requests]
        scores = self.runner.score(prompts, [request.args[1] for request in requests])
        answers = [(score.log_probability, score.is_greedy) for score in scores]
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
    return type(f"Causal{base.__name__}", (IntervenedLM, base), {"__module__": __name__})


def _pictures(request: Instance) -> list[Any]:
    _, _, *media = request.args
    return media[0].get("visual", []) if media else []


def _registered(name: str) -> type:
    known = tuple(model_registry.keys())
    if name not in known:
        raise UserError(f"base={name}: lm-eval has no such model{nearest(name, known)}")
    return model_registry.get(name)


def _check_names(arguments: Mapping[str, Any]) -> None:
    """Refuse a misspelt argument: lm-eval hands what it does not know to the model's constructor.

    Names that do not all but equal one of ours or lm-eval's pass: ``from_pretrained`` takes many.
    """
    known = {"base", "interventions", "seed", "attn_implementation"}
    for base in (HFLM, HFMultimodalLM):
        known.update(inspect.signature(base).parameters)
    for name in arguments:
        if name not in known and (close := nearest(name, known, cutoff=0.88)):
            raise UserError(f"model argument {name!r} is unknown{close}")
