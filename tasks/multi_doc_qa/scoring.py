"""Best-subspan exact match, and what becomes of it as the gold document moves.

Source: repository nelson-liu/lost-in-the-middle, ``src/lost_in_the_middle/metrics.py`` and
``scripts/evaluate_qa_responses.py`` (commit 04cbd0d); arXiv 2307.03172.
"""

from __future__ import annotations

import re
import string
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lmms_causal.tasks.aggregates import mean
from lmms_causal.tasks.choices import strip_reasoning
from lmms_causal.tasks.multi_doc_qa.documents import POSITIONS

__all__ = [
    "best_subspan_em",
    "change_rate",
    "normalize_answer",
    "score_answer",
    "spread",
    "worst_position",
]

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def normalize_answer(text: str) -> str:
    """SQuAD's normal form: lower case, without ASCII punctuation, articles and surplus blanks.

    >>> normalize_answer("The  U.S. Navy!")
    'us navy'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def best_subspan_em(prediction: str, answers: Sequence[str]) -> float:
    """1 if any accepted answer occurs in the prediction, both in normal form, else 0.

    As published, without regard to word boundaries: an answer "art" occurs in "party".
    """
    normal = normalize_answer(prediction)
    return float(any(normalize_answer(answer) in normal for answer in answers))


def score_answer(doc: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Metrics of one generated answer, of which the first line counts.

    Later lines do not count, since a model could copy all documents into its answer.
    """
    written = strip_reasoning(text).split("\n")[0].strip()
    score = best_subspan_em(written, doc["answers"])
    view = {"pair": doc["pair_id"], "position": doc["position"]}
    record = {
        "id": doc["id"],
        "pair_id": doc["pair_id"],
        "score": score,
        "pred": written,
        "stratum": f"gold at {doc['position']}",
    }
    values: dict[str, Any] = {"qa_score": score, "subspan_em_acc": record}
    for position in POSITIONS[len(doc["segments"])]:
        values[f"subspan_em_acc_at_{position}"] = score if position == doc["position"] else None
    values["subspan_em_worst_acc"] = {**view, "credit": score}
    values["subspan_em_spread"] = {**view, "credit": score}
    values["position_bias"] = {**view, "choice": normalize_answer(written)}
    values["qa_invalid_rate"] = float(not normalize_answer(written))
    return values


def spread(records: Iterable[Mapping[str, Any] | None]) -> float:
    """Best minus worst mean over positions of the gold document; 0 if the position is no matter."""
    means = _by_position(records)
    return max(means) - min(means) if means else float("nan")


def worst_position(records: Iterable[Mapping[str, Any] | None]) -> float:
    """Mean at the position of the gold document where it is lowest."""
    return min(_by_position(records), default=float("nan"))


def change_rate(records: Iterable[Mapping[str, Any] | None]) -> float:
    """Position bias: the share of questions whose answer is not the same text at all positions.

    Texts are compared in normal form. Questions that were asked at one position only, because a run
    was limited, do not count.
    """
    answers: dict[Any, list[str]] = defaultdict(list)
    for record in records:
        if record is not None:
            answers[record["pair"]].append(record["choice"])
    return mean(float(len(set(given)) > 1) for given in answers.values() if len(given) > 1)


def _by_position(records: Iterable[Mapping[str, Any] | None]) -> list[float]:
    credits: dict[int, list[float]] = defaultdict(list)
    for record in records:
        if record is not None:
            credits[record["position"]].append(record["credit"])
    return [mean(values) for values in credits.values()]
