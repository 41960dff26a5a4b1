"""Explanations against references, without a model: ROUGE-L and whether the cue is named.

How the paper scores explanations is not known to us, so neither number is comparable with its.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["names_cue", "rouge_l", "words"]

_WORD = re.compile(r"[^\W_]+")
_ENDINGS = ("ing", "ed", "es", "s", "ly")
_SHORTEST_STEM = 3
#: Words that say nothing by themselves.
_FUNCTION_WORDS = frozenset(
    ("a", "an", "and", "as", "at", "by", "for", "from", "in", "into", "is", "it", "of", "off")
) | {"on", "or", "out", "the", "their", "to", "under", "up", "was", "with"}


def words(text: str) -> list[str]:
    """The runs of letters and digits of a text in lower case."""
    return _WORD.findall(text.lower())


def rouge_l(prediction: str, references: Sequence[str]) -> float:
    """F1 of the longest common subsequence of words, with the best of the references.

    With L its length, precision is L / words of the prediction, recall L / words of the reference.
    Lin, "ROUGE: A Package for Automatic Evaluation of Summaries" (2004), with equal weights.

    >>> rouge_l("the cat sat", ["the dog sat"])
    0.6666666666666666
    """
    predicted = words(prediction)
    return max((_f1(predicted, words(reference)) for reference in references), default=0.0)


def _f1(predicted: Sequence[str], reference: Sequence[str]) -> float:
    total = len(predicted) + len(reference)
    return 2 * _common(predicted, reference) / total if total else 0.0


def _common(predicted: Sequence[str], reference: Sequence[str]) -> int:
    """Length of the longest common subsequence, a reference's bit per word.

    Hyyro, "Bit-parallel LCS-length computation revisited" (2004): linear in the prediction.
    """
    places: dict[str, int] = {}
    for place, word in enumerate(reference):
        places[word] = places.get(word, 0) | 1 << place
    everything = (1 << len(reference)) - 1
    row = everything
    for word in predicted:
        matched = row & places.get(word, 0)
        row = ((row + matched) | (row - matched)) & everything
    return len(reference) - row.bit_count()


def names_cue(text: str, cue: str) -> bool:
    """Whether every content word of the cue occurs in the text, endings aside.

    >>> names_cue("She spilled the paint.", "spilling of paint")
    True
    """
    wanted = [word for word in words(cue) if word not in _FUNCTION_WORDS] or words(cue)
    written = {_stem(word) for word in words(text)}
    return bool(wanted) and all(_stem(word) in written for word in wanted)


def _stem(word: str) -> str:
    """The word without one common English ending, a final "e", or the doubling before it."""
    for ending in _ENDINGS:
        long_enough = len(word) - len(ending) >= _SHORTEST_STEM
        if word.endswith(ending) and long_enough and not word.endswith("ss"):
            word = word[: -len(ending)]
            if word[-1] == word[-2] and word[-1] not in "aeiouls":
                word = word[:-1]
            break
    return word[:-1] if word.endswith("e") and len(word) > _SHORTEST_STEM else word
