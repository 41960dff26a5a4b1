"""Scores of single documents and their aggregation, the same functions for both harnesses.

Every ``score_*`` function returns the task's metrics for one document. The first is a plain number
whose name ends in ``score``; the second carries the document's *record*. The four documents of a
family tell one story, so ``pair_id`` is the family: errors and comparisons are clustered by it. A
value of None means that the document does not count for that metric.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lmms_causal.tasks import options
from lmms_causal.tasks.aggregates import mean
from lmms_causal.tasks.mucr.documents import LETTERS
from lmms_causal.tasks.mucr.explanations import names_cue, rouge_l, words
from lmms_causal.tasks.mucr.families import SIZE
from lmms_causal.tasks.mucr.parsing import parse_final_option, parse_option, without_reasoning

__all__ = [
    "CATEGORIES",
    "STYLES",
    "by_kind",
    "family_accuracy",
    "letter_bias",
    "record_of",
    "score_explanation",
    "score_letter",
    "score_options",
]

Values = dict[str, Any]

CATEGORIES = ("human", "animal", "plant", "character", "mixture")
STYLES = ("photograph", "comic")


def record_of(doc: Mapping[str, Any], score: float, **more: Any) -> Values:
    """What a comparison needs to know about a document besides its score."""
    return {
        "id": doc["id"],
        "pair_id": doc["family"],
        "score": score,
        "category": doc["category"],
        "style": doc["style"],
        "stratum": f"{doc['category']}/{doc['style']}",
        **more,
    }


def by_kind(doc: Mapping[str, Any], metric: str, score: float) -> Values:
    """The score under the names of its category, its style, and of complete families."""
    category, style = doc["category"].lower(), doc["style"].lower()
    values: Values = {f"{metric}_complete": score if doc["family_complete"] else None}
    values |= {f"{metric}_{name}": score if name == category else None for name in CATEGORIES}
    values |= {f"{metric}_{name}": score if name == style else None for name in STYLES}
    return values


def score_letter(doc: Mapping[str, Any], text: str) -> Values:
    """Metrics of one generated letter (``c2e``, ``e2c`` and ``cue`` in every form)."""
    listed = doc.get("options")
    letters = LETTERS[: len(listed or doc["option_ids"])]
    parse = parse_final_option if doc["form"] == "vccot" else parse_option
    letter = parse(text, dict(zip(letters, listed, strict=True)) if listed else letters)
    score = float(letter == doc["answer"])
    name = doc["question"]
    member = {"family": doc["family"], "credit": score} if doc["family_complete"] else None
    values: Values = {
        "mucr_score": score,
        f"{name}_acc": record_of(doc, score, valid=letter is not None, pred=letter),
        f"{name}_family_acc": member,
        **by_kind(doc, f"{name}_acc", score),
    }
    if "distinct" in doc:
        values[f"{name}_acc_distinct"] = score if doc["distinct"] else None
        values["distinct_texts"] = float(doc["distinct"])
    values["mucr_letter_bias"] = letter
    values["mucr_invalid_rate"] = float(letter is None)
    return values


def score_options(
    doc: Mapping[str, Any], scores: Sequence[float], *, by_length: bool = False
) -> Values:
    """Metrics of the scores (larger is better) of phrases without letters (``cue_options``).

    Args:
        doc: the document; ``scores`` are in the order of its ``choices``, the right one first.
        scores: log-likelihoods.
        by_length: also report ``cue_acc_norm`` and ``position_bias_norm``, decided by scores per
            character. For summed log-likelihoods only.
    """
    phrases, order = doc["choices"], doc["order"]
    choice = options.choose(scores, doc["answer"])
    pair = options.values_of_pair(doc["pair_id"], order, phrases, choice)
    pred = None if choice.index is None else phrases[choice.index]
    values: Values = {
        "mucr_score": choice.credit,
        "cue_acc": record_of(doc, choice.credit, order=order, pred=pred),
        "cue_consistent_acc": pair["consistent_acc"],
        "position_bias": pair["position_bias"],
        **by_kind(doc, "cue_acc", choice.credit),
        "first_rate": pair["first_rate"],
        "tie_rate": pair["tie_rate"],
    }
    if by_length:
        choice = options.choose_by_length(scores, phrases, doc["answer"])
        normed = options.values_of_pair(doc["pair_id"], order, phrases, choice)
        values["cue_acc_norm"] = choice.credit
        values["position_bias_norm"] = normed["position_bias"]
    return values


def score_explanation(doc: Mapping[str, Any], text: str) -> Values:
    """Metrics of one explanation (``exp`` in every form)."""
    written = without_reasoning(text)
    overlap = rouge_l(written, doc["references"])
    return {
        "exp_score": overlap,
        "exp_rougeL": record_of(doc, overlap),
        "exp_cue_hit": float(names_cue(written, doc["cue"])),
        **by_kind(doc, "exp_rougeL", overlap),
        "mucr_invalid_rate": float(not words(written)),
    }


def family_accuracy(records: Iterable[Mapping[str, Any] | None]) -> float:
    """Share of complete families whose four questions are all answered right.

    Families cut by ``--limit`` are left out.
    """
    credits: dict[str, list[float]] = defaultdict(list)
    for record in records:
        if record is not None:
            credits[record["family"]].append(record["credit"])
    return mean(float(all(given)) for given in credits.values() if len(given) == SIZE)


def letter_bias(letters: Iterable[str | None]) -> float:
    """How far the answers are from naming A to D equally often: 0 equally, 1 one letter only.

    Total variation distance to the uniform distribution, divided by its largest value, 3/4; with
    two letters it would be `aggregates.position_bias`. Invalid answers (None) are left out; without
    others it is NaN. The right answers are not quite equally frequent either.
    """
    counts = Counter(letter for letter in letters if letter is not None)
    total = counts.total()
    if not total:
        return float("nan")
    excess = sum(max(0.0, count / total - 1 / SIZE) for count in counts.values())
    return excess / (1 - 1 / SIZE)
