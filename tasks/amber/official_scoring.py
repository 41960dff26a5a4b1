"""The authors' metrics of a description, as their script prints them.

Source: repository junyangwang0410/AMBER, ``inference.py`` and ``metrics.txt``. Percent, rounded to
one decimal; every denominator starts at 0.001 and not at 0, once for all descriptions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lmms_causal.tasks.amber import official
from lmms_causal.tasks.amber.data import vocabulary
from lmms_causal.tasks.amber.scoring import score_description
from lmms_causal.tasks.choices import strip_reasoning

__all__ = ["percentage", "percentage_of_the_rest", "score_official"]

Records = Iterable[Mapping[str, Any] | None]

START = 0.001
"""Where the authors' denominators begin."""


def score_official(doc: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Metrics of one description (``amber_generative_official``): ours, and beside them theirs.

    The reasoning of a model goes before either matches anything.

    Raises:
        UserError: the authors' matcher is not at hand, see `official.load`.
    """
    matcher = official.load()
    found = matcher.mentions(strip_reasoning(text), doc["truth"], doc["imagined"], vocabulary())
    wrong = [word for word, is_wrong in zip(found.words, found.wrong, strict=True) if is_wrong]
    faithful = int(not wrong)
    record = {
        "id": doc["id"],
        "image_id": doc["image_id"],
        "score": float(faithful),
        "stratum": doc["stratum"],
        "pred": wrong,
        "matcher": matcher.versions,
    }
    return {
        **score_description(doc, text),
        "amber_g_official_faithful_acc": record,
        "amber_g_official_chair": {"part": len(wrong), "whole": len(found.words)},
        "amber_g_official_cover": {"part": found.covered, "whole": len(doc["truth"])},
        "amber_g_official_hal": {"part": faithful, "whole": 1},
        "amber_g_official_cog": {"part": found.imagined, "whole": len(doc["imagined"])},
    }


def percentage(records: Records) -> float:
    """CHAIR, Cover and Cog: ``round(100 sum(part) / (0.001 + sum(whole)), 1)``; NaN of nothing."""
    share = _share(records)
    return float("nan") if share is None else round(share, 1)


def percentage_of_the_rest(records: Records) -> float:
    """Hal: 100 less the percentage of descriptions without a wrong mention; NaN of nothing."""
    share = _share(records)
    return float("nan") if share is None else round(100 - share, 1)


def _share(records: Records) -> float | None:
    """Percent, not rounded; None if there is no record."""
    present = [record for record in records if record is not None]
    if not present:
        return None
    whole = START
    for record in present:  # one by one, as theirs: the order of additions can move the last bit
        whole += record["whole"]
    return float(sum(record["part"] for record in present) / whole * 100)
