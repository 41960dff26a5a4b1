"""Choice scores out of what each harness hands to ``process_results``.

The harnesses disagree: lm-eval gives ``(log-probability, is_greedy)`` pairs, larger is better;
lmms-eval gives losses, smaller is better, and its evaluator turns each pair into a string on the
way (0.7.3), or into a list when it comes out of the response cache.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

__all__ = ["from_lm_eval", "from_lmms_eval"]

_PAIR = re.compile(r"[(\[]\s*(?P<number>.+?)\s*,\s*(?:True|False|true|false)\s*[)\]]")
_WRAPPED = re.compile(r"(?:[\w.]+\()?(?P<number>[-+.\w]+)(?:,[^)]*)?\)?")


def from_lm_eval(results: Sequence[Any]) -> list[float]:
    """Sum log-probability of each choice."""
    return [float(pair[0]) for pair in results]


def from_lmms_eval(results: Sequence[Any]) -> list[float]:
    """Negative loss of each choice (mean log-probability per token for most models).

    Accepts a pair, a list or the string form of either, also with ``inf``, ``nan`` and numbers
    printed with their type.

    >>> from_lmms_eval(["(0.25, True)", (1.5, False), "(np.float64(inf), False)"])
    [-0.25, -1.5, -inf]

    Raises:
        ValueError: a response is none of these, for example generated text.
    """
    return [-_loss(response) for response in results]


def _loss(response: Any) -> float:
    if isinstance(response, (tuple, list)) and len(response) == 2:
        return float(response[0])
    pair = _PAIR.fullmatch(response.strip()) if isinstance(response, str) else None
    number = _WRAPPED.fullmatch(pair["number"]) if pair else None
    try:
        return float(number["number"]) if number else float("x")
    except ValueError:
        raise ValueError(
            f"not a (loss, is_greedy) pair: {response!r}; this task scores choices by "
            "log-likelihood, which this model's wrapper does not return"
        ) from None
