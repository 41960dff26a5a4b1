"""Runs in the harnesses' real file formats, made from the golden files with scores of our choice.

The golden files in ``data/`` were written by the two harnesses' own command lines (lmms-eval 0.7.3,
lm-eval 0.4.13, each with its dummy model) on the task in ``data/toy_task``; environment listings
and local paths were removed. `test_compare_real_harnesses.py` writes such files afresh.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lmms_causal.compare.reading import aggregations

DATA = Path(__file__).parent / "data"


@pytest.fixture
def data() -> Path:
    """Folder of the golden files."""
    return DATA


@pytest.fixture
def declared_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Take the task files of folders for those of this package."""
    caches = (aggregations._task_files, aggregations._declarations, aggregations._versions)

    def declare(*roots: Path) -> None:
        monkeypatch.setattr(aggregations, "_task_roots", lambda: list(roots))
        for cached in caches:
            cached.cache_clear()

    yield declare
    for cached in caches:
        cached.cache_clear()


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """Write an lmms-eval run of task "toy_order" with given scores; returns its results file."""

    def write(
        name: str,
        scores: Sequence[Any],
        *,
        clusters: Sequence[str] | None = None,
        strata: Sequence[str] | None = None,
        keyed: bool = True,
        model_args: str = "pretrained=org/toy",
        aggregate: float | None = None,
        aggregation: str = "mean",
        higher_is_better: bool | None = True,
        change: Callable[[dict[str, Any]], None] | None = None,
    ) -> Path:
        """Write the files.

        `scores`: one a document, None for a document that does not count; `aggregate`: what the
        harness would report, the mean of the scores by default; `change`: edits the results.
        """
        folder = tmp_path / name
        folder.mkdir()
        template = next((DATA / "lmms_eval_a").glob("*_results.json"))
        results = json.loads(template.read_text())
        present = [float(score) for score in scores if score is not None]
        reported = sum(present) / len(present) if aggregate is None else aggregate
        for key in ("results", "configs", "versions", "n-shot", "higher_is_better", "n-samples"):
            results[key] = {"toy_order": results[key]["toy_order"]}
        results["groups"] = {}
        results["results"]["toy_order"] = {"alias": "toy_order", "toy_score,none": reported}
        results["configs"]["toy_order"]["metric_list"] = [
            {"metric": "toy_score", "aggregation": aggregation}
        ]
        results["higher_is_better"]["toy_order"] = {"toy_score": higher_is_better}
        results["n-samples"]["toy_order"] = {"original": len(scores), "effective": len(scores)}
        results["config"]["model_args"] = model_args
        if change is not None:
            change(results)
        with (folder / "20260101_120000_samples_toy_order.jsonl").open("w") as lines:
            for index, score in enumerate(scores):
                value: Any = score
                if keyed and score is not None:
                    value = {"id": f"doc-{index}", "score": score}
                    if clusters is not None:
                        value["pair_id"] = clusters[index]
                    if strata is not None:
                        value["stratum"] = strata[index]
                row = {
                    "doc_id": index,
                    "target": "A",
                    "filtered_resps": "A" if score else "B",
                    "doc_hash": "constant",
                    "toy_score": value,
                }
                lines.write(json.dumps(row) + "\n")
        file = folder / "20260101_120000_results.json"
        file.write_text(json.dumps(results))
        return file

    return write
