"""What a run cost, read from either harness's results file, and the ratio between two runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lmms_causal.compare.records import Cost, Task, number

_BYTES_PER_MIB = 2**20


def read_cost(data: Mapping[str, Any]) -> Cost:
    """Read the cost of a run from its results file.

    Sources, best first: the ``lmms_causal_cost`` block that our models add to lm-eval's ``config``
    (totals over the run); lmms-eval's ``throughput`` block, in which the harness sums tokens and
    seconds over the model's calls and *averages* every further counter over them, so that a counter
    per request is the ratio of two averages (``avg_forward_passes / avg_requests``). A model that
    does not count its requests is taken to have made one for each document in a single call.
    lmms-eval's ``efficiency`` block supplies the tokens when nothing else does.
    """
    config = data.get("config") or {}
    block = config.get("lmms_causal_cost") or {}
    throughput = data.get("throughput") or {}
    efficiency = (data.get("efficiency") or {}).get("overall") or {}
    documents = _documents(data)

    seconds = _first(number(block.get("seconds")), number(throughput.get("total_elapsed_time")))
    tokens = _first(
        number(block.get("generated_tokens")),
        number(throughput.get("total_gen_tokens")),
        number(efficiency.get("total_output_tokens"))
        if number(efficiency.get("docs_with_token_counts"))
        else None,
    )
    passes = total = number(block.get("forward_passes"))
    requests = number(block.get("requests"))
    if passes is None:
        passes = number(throughput.get("avg_forward_passes"))
        requests = number(throughput.get("avg_requests"))
    megabytes = number(throughput.get("avg_peak_memory_mb"))
    return Cost(
        wall_seconds=number(data.get("total_evaluation_time_seconds")),
        generation_seconds=seconds,
        generated_tokens=tokens,
        tokens_per_second=_ratio(tokens, seconds),
        forward_passes=total,
        forward_passes_per_request=_ratio(passes, _first(requests, documents)),
        peak_memory_bytes=_first(
            number(block.get("peak_memory_bytes")),
            None if megabytes is None else megabytes * _BYTES_PER_MIB,
        ),
        from_cache=bool(config.get("use_cache")),
    )


def judge_calls(tasks: Iterable[Task]) -> float | None:
    """Replies asked of a judge, over all documents; None when no task records any.

    A record of a judged metric holds "calls" and "cached". Several metrics of a document repeat
    the record of one ruling, so that the largest count is the document's.
    """
    counts = [
        max(calls)
        for task in tasks
        for samples in task.samples.values()
        for sample in samples
        if (
            calls := [
                count
                for value in sample.metrics.values()
                if isinstance(value, Mapping) and "cached" in value
                if (count := number(value.get("calls"))) is not None
            ]
        )
    ]
    return sum(counts) if counts else None


@dataclass(frozen=True)
class CostRatio:
    """One line of the cost table; `ratio` is B over A, None when either side is unknown or 0."""

    name: str
    unit: str
    a: float | None
    b: float | None
    ratio: float | None


def cost_ratios(a: Cost, b: Cost) -> list[CostRatio]:
    """Compare two costs, leaving out what neither run recorded."""
    megabytes = [
        None if cost.peak_memory_bytes is None else cost.peak_memory_bytes / _BYTES_PER_MIB
        for cost in (a, b)
    ]
    lines = [
        ("wall time, loading included", "s", a.wall_seconds, b.wall_seconds),
        ("time in the model", "s", a.generation_seconds, b.generation_seconds),
        ("generated tokens per second", "1/s", a.tokens_per_second, b.tokens_per_second),
        ("generated tokens", "", a.generated_tokens, b.generated_tokens),
        ("forward passes", "", a.forward_passes, b.forward_passes),
        (
            "forward passes per request",
            "",
            a.forward_passes_per_request,
            b.forward_passes_per_request,
        ),
        ("peak memory", "MiB", megabytes[0], megabytes[1]),
        ("judge calls", "", a.judge_calls, b.judge_calls),
    ]
    return [
        CostRatio(name, unit, left, right, _ratio(right, left))
        for name, unit, left, right in lines
        if left is not None or right is not None
    ]


def _documents(data: Mapping[str, Any]) -> float | None:
    counts = [
        number(entry.get("effective"))
        for entry in (data.get("n-samples") or {}).values()
        if isinstance(entry, Mapping)
    ]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _ratio(numerator: float | None, denominator: float | None) -> float | None:
    if numerator is None or not denominator:
        return None
    return numerator / denominator
