"""What a folder of task files asks and how it scores, as JSON, also where we are absent.

python snapshot.py HARNESS FOLDER TASK...
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
from collections.abc import Sequence
from typing import Any

ANSWERS = ("A", "B", "(B)", "[[A]]", "Answer: A", "Yes", "no.", "", "red", "Miss B", "A or B?")
DOCUMENTS = 60


def snapshot(harness: str, folder: str, names: Sequence[str]) -> dict[str, Any]:
    """Documents, prompts, pictures and scores of fixed answers, task by task."""
    loaded = _loaded(harness, folder, names)
    return {name: _of_task(loaded[name], harness) for name in names}


def _loaded(harness: str, folder: str, names: Sequence[str]) -> dict[str, Any]:
    if harness == "lm-eval":
        from lm_eval.tasks import TaskManager

        manager = TaskManager(include_path=folder, include_defaults=False)
        return dict(manager.load(list(names))["tasks"])
    from lmms_eval.tasks import TaskManager, get_task_dict

    manager = TaskManager(include_path=folder, include_defaults=False)
    return dict(get_task_dict(list(names), manager, "simple"))


def _of_task(task: Any, harness: str) -> dict[str, Any]:
    rows, values = [], {}
    for doc in list(task.test_docs())[:DOCUMENTS]:
        draw = random.Random(doc["id"])
        chooses = task.OUTPUT_TYPE == "multiple_choice"
        choices = task.doc_to_choice(doc) if chooses else []
        losses = [(round(draw.uniform(0, 4), 3), False) for _ in choices]
        if not chooses:
            results: list[Any] = [draw.choice(ANSWERS)]
        else:
            results = losses if harness == "lm-eval" else [str(loss) for loss in losses]
        scores = task.process_results(doc, results)
        for metric, value in scores.items():
            values.setdefault(metric, []).append(value)
        rows.append(
            {
                "doc": doc,
                "text": task.doc_to_text(doc),
                "target": task.doc_to_target(doc),
                "choices": choices,
                "pictures": [_sum(picture) for picture in _pictures(task, doc, harness)],
                "scores": scores,
            }
        )
    aggregations = task.aggregation()
    assert rows and set(values) == set(aggregations)
    totals = {metric: aggregations[metric](items) for metric, items in values.items()}
    config = {key: value for key, value in task.dump_config().items() if _is_plain(value)}
    config.pop("dataset_kwargs", None)  # the manifest's place
    config["metadata"] = {"version": config["metadata"]["version"]}  # without the file's place
    return {"config": config, "better": task.higher_is_better(), "rows": rows, "totals": totals}


def _pictures(task: Any, doc: dict[str, Any], harness: str) -> list[Any]:
    if harness == "lmms-eval":
        return list(task.doc_to_visual(doc))
    return list(task.doc_to_image(doc)) if getattr(task, "MULTIMODAL", False) else []


def _sum(picture: Any) -> str:
    return hashlib.sha256(picture.tobytes()).hexdigest()


def _is_plain(value: Any) -> bool:
    """Not a function's source, whose names differ."""
    return not (isinstance(value, str) and ("def " in value or "<function" in value)) and (
        value is None or isinstance(value, (str, int, float, dict))
    )


if __name__ == "__main__":
    if os.environ.get("OURS_IS_ABSENT"):
        try:
            import lmms_causal  # noqa: F401
        except ModuleNotFoundError:
            pass
        else:
            raise SystemExit("lmms_causal can be imported here, which this run is to do without")
    taken = snapshot(sys.argv[1], sys.argv[2], sys.argv[3:])
    print(json.dumps(taken, sort_keys=True, default=str))
