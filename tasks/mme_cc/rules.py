"""Rules that decide an answer without a judge, or abstain: one for each task of MME-CC.

The forms of the references are inferred from the tasks' names and the few public items, so a rule
speaks only where reference and answer both have its form. Where a question may have several right
answers, equality proves one right and difference proves nothing. Scoring notes are not read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from lmms_causal.tasks.choices import strip_reasoning
from lmms_causal.tasks.mme_cc import forms
from lmms_causal.tasks.mme_cc.answers import final_answer, normalise
from lmms_causal.tasks.mme_cc.tables import decide_table, only_table

__all__ = ["FREE_TEXT", "decide"]

FREE_TEXT = ("Sandbagging", "Counterfactual_Instruction")
"""Tasks whose answers obey an instruction in words: no rule but for a number."""

Decision = bool | None

_NUMBER = re.compile(r"-?[0-9]{1,9}")


def decide(doc: Mapping[str, Any], response: str) -> Decision:
    """True: right. False: wrong. None: no rule can tell.

    An empty response is wrong. One without a final answer, or with doubt about which it is, is
    never decided.

    Args:
        doc: ``task`` and ``answer`` (the reference).
        response: what the model wrote, reasoning included.
    """
    task, reference = doc["task"], doc["answer"]
    if not strip_reasoning(response):
        return False
    if not reference:
        return None
    if task == "Chart_Modification":
        return decide_table(reference, only_table(response))
    answer = final_answer(response)
    if answer is None:
        return None
    if task not in FREE_TEXT and normalise(answer) == normalise(reference):
        return True
    return _RULES[task](reference, answer)


def _both_ways(form: Callable[[str], Any]) -> Callable[[str, str], Decision]:
    """Equal is right and different is wrong, if both sides have the form."""

    def rule(reference: str, answer: str) -> Decision:
        expected, given = form(reference), form(answer)
        return None if expected is None or given is None else bool(expected == given)

    return rule


def _one_way(form: Callable[[str], Any]) -> Callable[[str, str], Decision]:
    """Equal is right; different may be another right answer."""
    equal = _both_ways(form)
    return lambda reference, answer: equal(reference, answer) or None


def _counterfactual(reference: str, answer: str) -> Decision:
    """A number alone is compared with a number alone; words are left to a judge."""
    expected, given = normalise(reference), normalise(answer)
    if not (_NUMBER.fullmatch(expected) and _NUMBER.fullmatch(given)):
        return None
    return int(expected) == int(given)


def _permutation(reference: str, answer: str) -> Decision:
    """Both must be complete permutations of the same pieces."""
    expected, given = forms.permutation(reference), forms.permutation(answer)
    if expected is None or given is None or sorted(expected) != sorted(given):
        return None
    return expected == given


def _labels(reference: str, answer: str) -> Decision:
    """One to four labels; an answer with another number of them is not decided."""
    expected, given = forms.labels(reference), forms.labels(answer)
    if expected is None or given is None or len(expected) != len(given):
        return None
    return expected == given


def _directions(reference: str, answer: str) -> Decision:
    """Eight directions; the compass and the observer's own are different frames."""
    expected, given = forms.direction(reference), forms.direction(answer)
    if expected is None or given is None or forms.frame(expected) != forms.frame(given):
        return None
    return expected == given


def _abstain(reference: str, answer: str) -> Decision:
    return None


_RULES: dict[str, Callable[[str, str], Decision]] = {
    "Indoor_Deduplication_Counting": _both_ways(forms.count),
    "Jigsaw_Puzzle": _permutation,
    "Satellite_Image_Matching": _labels,
    "Indoor_Directional_Reasoning": _directions,
    "Finding_Wrong_Answer": _both_ways(forms.numbers),
    "Maze": _one_way(forms.moves),
    "Unblock_Me": _one_way(forms.block_moves),
    "Gomoku_Variation": _one_way(forms.coordinates),
    "Counterfactual_Instruction": _counterfactual,
    "Sandbagging": _abstain,
}
