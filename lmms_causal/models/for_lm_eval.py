"""The models `causal` and `causal-multimodal` of lm-eval, and `base=` for its other wrappers.

They are lm-eval's own Hugging Face classes, so that every argument of those works, with our
interventions on them, generation seeded by document, and log-likelihoods of answers about images,
which upstream does not compute.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import lm_eval.models  # noqa: F401  registers the built-ins, before anything is looked up
from lm_eval.api.instance import Instance
from lm_eval.api.registry import model_registry
from lm_eval.models.hf_vlms import HFMultimodalLM
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import replace_placeholders, resize_image
from lm_eval.utils import simple_parse_args_string

from lmms_causal.command_line import one_line_errors
from lmms_causal.errors import UserError, nearest
from lmms_causal.interventions.spec import parse
from lmms_causal.models.argument_text import check_text, refuse_batch_size
from lmms_causal.models.documents import document_keys
from lmms_causal.models.intervening_lm_eval import IntervenedLM
from lmms_causal.models.loading import Checkpoint, available_device
from lmms_causal.models.media import open_picture
from lmms_causal.models.running_lm_eval import RunningLM
from lmms_causal.models.turns import Prompt

__all__ = ["Causal", "CausalMultimodal", "intervened"]

_LMMS_EVAL_ONLY = "lm-eval has none like it, so leave it out, or run the task in lmms-eval"
_OF_LMMS_EVAL = {
    "adapter": "in lm-eval write peft=",
    "chat_template": "in lm-eval use --apply_chat_template, which takes a template's name",
    "do_image_splitting": "",
    "max_patches": "",
    "min_patches": "",
    "num_frames": "",
    "size": "",
    "system_prompt": "in lm-eval use --system_instruction",
}
"""Arguments of our model in lmms-eval that lm-eval's have not, and what to use instead."""

logger = logging.getLogger(__name__)


class _Factory:
    """Named after the plan; ``base=NAME`` builds another of lm-eval's wrappers instead."""

    @classmethod
    @one_line_errors
    def create_from_arg_string(
        cls, arg_string: str, additional_config: dict[str, Any] | None = None
    ) -> Any:
        """Build the model from ``--model_args`` given as text.

        Raises:
            UserError: an argument without ``=`` or given twice, and as `create_from_arg_obj`.
        """
        check_text(arg_string or "")
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @classmethod
    @one_line_errors
    def create_from_arg_obj(
        cls, arg_dict: Mapping[str, Any], additional_config: dict[str, Any] | None = None
    ) -> Any:
        """Build the model from ``--model_args``, or the wrapper that ``base`` names, with our plan.

        Raises:
            UserError: a bad spec, an unknown base or checkpoint, a text model for images, a batch
                size that lm-eval would overrule.
        """
        arguments = dict(arg_dict)
        refuse_batch_size(arguments, additional_config)
        arguments.update({k: v for k, v in (additional_config or {}).items() if v is not None})
        base = arguments.pop("base", None)
        if not arguments.get("device"):  # lm-eval's default is cuda, also where there is none
            arguments["device"] = available_device()
        spec = parse(arguments.get("interventions"))
        made = cls if base is None else intervened(_registered(base))
        _check_names(arguments, made)
        named = type(f"{made.__name__}[{spec}]", (made,), {"__module__": made.__module__})
        return named(**arguments)


class Causal(_Factory, RunningLM, HFLM):
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
        """Score with lm-eval's own code, on the clock, unless the plan needs more than that says.

        It does not say where an answer begins, nor which document it belongs to.
        """
        self._ready(requests)
        plan = self.spec.plan()
        if (
            plan.counts_tokens
            or plan.preparations
            or plan.branches
            or plan.steering
            or plan.reads_parts
            or plan.reads_segments
        ):
            return self._scored(requests)
        self.runner.cost.requests += len(requests)
        with self.runner.cost.clock():
            return super().loglikelihood(requests, disable_tqdm)


class CausalMultimodal(_Factory, RunningLM, HFMultimodalLM):
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
        pictures = [
            resize_image(picture, self.image_width, self.image_height, self.image_max_side)
            for picture in _pictures(request)[: self.max_images]
        ]
        if not self.chat_applied:
            self._warn_of_raw_prompts()
        shown = [open_picture(picture, key) for picture in pictures]  # no copy of an RGB one
        return self._asked(request, key).prompt(shown, key)

    def _sent(self, context: str) -> str:
        if self.chat_applied:
            return super()._sent(context)
        return super()._sent(
            replace_placeholders(context, self._placeholder, self.image_token, self.max_images)
        )

    def _warn_of_raw_prompts(self) -> None:
        if getattr(self.processor, "chat_template", None) and not self.warned_of_raw_prompts:
            self.warned_of_raw_prompts = True
            logger.warning(
                "prompts are sent without the model's chat template, which changes its answers; "
                "add --apply_chat_template unless that is what you want"
            )

    @one_line_errors
    def check_inputs(self, requests: Sequence[Instance]) -> None:
        """Decode every picture, and check what else there is; see the base class.

        Raises:
            UserError: a picture that cannot be read, and what the base class raises.
        """
        for request, key in zip(requests, document_keys(requests), strict=True):
            for picture in _pictures(request):
                _look_at(picture, key)
        super().check_inputs(requests)

    @one_line_errors
    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Return ``(log probability, is greedy)`` of every continuation, with its images."""
        self._ready(requests)
        return self._scored(requests)


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
    media = request.args[2:]
    return media[0].get("visual", []) if media else []


def _look_at(picture: Any, key: str) -> None:
    """Decode a picture; one that its task has only opened is opened again, and stays as small."""
    file = getattr(picture, "filename", "")
    unread = getattr(picture, "fp", None) is not None
    open_picture(file if file and unread else picture, key)


def _registered(name: str) -> type:
    known = tuple(model_registry.keys())
    if name not in known:
        raise UserError(f"base={name}: lm-eval has no such model{nearest(name, known)}")
    return model_registry.get(name)


def _check_names(arguments: Mapping[str, Any], made: type) -> None:
    """Refuse a misspelt argument: lm-eval hands what it does not know to the model's constructor.

    Names that do not all but equal one of ours or lm-eval's pass: ``from_pretrained`` takes many.
    But those that only our model of lmms-eval has are refused with what lm-eval has instead.

    Raises:
        UserError: there is such an argument.
    """
    known = {"base", "interventions", "seed", "segment_regex", "attn_implementation"}
    for base in (HFLM, HFMultimodalLM):
        known.update(inspect.signature(base).parameters)
    for cls in made.__mro__:  # what a wrapper of somebody else names is its own
        if constructor := vars(cls).get("__init__"):
            known.update(inspect.signature(constructor).parameters)
    for name in arguments:
        if name in known:
            continue
        if name in _OF_LMMS_EVAL:
            raise UserError(
                f"model argument {name!r} is lmms-eval's; {_OF_LMMS_EVAL[name] or _LMMS_EVAL_ONLY}"
            )
        if close := nearest(name, known, cutoff=0.88):
            raise UserError(f"model argument {name!r} is unknown{close}")
