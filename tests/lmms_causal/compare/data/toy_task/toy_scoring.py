"""Scoring of the toy causal-order task that made the result files beside this folder."""

from __future__ import annotations


def process_results(doc, results):
    """Score a letter; two metrics share the record, one is a plain number."""
    answer = results[0].strip()
    valid = answer in ("A", "B")
    score = float(answer == doc["gold"])
    record = {
        "id": doc["id"],
        "pair_id": doc["pair_id"],
        "order": doc["order"],
        "score": score,
        "valid": valid,
        "pred": answer if valid else None,
        "stratum": doc["category"],
    }
    return {"toy_score": record, "toy_consistency": record, "toy_exact": score}


def mean_score(records):
    """Mean of the scores."""
    return sum(record["score"] for record in records) / len(records)


def consistency(records):
    """Share of pairs with both orders right."""
    pairs = {}
    for record in records:
        pairs.setdefault(record["pair_id"], []).append(record["score"])
    return sum(all(score == 1.0 for score in scores) for scores in pairs.values()) / len(pairs)


def no_visual(doc):
    """The toy task has no images."""
    return []


def prompt(doc, lmms_eval_specific_kwargs=None):
    """The question as text."""
    return f"Which is right?\nA. {doc['text_a']}\nB. {doc['text_b']}\nAnswer with one letter."
