"""Read a samples file of lmms-eval or lm-eval: a line for each document and answer filter."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lmms_causal.compare.reading.attributes import attributes_of, own_key, recorded
from lmms_causal.compare.reading.json_files import json_lines, too_large
from lmms_causal.compare.records import LM_EVAL, Sample
from lmms_causal.errors import UserError

#: Keys of a samples row that the harnesses write themselves; every other key is a metric.
_OWN_KEYS = frozenset(
    [
        "doc_id",
        "doc",
        "target",
        "arguments",
        "resps",
        "filtered_resps",
        "filter",
        "metrics",
        "doc_hash",
        "prompt_hash",
        "target_hash",
        "token_counts",
        "input",
        "input_media",
    ]
)
_CUT_OFF = "the file may be cut off: run the evaluation again"
_EDITED = "take the file as the harness wrote it, or run the evaluation again"


def read_samples(
    file: Path,
    task: str,
    settings: tuple[Mapping[str, Any], Mapping[tuple[str, str], float]],
    harness: str,
) -> dict[str, tuple[Sample, ...]]:
    """Read a samples file of either harness.

    Args:
        file: The samples file.
        task: Task name.
        settings: The task's configuration, and its aggregates by metric and filter.
        harness: "lmms-eval" or "lm-eval".

    Returns:
        The documents by answer filter, in the file's order.

    Raises:
        UserError: It cannot be read, a line is no row of a samples file, or two runs are in it.
    """
    samples: dict[str, list[Sample]] = {}
    lines: dict[tuple[int, str], list[int]] = {}
    for line, row in _rows(file):
        doc_id = row["doc_id"]
        name = str(row.get("filter", "none")) if harness == LM_EVAL else ""
        samples.setdefault(name, []).append(_sample(row, task, name, doc_id, harness))
        lines.setdefault((doc_id, name), []).append(line)
    names = [""]
    if harness != LM_EVAL:
        names = _filter_names(*settings, [len(places) for places in lines.values()])
    for (doc_id, _), places in lines.items():
        if len(places) > len(names):
            raise UserError(
                f"{file}:{places[len(names)]}: document {doc_id} was already on line "
                f"{places[len(names) - 1]}; two runs that began in the same second appended to one "
                "file: evaluate again into separate folders"
            )
    if harness != LM_EVAL:
        samples = _by_filter(samples.get("", []), names)
    return {name: tuple(rows) for name, rows in samples.items()}


def _filter_names(
    config: Mapping[str, Any], aggregates: Mapping[tuple[str, str], float], rows: Sequence[int]
) -> list[str]:
    """Filters in the order in which lmms-eval writes a document's rows (it does not name them).

    Args:
        config: The task's configuration.
        aggregates: Its aggregates, of which a filter may have none that is a number.
        rows: Number of rows of each document.
    """
    declared = [entry["name"] for entry in config.get("filter_list") or [] if "name" in entry]
    if declared and all(count == len(declared) for count in rows):
        return declared
    used = dict.fromkeys(name for _, name in aggregates)
    return [name for name in declared if name in used] or list(used) or ["none"]


def _by_filter(samples: Sequence[Sample], names: Sequence[str]) -> dict[str, list[Sample]]:
    """Name the filter of each row: the first row of a document is of the first filter."""
    found: dict[str, list[Sample]] = {}
    occurrences: dict[int, int] = {}
    for sample in samples:
        occurrence = occurrences.get(sample.doc_id, 0)
        occurrences[sample.doc_id] = occurrence + 1
        named = dataclasses.replace(sample, filter=names[occurrence])
        found.setdefault(named.filter, []).append(named)
    return found


def _rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with their line numbers, the "doc_id" of each a whole number."""
    what = "not a row of a samples file"
    for line, row in json_lines(file, what, _CUT_OFF):
        if not isinstance(row, dict) or "doc_id" not in row:
            raise UserError(f"{file}:{line}: {what} (no doc_id); {_CUT_OFF}")
        doc_id = row["doc_id"]
        if isinstance(doc_id, bool) or not isinstance(doc_id, int):
            raise UserError(
                f"{file}:{line}: doc_id is {json.dumps(doc_id)[:60]}, where a row's number is "
                f"expected; {_EDITED}"
            )
        for key, value in row.items():
            if key not in _OWN_KEYS and too_large(value) is not None:
                raise UserError(
                    f"{file}:{line}: {key} holds a number beyond the range of float64; {_EDITED}"
                )
        yield line, row


def _sample(row: Mapping[str, Any], task: str, name: str, doc_id: int, harness: str) -> Sample:
    metrics = {key: value for key, value in row.items() if key not in _OWN_KEYS}
    doc = row.get("doc")
    document: Mapping[str, Any] = doc if isinstance(doc, Mapping) else {}
    return Sample(
        task=task,
        filter=name,
        doc_id=doc_id,
        key=own_key(recorded(metrics)),
        metrics=metrics,
        attributes=attributes_of(task, document, metrics),
        response=_text(row.get("filtered_resps")),
        target=str(row.get("target")),
        prompt=_prompt(row),
        doc_hash=_hash(row) if harness == LM_EVAL else None,
    )


def _hash(row: Mapping[str, Any]) -> str | None:
    value = row.get("doc_hash")
    return None if value is None else str(value)


def _text(response: Any) -> str:
    """lmms-eval flattens a single response, lm-eval keeps the list around it."""
    while isinstance(response, list) and len(response) == 1:
        response = response[0]
    return response if isinstance(response, str) else json.dumps(response, ensure_ascii=False)


def _prompt(row: Mapping[str, Any]) -> str | None:
    """lmms-eval's "input" is the prompt for simple models only (chat: the generation settings)."""
    prompt = row.get("input")
    if prompt is None:
        arguments = row.get("arguments")
        first = arguments.get("gen_args_0") if isinstance(arguments, dict) else None
        prompt = first.get("arg_0") if isinstance(first, dict) else None
    return prompt if isinstance(prompt, str) and prompt else None
