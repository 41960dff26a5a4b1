"""From ``--model_args`` to a loaded model; what can be refused is refused before weights load."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
)

from lmms_causal import tiny_llava
from lmms_causal.errors import UserError, nearest
from lmms_causal.interventions.attention.backend import register

__all__ = ["Checkpoint", "available_device", "pad_left", "resolve"]

Kind = Literal["vision", "text"]


def resolve(pretrained: str) -> str:
    """Return the folder of a model shipped with the package, or the name unchanged."""
    return str(tiny_llava.path()) if pretrained == tiny_llava.NAME else pretrained


@dataclass(frozen=True)
class Checkpoint:
    """What to load and how; the arguments of ``transformers``' ``from_pretrained``.

    Attributes:
        pretrained: hub id, local folder, or the name of the bundled model.
        dtype: ``auto`` (the checkpoint's), or a torch dtype's name.
        device: ``cuda``, ``cuda:1``, ``mps``, ``cpu``; None takes the first of these there is.
        device_map: passed to accelerate, which then places the model instead of ``device``.
        attn_implementation: of transformers, or ``lmms_causal`` for the kernels of this package.
        adapter: folder or hub id of a PEFT adapter put on top.
        processor: further arguments of the processor, e.g. ``min_pixels``.
    """

    pretrained: str
    revision: str = "main"
    dtype: str = "auto"
    device: str | None = None
    device_map: str | None = None
    attn_implementation: str | None = None
    trust_remote_code: bool = False
    adapter: str | None = None
    processor: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        dtype = str(self.dtype)
        if dtype != "auto" and not isinstance(getattr(torch, dtype, None), torch.dtype):
            raise UserError(f"dtype={dtype} is not a torch dtype; use auto, float32, bfloat16 ...")
        register()  # so that attn_implementation=lmms_causal is known
        if self.attn_implementation and "/" not in self.attn_implementation:  # no hub kernel
            known = ("eager", *ALL_ATTENTION_FUNCTIONS.keys())
            if self.attn_implementation not in known:
                raise UserError(
                    f"attn_implementation={self.attn_implementation} is unknown to transformers; "
                    f"use one of {', '.join(known)}"
                )
        if self.device:
            _require_device(str(self.device))
        if self.adapter:
            _require_adapter(str(self.adapter))

    def config(self) -> Any:
        """Read the configuration only.

        Raises:
            UserError: no such checkpoint, or none that can be reached.
        """
        source = resolve(self.pretrained)
        if not Path(source).exists() and nearest(source, (tiny_llava.NAME,), cutoff=0.85):
            raise UserError(
                f"pretrained={self.pretrained}: there is no such folder (did you mean "
                f"{tiny_llava.NAME!r}, which is bundled?)"
            )
        try:
            return transformers.AutoConfig.from_pretrained(source, **self._common())
        except (OSError, ValueError) as error:
            reason = _first_line(error)
            where = "the folder" if Path(source).exists() else "the hub id or folder"
            raise UserError(
                f"pretrained={self.pretrained}: cannot read {where}: {reason} "
                f"(without a network use a local folder, or {tiny_llava.NAME}, which is bundled)"
            ) from None

    def kind(self) -> Kind:
        """Whether the checkpoint takes images (``vision``) or text only (``text``).

        Raises:
            UserError: it is neither an image-text-to-text nor a causal language model.
        """
        config = self.config()
        if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
            return "vision"
        if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
            return "text"
        remote = getattr(config, "auto_map", {}) if self.trust_remote_code else {}
        if "AutoModelForImageTextToText" in remote:
            return "vision"
        if "AutoModelForCausalLM" in remote:
            return "text"
        raise UserError(
            f"pretrained={self.pretrained}: a {type(config).__name__} is neither an "
            "image-text-to-text nor a causal language model of transformers"
        )

    def loads_as_text(self) -> bool:
        """Whether transformers loads it as a language model, as it does some vision models."""
        config = self.config()
        return (
            type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
            or type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
        )

    def place(self) -> str:
        """Return the device to run on; plain ``cuda`` is this rank's own."""
        if self.device in (None, "", "cuda") and torch.cuda.is_available():
            return available_device()
        return str(self.device) if self.device else available_device()

    def load_readers(self) -> tuple[Any, Any | None]:
        """Load the tokenizer, padding on the left, and the processor (None for a text model).

        Raises:
            UserError: the checkpoint comes without them, or they need a package that is missing.
        """
        source, common = resolve(self.pretrained), self._common()
        vision = self.kind() == "vision"
        try:
            if vision:
                processor = transformers.AutoProcessor.from_pretrained(
                    source, **self.processor, **common
                )
                tokenizer = processor.tokenizer
            else:
                processor = None
                tokenizer = transformers.AutoTokenizer.from_pretrained(source, **common)
        except (AttributeError, ImportError, OSError, ValueError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            wanted = "processor" if vision else "tokenizer"
            raise UserError(
                f"pretrained={self.pretrained}: its {wanted} cannot be loaded: {reason}"
            ) from error
        pad_left(tokenizer)
        return tokenizer, processor

    def load_model(self) -> Any:
        """Load the weights onto the device; evaluation mode.

        Raises:
            UserError: as :meth:`kind`; transformers cannot load the checkpoint this way.
        """
        auto = (
            transformers.AutoModelForImageTextToText
            if self.kind() == "vision"
            else transformers.AutoModelForCausalLM
        )
        options = {"device_map": self.device_map, "attn_implementation": self.attn_implementation}
        try:
            model: Any = auto.from_pretrained(
                resolve(self.pretrained),
                dtype=self.dtype if self.dtype == "auto" else getattr(torch, self.dtype),
                **{name: value for name, value in options.items() if value},
                **self._common(),
            )
        except (ImportError, OSError, ValueError) as error:  # no weights, a missing package ...
            reason = _first_line(error)
            raise UserError(f"pretrained={self.pretrained}: cannot be loaded: {reason}") from error
        if self.adapter:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, self.adapter).merge_and_unload()
        if not self.device_map:
            model = model.to(torch.device(self.place()))
        return model.eval()

    def _common(self) -> dict[str, Any]:
        return {"revision": str(self.revision), "trust_remote_code": self.trust_remote_code}


def available_device() -> str:
    """Return ``cuda:RANK``, ``mps`` or ``cpu``: the first that this machine has."""
    if torch.cuda.is_available():
        return f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _require_device(device: str) -> None:
    """Put an empty tensor there, so that a device that is not there is found out before loading."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise UserError(
                f"device={device}: torch finds no CUDA GPU here; use cpu, or leave device out to "
                "take what there is (with a GPU: see that its driver and a CUDA build of torch are "
                "installed)"
            ) from None
        raise UserError(
            f"device={device}: {_first_line(error)}; leave device out to take what there is"
        ) from None


def _require_adapter(adapter: str) -> None:
    try:
        from peft import PeftConfig
    except ImportError:
        raise UserError(f"adapter={adapter}: PEFT is not installed; pip install peft") from None
    try:
        PeftConfig.from_pretrained(adapter)
    except (OSError, ValueError) as error:
        reason = _first_line(error)
        raise UserError(f"adapter={adapter} is no PEFT adapter: {reason}") from None


def pad_left(tokenizer: Any) -> None:
    """Make a tokenizer pad on the left, with its end token if it has no padding token."""
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
