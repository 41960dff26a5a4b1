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

#: Letters, words, numbers, lists and sentences: for every benchmark some that its parser reads.
ANSWERS = (
    *("A", "B", "(B)", "[[A]]", "Answer: A", "Yes", "no.", "", "red", "Miss B", "A or B?", "3"),
    *("Clip 2, Clip 1, Clip 3", "<think>A?</think> 2, 3, 1", "A dog sleeps beside a bench."),
    "Group 1: Pine, Larch, Cedar, Yew\nGroup 2: Heron, Swift, Crane, Robin",
)
DOCUMENTS = 60


def snapshot(harness: str, folder: str, names: Sequence[str]) -> dict[str, Any]:
    """Documents, prompts, pictures and scores of fixed answers, task by task."""
    loaded = _loaded(harness, folder, names)
    taken = {name: _of_task(loaded[name], harness) for name in names}
    # As it is read from a file; NaN as a word, so that it equals itself.
    return json.loads(json.dumps(taken, sort_keys=True, default=str), parse_constant=str)


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
        asked, choices, results = _answered(task, doc, harness)
        scores = task.process_results(doc, results)
        for metric, value in scores.items():
            values.setdefault(metric, []).append(value)
        rows.append(
            {
                "doc": doc,
                "text": task.doc_to_text(doc),
                "asked": asked,
                "target": task.doc_to_target(doc),
                "choices": choices,
                "pictures": [_sum(picture) for picture in _pictures(task, doc, harness)],
                "messages": _messages(task, doc),
                "scores": scores,
            }
        )
    aggregations = task.aggregation()
    assert rows and set(values) == set(aggregations)
    totals = {metric: aggregations[metric](items) for metric, items in values.items()}
    config = {key: value for key, value in task.dump_config().items() if _is_plain(value)}
    config.pop("dataset_kwargs", None)  # the manifest's place
    config.pop("fewshot_config", None)  # repeats the functions
    config["metadata"] = {"version": config["metadata"]["version"]}  # without the file's place
    return {"config": config, "better": task.higher_is_better(), "rows": rows, "totals": totals}


def _answered(task: Any, doc: dict[str, Any], harness: str) -> tuple[list[Any], list[str], list]:
    """What is asked after the prompt, the choices, and the results that a model might give."""
    draw = random.Random(doc["id"])
    if task.OUTPUT_TYPE == "multiple_choice":
        choices = task.doc_to_choice(doc)
        losses = [(round(draw.uniform(0, 4), 3), False) for _ in choices]
        return [], choices, losses if harness == "lm-eval" else [str(loss) for loss in losses]

    def reply() -> str:
        return draw.choice((draw.choice(ANSWERS), str(task.doc_to_target(doc))))

    if task.OUTPUT_TYPE != "generate_until_agentic":
        return [], [], [reply()]
    asked, replies = [], [reply()]
    while True:  # lmms-eval asks until the task says that the conversation is over
        visuals, text, is_last, outputs, _ = task.config.doc_to_text(
            doc, round_idx=len(replies), previous_output=replies, previous_round_info=None
        )
        if is_last:
            return asked, [], outputs[-1:]
        asked.append((text, visuals))
        replies.append(reply())


def _pictures(task: Any, doc: dict[str, Any], harness: str) -> list[Any]:
    if harness == "lmms-eval":
        return list(task.doc_to_visual(doc))
    return list(task.doc_to_image(doc)) if getattr(task, "MULTIMODAL", False) else []


def _messages(task: Any, doc: dict[str, Any]) -> Any:
    """What a chat model of lmms-eval is given, where a task writes that itself."""
    write = getattr(task.config, "doc_to_messages", None)
    if write is None:
        return None
    return [(turn["role"], [_part(part) for part in turn["content"]]) for turn in write(doc)]


def _part(part: dict[str, Any]) -> dict[str, Any]:
    return {**part, "url": _sum(part["url"])} if "url" in part else part


def _sum(picture: Any) -> str:
    """A picture's checksum; a video is its path."""
    if isinstance(picture, str):
        return picture
    return f"{picture.size} {hashlib.sha256(picture.tobytes()).hexdigest()}"


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
    print(json.dumps(snapshot(sys.argv[1], sys.argv[2], sys.argv[3:]), sort_keys=True))
