"""Options of the harness's command line that the run writes itself, and so nobody else may."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lmms_causal.errors import UserError

__all__ = ["refuse_words_of_the_run"]

_AXES = {"model": "models", "model_args": "models", "tasks": "tasks"}
_SETTINGS = ("batch_size", "limit", "seed", "gen_kwargs", "num_fewshot", "device", "include_path")
_OWN = {
    "output_path": "every cell has a folder of its own",
    "log_samples": "samples are always kept",
    "use_cache": "answers are kept in each cell's journal",
    "config": "a file's options would not show in the plan",
}
_SHORT = {
    "lmms-eval": {"b": "batch_size", "c": "use_cache"},
    "lm-eval": {
        **{"M": "model", "a": "model_args", "t": "tasks", "b": "batch_size", "L": "limit"},
        **{"f": "num_fewshot", "c": "use_cache", "o": "output_path", "s": "log_samples"},
        "C": "config",
    },
}


def refuse_words_of_the_run(path: Path, words: Sequence[str], harness: str) -> None:
    """Refuse words that name what the run sets, also shortened, as the harness's parser takes them.

    What they say would be evaluated in the folder, and compared under the name, of what the plan
    says elsewhere.

    Args:
        path: the plan's file, for errors.
        words: ``settings: arguments``.
        harness: whose command line it is; their short options differ.

    Raises:
        UserError: such a word; it says where the plan has its place.
    """
    for word in words:
        if (option := _meant(word.partition("=")[0], _SHORT[harness])) is None:
            continue
        if option in _OWN:
            remedy = f"leave it out ({_OWN[option]})"
        elif option in _AXES:
            remedy = f"write {_AXES[option]}: of the plan"
        else:
            remedy = f"write settings: {option}:"
        raise UserError(f"{path}: settings: arguments: {word} is set by the run; {remedy}")


def _meant(word: str, short: dict[str, str]) -> str | None:
    """The option of the run that a word is, or begins as; None where it is another's."""
    if word.startswith("--"):
        start = word.removeprefix("--")
        every = (*_AXES, *_SETTINGS, *_OWN)
        return next((option for option in every if option.startswith(start)), None)
    # Flags such as -w and -x may stand before it in one word, and its value behind it.
    if match := re.match(rf"-[wx]*([{''.join(short)}])", word):
        return short[match[1]]
    return None
