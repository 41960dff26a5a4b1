"""The arguments of the generic model, read from ``--model_args`` in the flat form of lmms-eval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError
from lmms_causal.interventions.registry import nearest
from lmms_causal.models.loading import Checkpoint
from lmms_causal.models.prompts import Encoder

__all__ = ["Arguments"]

_PROCESSOR = (
    "min_pixels",
    "max_pixels",
    "size",
    "do_image_splitting",
    "max_patches",
    "min_patches",
)
_IGNORED = ("max_batch_size",)  # lmms-eval passes it to every model


@dataclass(frozen=True)
class Arguments:
    """What the generic model takes beside the checkpoint.

    Attributes:
        checkpoint: what to load and how.
        interventions: the spec.
        batch_size: rows decoded at once.
        seed: global seed of sampling; a document's own seed derives from it and its id.
        system_prompt: text, or a file that holds it.
        chat_template: file with a Jinja template to use instead of the model's own.
        num_frames: frames sampled from every video.
    """

    checkpoint: Checkpoint
    interventions: str | None = None
    batch_size: int = 1
    seed: int = 0
    system_prompt: str | None = None
    chat_template: str | None = None
    num_frames: int = 32

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Arguments:
        """Sort flat arguments into checkpoint, processor and model.

        Raises:
            UserError: an unknown argument (with the nearest known), a missing ``pretrained``, a
                batch size that is no positive number, a missing chat template file.
        """
        own = tuple(f.name for f in fields(cls) if f.name not in ("checkpoint",))
        loading = tuple(f.name for f in fields(Checkpoint) if f.name != "processor")
        known = (*own, *loading, *_PROCESSOR)
        values = {k: v for k, v in given.items() if k not in _IGNORED}
        for name in values:
            if name not in known:
                raise UserError(
                    f"model argument {name!r} is unknown{nearest(name, known)}; "
                    f"causal takes {', '.join(sorted(known))}"
                )
        if not values.get("pretrained"):
            raise UserError(
                "model argument pretrained=MODEL is missing: a hub id or a local folder"
            )
        processor = {k: values[k] for k in _PROCESSOR if k in values}
        checkpoint = Checkpoint(
            **{k: values[k] for k in loading if values.get(k) not in (None, "None")},
            processor=processor,
        )
        arguments = cls(checkpoint, **{k: values[k] for k in own if values.get(k) is not None})
        if not str(arguments.batch_size).isdigit() or int(arguments.batch_size) < 1:
            raise UserError(
                f"batch_size={arguments.batch_size} must be a whole number of 1 or more"
            )
        if arguments.chat_template and not Path(arguments.chat_template).is_file():
            raise UserError(f"chat_template={arguments.chat_template}: there is no such file")
        return cls(**{**_shallow(arguments), "batch_size": int(arguments.batch_size)})

    def system_text(self) -> str:
        """Return the system prompt, read from its file if it names one."""
        if not self.system_prompt:
            return ""
        path = Path(self.system_prompt)
        return path.read_text().strip() if path.is_file() else self.system_prompt

    def encoder(self) -> Encoder:
        """Load tokenizer and processor; no weights."""
        tokenizer, processor = self.checkpoint.load_readers()
        template = Path(self.chat_template).read_text() if self.chat_template else None
        return Encoder(tokenizer, processor, template, self.num_frames)


def _shallow(arguments: Arguments) -> dict[str, Any]:
    return {f.name: getattr(arguments, f.name) for f in fields(arguments)}
