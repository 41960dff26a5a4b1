"""Scores of single verdicts, the same functions for both harnesses.

``judge_score`` is a plain number, ``judge_acc`` carries the document's record; a value of None
means that the document does not count for that metric. An unreadable verdict earns one half, as in
RewardBench's own script for generative judges, and is counted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lmms_causal.tasks import options
from lmms_causal.tasks.choices import parse_letter, strip_reasoning
from lmms_causal.tasks.judge_pairs.documents import CONTENTS
from lmms_causal.tasks.judge_pairs.sections import SECTIONS, section_of

__all__ = ["parse_verdict", "score_options", "score_verdict"]

Values = dict[str, Any]

_BRACKETED = re.compile(r"\[\[\s*([AB])\s*\]\]")


def parse_verdict(text: str) -> str | None:
    """``"A"`` or ``"B"``; None if the text names both, or neither.

    A letter in double brackets is the verdict, whatever reasons stand before it, unless what
    follows answers with the other letter. Without double brackets the rules of
    `choices.parse_letter` apply.

    >>> parse_verdict("Both are fine, but [[B]]")
    'B'
    >>> parse_verdict("[[A]] or [[B]]?") is None
    True
    >>> parse_verdict("[[A]] No, the answer is B.") is None
    True
    """
    written = strip_reasoning(text)
    bracketed = list(_BRACKETED.finditer(written))
    if bracketed:
        letter = bracketed[-1][1]
        after = parse_letter(written[bracketed[-1].end() :], "AB")
        agrees = {found[1] for found in bracketed} == {letter} and after in (None, letter)
        return letter if agrees else None
    return parse_letter(text, "AB")


def score_verdict(doc: Mapping[str, Any], text: str) -> Values:
    """Metrics of one generated verdict (tasks ``*_names`` and ``*_letters``)."""
    letter = parse_verdict(text)
    index = None if letter is None else doc["letters"].index(letter)
    credit = 0.5 if index is None else float(index == 0)
    values = _values(doc, options.Choice(index, credit, tie=False))
    del values["tie_rate"]
    # A tie of scores may be a matter of rounding, an unreadable verdict is not: if one order alone
    # has one, the order changed the verdict.
    values["position_bias"]["choice"] = values["judge_acc"]["pred"] or "unreadable"
    values["letter_a_rate"] = None if letter is None else float(letter == "A")
    values["judge_invalid_rate"] = float(letter is None)
    return values


def score_options(
    doc: Mapping[str, Any], scores: Sequence[float], *, by_length: bool = False
) -> Values:
    """Metrics of the scores (larger is better) of both answers' openings (task ``*_options``).

    Args:
        doc: the document; ``scores`` are in the order of its ``choices``, the better answer first.
        scores: log-likelihoods.
        by_length: also report ``judge_acc_norm`` and ``position_bias_norm``, decided by scores per
            character. For summed log-likelihoods only; a mean per token needs no correction.
    """
    values = _values(doc, options.choose(scores, doc["answer"]))
    if by_length:
        choice = options.choose_by_length(scores, doc["choices"], doc["answer"])
        pair = options.values_of_pair(doc["pair_id"], doc["order"], CONTENTS, choice)
        values["judge_acc_norm"] = choice.credit
        values["position_bias_norm"] = pair["position_bias"]
    return values


def _values(doc: Mapping[str, Any], choice: options.Choice) -> Values:
    """Metrics of a choice between the contents (`CONTENTS`), whatever it was read from."""
    section = section_of(doc["subset"])
    judged = {"subset": doc["subset"], "credit": choice.credit}
    pair = options.values_of_pair(doc["pair_id"], doc["order"], CONTENTS, choice)
    record = {
        "id": doc["id"],
        "pair_id": doc["pair_id"],
        "score": choice.credit,
        "order": doc["order"],
        "valid": choice.index is not None,
        "pred": None if choice.index is None else CONTENTS[choice.index],
        "stratum": doc["subset"],
    }
    values: Values = {"judge_score": choice.credit, "judge_acc": record}
    values["judge_acc_sections"] = judged
    for name in SECTIONS:
        values[f"judge_acc_{name}"] = judged if name == section else None
    values["judge_consistent_acc"] = pair.pop("consistent_acc")
    return {**values, **pair}
