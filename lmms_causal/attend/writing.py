"""Results as files: JSON lines, tables in Parquet, arrays.

summary.json      model, settings, findings over all traces, what was skipped and why
traces.jsonl      a row for each trace
heads.parquet     trace, layer, head, and a column for each statistic of heads
tokens.parquet    trace, token, text, part, sentence, and a column for each of tokens
arrays/ID.npz     larger arrays of a trace
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lmms_causal._version import __version__
from lmms_causal.attend.running import Results
from lmms_causal.attend.traces import PARTS
from lmms_causal.errors import UserError
from lmms_causal.interventions.analysis.causal_effect import HeadEffect

__all__ = ["file_name", "heads_table", "rows", "tokens_table", "write", "write_effects"]


def write(results: Results, folder: Path) -> list[Path]:
    """Write all files, and return them.

    Raises:
        UserError: the folder cannot be written to.
    """
    try:
        (folder / "arrays").mkdir(parents=True, exist_ok=True)
        made = [folder / "summary.json", folder / "traces.jsonl"]
        made[0].write_text(_json(summary(results), indent=2) + "\n", encoding="utf-8")
        made[1].write_text("".join(f"{_json(row)}\n" for row in rows(results)), encoding="utf-8")
        for name, table in (("heads", heads_table(results)), ("tokens", tokens_table(results))):
            if table:
                made.append(folder / f"{name}.parquet")
                _parquet(table, made[-1])
        for index, trace in enumerate(results.traces):
            arrays = {
                key if key.startswith(name) else f"{name}_{key}": value.float().numpy()
                for name, found in results.findings.items()
                if (one := found[index]) is not None
                for key, value in one.arrays.items()
            }
            if arrays:
                made.append(folder / "arrays" / f"{file_name(trace.document.id)}.npz")
                np.savez_compressed(made[-1], **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise UserError(f"--output {folder}: cannot be written ({error.strerror})") from None
    return made


def summary(results: Results) -> dict[str, Any]:
    """Return what ``summary.json`` says."""
    return {
        "model": results.model,
        "interventions": results.interventions,
        "version": __version__,
        "config_hash": results.config_hash,
        "settings": results.settings.as_dict(),
        "traces": len(results.traces),
        "findings": results.summaries,
        "skipped": {name: why for name, why in results.skipped.items() if why},
    }


def rows(results: Results) -> list[dict[str, Any]]:
    """Return the rows of ``traces.jsonl``: a trace's sentences and what each analysis recorded."""
    made = []
    for index, trace in enumerate(results.traces):
        row: dict[str, Any] = {
            "trace_id": trace.document.id,
            "model": results.model,
            "interventions": results.interventions,
            "n_tokens": trace.length,
            "n_prompt_tokens": trace.start,
            "answer": trace.answer,
            "n_sentences": len(trace.sentences),
            "sentences": [
                {
                    "idx": sentence.index,
                    "char": list(sentence.chars),
                    "tok": list(sentence.tokens),
                    "text": sentence.text,
                }
                for sentence in trace.sentences
            ],
        }
        for name, found in results.findings.items():
            one = found[index]
            if one is not None:
                row["counterfactual" if name == "importance" else name] = one.record
        made.append({**row, "config_hash": results.config_hash})
    return made


def heads_table(results: Results) -> dict[str, list[Any]]:
    """Return the table of heads, by column; empty without any."""
    columns = _columns(results, "heads")
    table: dict[str, list[Any]] = {name: [] for name in ("trace_id", "layer", "head", *columns)}
    for index, trace in enumerate(results.traces):
        own = _of_trace(results, index, "heads")
        if not own:
            continue
        layers, heads = next(iter(own.values())).shape
        count = layers * heads
        table["trace_id"] += [trace.document.id] * count
        table["layer"] += [layer for layer in range(layers) for _ in range(heads)]
        table["head"] += list(range(heads)) * layers
        for name in columns:
            values = own[name].flatten().tolist() if name in own else [None] * count
            table[name] += [_known(value) for value in values]
    return table if table["layer"] else {}


def tokens_table(results: Results) -> dict[str, list[Any]]:
    """Return the table of tokens, by column; empty without any."""
    columns = _columns(results, "tokens")
    fixed = ("trace_id", "token", "id", "text", "part", "sentence")
    table: dict[str, list[Any]] = {name: [] for name in (*fixed, *columns)}
    for index, trace in enumerate(results.traces):
        own = _of_trace(results, index, "tokens")
        sentence: list[int | None] = [None] * trace.length
        for it in trace.sentences:
            for place in range(*it.tokens):
                sentence[place] = it.index
        table["trace_id"] += [trace.document.id] * trace.length
        table["token"] += list(range(trace.length))
        table["id"] += trace.ids.tolist()
        table["text"] += list(trace.texts)
        table["part"] += [PARTS[part] for part in trace.parts.tolist()]
        table["sentence"] += sentence
        for name in columns:
            values = own[name].tolist() if name in own else [None] * trace.length
            table[name] += [_known(value) for value in values]
    return table if columns else {}


def file_name(name: str) -> str:
    """Return a document's id as part of a file's name."""
    return re.sub(r"[^\w.-]+", "_", name) or "_"


def _columns(results: Results, table: str) -> list[str]:
    """All columns that some trace has, in the order of analyses."""
    found = (
        name
        for findings in results.findings.values()
        for one in findings
        if one is not None
        for name in getattr(one, table)
    )
    return list(dict.fromkeys(found))


def _of_trace(results: Results, index: int, table: str) -> dict[str, Any]:
    """One trace's columns."""
    made: dict[str, Any] = {}
    for findings in results.findings.values():
        one = findings[index]
        if one is not None:
            made.update(getattr(one, table))
    return made


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _json(value: Any, indent: int | None = None) -> str:
    """JSON without NaN, which is null."""
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, indent=indent)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(it) for key, it in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(it) for it in value]
    return _known(value)


def _parquet(table: dict[str, list[Any]], file: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(table), file)


def write_effects(effects: Sequence[HeadEffect], about: dict[str, Any], folder: Path) -> list[Path]:
    """Write the effects of heads on a metric, and what was run.

    Raises:
        UserError: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        rows = [asdict(effect) for effect in effects]
        made = [folder / "effects.json", folder / "effects.parquet"]
        text = _json({**about, "version": __version__, "effects": rows}, indent=2)
        made[0].write_text(f"{text}\n", encoding="utf-8")
        _parquet({name: [row[name] for row in rows] for name in rows[0]} if rows else {}, made[1])
    except OSError as error:
        raise UserError(f"--output {folder}: cannot be written ({error.strerror})") from None
    return made
