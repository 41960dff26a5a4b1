"""The arguments of the generic model, read from ``--model_args`` in the flat form of lmms-eval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError, nearest
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
        segment_regex: every match in the user's last turn is a segment, for interventions that
            read segments; for tasks that declare none.
    """

    checkpoint: Checkpoint
    interventions: str | None = None
    batch_size: int = 1
    seed: int = 0
    system_prompt: str | None = None
    chat_template: str | None = None
    num_frames: int = 32
    segment_regex: str | None = None

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
        values = {k: v for k, v in given.items() if k not in _IGNORED and v not in (None, "None")}
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
            **{k: values[k] for k in loading if k in values},
            processor=processor,
        )
        for name, least in (("batch_size", 1), ("num_frames", 1), ("seed", 0)):
            if name in values:
                values[name] = _whole(name, values[name], least)
        arguments = cls(checkpoint, **{k: values[k] for k in own if k in values})
        if arguments.chat_template and not Path(arguments.chat_template).is_file():
            raise UserError(f"chat_template={arguments.chat_template}: there is no such file")
        return arguments

    def system_text(self) -> str:
        """Return the system prompt, read from its file if it names one."""
        if not self.system_prompt:
            return ""
        try:
            return Path(self.system_prompt).read_text().strip()
        except OSError:  # no such file, or a text too long for a file's name
            return str(self.system_prompt)

    def encoder(self) -> Encoder:
        """Load tokenizer and processor; no weights."""
        tokenizer, processor = self.checkpoint.load_readers()
        template = Path(self.chat_template).read_text() if self.chat_template else None
        return Encoder(tokenizer, processor, template, self.num_frames)


def _whole(name: str, value: Any, least: int) -> int:
    if not str(value).isdigit() or int(value) < least:
        raise UserError(f"{name}={value} must be a whole number of {least} or more")
    return int(value)
