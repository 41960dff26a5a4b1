"""A metric that needs more than its pairs whole is resampled by what it does need."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmms_causal.compare import Options, compare, read_run
from lmms_causal.compare.inference.units import coarser_fields, find_units, stands_doubling
from lmms_causal.compare.reading import aggregations
from lmms_causal.compare.records import Sample
from lmms_causal.tasks.mucr.scoring import family_accuracy
from lmms_causal.tasks.vlind import scoring

Write = Callable[..., Path]

_INSTANCES = 40


def _views(credits: np.ndarray) -> list[dict[str, Any]]:
    """Answers of VLind-Bench: True and False questions at four stages of each instance."""
    stages = ("ck", "vp", "cb", "lp")
    return [
        {
            "id": f"{instance}/{stage}/{question}",
            "pair_id": f"{instance}/{stage}",
            "pair": f"{instance}/{stage}",
            "instance": f"i{instance}",
            "stage": stage,
            "good": 1,
            "credit": float(credits[instance, place, question]),
        }
        for instance in range(_INSTANCES)
        for place, stage in enumerate(stages)
        for question in (0, 1)
    ]


def _write(write_run: Write, name: str, views: list[dict[str, Any]], value: float) -> Path:
    file = write_run(name, [1.0] * len(views), aggregate=value, aggregation="<function cb at 0x1>")
    lines = next(file.parent.glob("*.jsonl"))
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    text = [
        json.dumps(row | {"toy_score": view}) + "\n" for row, view in zip(rows, views, strict=True)
    ]
    lines.write_text("".join(text))
    return file


@pytest.fixture
def runs(write_run: Write) -> tuple[Path, Path, float]:
    """Two runs, and the variance over instances of the difference of their values."""
    rng = np.random.default_rng(0)
    credits = rng.random((2, _INSTANCES, 4, 2)) < np.array([0.75, 0.9])[:, None, None, None]
    views = [_views(one) for one in credits]
    files = [_write(write_run, n, v, scoring.cb(v)) for n, v in zip("ab", views, strict=True)]
    by_instance = np.array(
        [
            [scoring.cb([row for row in v if row["instance"] == f"i{k}"]) for v in views]
            for k in range(_INSTANCES)
        ]
    )
    return files[0], files[1], float((by_instance[:, 1] - by_instance[:, 0]).var(ddof=1))


def test_vlinds_instances_are_drawn_whole_though_its_files_name_pairs(
    runs: tuple[Path, Path, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawn by pair, instances come apart, and the metric skips what is incomplete."""
    a, b, variance = runs
    monkeypatch.setattr(aggregations, "offered_aggregation", lambda task, metric: scoring.cb)
    row = compare(read_run(a), [read_run(b)], Options(resamples=1999))[0].rows[0]
    assert (row.cluster_key, row.units, row.test) == ("instance", _INSTANCES, "swap-sampled")
    # 1999 draws know a standard error to 1.6 %; five of those.
    assert row.standard_error == pytest.approx(math.sqrt(variance / _INSTANCES), rel=0.08)


def test_a_metric_that_no_field_makes_resamplable_is_not_tested(
    runs: tuple[Path, Path, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An aggregate that counts documents in some other way than a mean or a sum."""
    a, b, _ = runs

    def first_answers(rows: list[dict[str, Any]]) -> float:
        return scoring.cb(rows[: 8 * _INSTANCES]) if len(rows) <= 8 * _INSTANCES else 0.123

    monkeypatch.setattr(aggregations, "offered_aggregation", lambda task, metric: first_answers)
    row = compare(read_run(a), [read_run(b)])[0].rows[0]
    assert row.p is None and "every document is there twice" in row.note
    assert row.a != row.b


def test_coarser_fields_are_those_that_keep_clusters_whole(
    runs: tuple[Path, Path, float],
) -> None:
    samples = read_run(runs[0]).tasks["toy_order"].samples["none"]
    # "id" is finer than a pair; "good" is a number; 40 instances are finer than 4 stages.
    assert coarser_fields(samples, "pair_id") == ["instance", "stage"]
    assert coarser_fields(samples, None) == ["pair", "pair_id", "instance", "stage"]


def test_a_family_that_the_metric_names_in_its_own_words_is_drawn_whole() -> None:
    """MuCR: the documents' ``pair_id`` is the record's ``family``; cut families have no record."""
    labels = [f"f{document // 4}" for document in range(82)]
    records = [
        {"family": label, "credit": float(document % 7 > 0)} if document < 80 else None
        for document, label in enumerate(labels)
    ]
    samples = [
        Sample("mucr_cue", "none", row, str(row), {}, {"pair_id": label}, "A", "A")
        for row, label in enumerate(labels)
    ]
    assert not stands_doubling(records, family_accuracy)
    units = find_units(samples, [records, records], family_accuracy, "pair_id")
    assert units is not None and units.key == "pair_id" and "family" in units.identifiers
    assert "credit" not in units.identifiers


def test_standing_doubled_tells_what_can_be_resampled() -> None:
    records: list[dict[str, Any]] = [
        {"id": f"{family}/{place}", "family": f"f{family}", "pair_id": f"{family}", "score": score}
        for family in range(20)
        for place, score in enumerate((1.0, float(family % 3 == 0)))
    ]

    def mean(rows: list[dict[str, Any]]) -> float:
        return sum(row["score"] for row in rows) / len(rows)

    def complete(rows: list[dict[str, Any]], key: str) -> float:
        """Share of families of exactly two that are all right."""
        families: dict[str, list[float]] = {}
        for row in rows:
            families.setdefault(row[key], []).append(row["score"])
        whole = [min(scores) for scores in families.values() if len(scores) == 2]
        return sum(whole) / len(whole) if whole else math.nan

    def limit(rows: list[dict[str, Any]]) -> float:
        return mean(rows) - 1.96 / math.sqrt(len(rows))

    assert stands_doubling(records, mean)
    assert stands_doubling(records, lambda rows: len(rows) * mean(rows))
    assert stands_doubling(records, lambda rows: complete(rows, "pair_id"))
    assert not stands_doubling(records, limit)
    assert not stands_doubling(records, lambda rows: complete(rows, "family"))
    assert stands_doubling(records, lambda rows: complete(rows, "family"), ["family"])
