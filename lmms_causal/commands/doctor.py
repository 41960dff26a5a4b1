"""``lmms-causal doctor MODEL``: what is found in a model, what runs on it, and that off is off."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from lmms_causal.commands import model_options
from lmms_causal.errors import UserError

__all__ = ["add_parser", "report_on"]

_EPILOG = """\
The off checks compare logits of a forward pass and greedy tokens with those of the untouched model,
bit for bit. Exit code: 0, or 1 if a check fails, or 2 if MODEL cannot be examined.

example:
  lmms-causal doctor lmms-causal/tiny-llava
"""


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "doctor",
        help="examine a model: its parts, the interventions that run on it, and that off is off",
        description="Load a model and say what interventions find in it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    model_options.add_model(parser)
    parser.add_argument("--json", metavar="OUT", type=Path, help="also write the findings to OUT")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    template = model_options.chat_template(arguments)
    report = report_on(model_options.checkpoint(arguments), template)
    print(_text(report))
    if arguments.json is not None:
        text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
        try:
            arguments.json.write_text(f"{text}\n", encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"--json {arguments.json}: cannot be written ({error.strerror})"
            ) from None
    return int(any(check["identical"] is False for check in report["off"]))


def report_on(checkpoint: Any, chat_template: str | None = None) -> dict[str, Any]:
    """Load a checkpoint and return what is printed, as plain data.

    Raises:
        UserError: it cannot be loaded, or is no model that interventions know how to run.
    """
    import torch
    import transformers

    from lmms_causal.doctor import describe, off_checks, small_prompts
    from lmms_causal.interventions import registry
    from lmms_causal.interventions.adapter import ModelAdapter
    from lmms_causal.interventions.engine.guards import check_model
    from lmms_causal.method_support import obstacles
    from lmms_causal.models.prompts import Encoder, to_device

    tokenizer, processor = checkpoint.load_readers()
    encoder = Encoder(tokenizer, processor, chat_template)
    inputs = small_prompts(encoder)  # what is wrong with a template is said before weights load
    model = checkpoint.load_model()
    check_model(model)
    adapter = ModelAdapter.of(model, processor or tokenizer)
    checks = off_checks(model, to_device(inputs, model.device, model.dtype), adapter)
    return {
        "model": checkpoint.pretrained,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "found": describe(adapter),
        "interventions": [
            {"name": name, "example": registry.example(name), "obstacle": reason}
            for name, reason in obstacles(adapter).items()
        ],
        "off": [
            {
                "check": check.name,
                "identical": check.identical,
                "max_abs_difference": check.difference,
                "same_tokens": check.same_tokens,
                "verdict": check.verdict,
            }
            for check in checks
        ],
    }


def _text(report: dict[str, Any]) -> str:
    """The report in aligned columns."""
    found = [(name.replace("_", " "), _words(value)) for name, value in report["found"].items()]
    methods = [
        (it["example"], f"no: {it['obstacle']}" if it["obstacle"] else "applies")
        for it in report["interventions"]
    ]
    checks = [(it["check"], it["verdict"]) for it in report["off"]]
    blocks = [
        (report["model"], found),
        ("interventions", methods),
        ("off, compared with the stock model", checks),
    ]
    lines = []
    for title, rows in blocks:
        width = max(len(name) for name, _ in rows)
        lines += [title, *(f"  {name:{width}}  {value}" for name, value in rows), ""]
    return "\n".join(lines).rstrip()


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{token} {text}" for token, text in value.items()) or "none"
    return "none" if value is None else str(value)
