"""Options of sub-commands that load one model, and what they load with them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lmms_causal.errors import UserError

if TYPE_CHECKING:
    from lmms_causal.models.loading import Checkpoint

__all__ = ["add_model", "chat_template", "checkpoint"]


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the model, and how it is loaded."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="hub id, folder, or lmms-causal/tiny-llava (bundled)")
    add("--dtype", default="auto", help="torch dtype (default: the checkpoint's)")
    add("--device", help="e.g. cuda:1 or cpu (default: the best there is)")
    add(
        "--attn-implementation",
        metavar="NAME",
        help="sdpa, eager, lmms_causal (our kernels) ... (default: the model's)",
    )
    add("--trust-remote-code", action="store_true", help="run code that comes with the model")
    add("--revision", default="main", help="branch, tag or commit on the hub (default: main)")
    add("--chat-template", metavar="FILE", type=Path, help="use instead of the model's own")


def checkpoint(arguments: argparse.Namespace) -> Checkpoint:
    """Return the model asked for; nothing is loaded yet."""
    # Here, not above: adding a sub-command must not cost the start of torch.
    from lmms_causal.models.loading import Checkpoint

    return Checkpoint(
        arguments.model,
        revision=arguments.revision,
        dtype=arguments.dtype,
        device=arguments.device,
        attn_implementation=arguments.attn_implementation,
        trust_remote_code=arguments.trust_remote_code,
    )


def chat_template(arguments: argparse.Namespace) -> str | None:
    """Return the text of the template named, None for the model's own.

    Raises:
        UserError: it cannot be read.
    """
    file = arguments.chat_template
    try:
        return None if file is None else file.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"--chat-template {file}: cannot be read ({error.strerror})") from None
