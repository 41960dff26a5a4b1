"""Whether the harness wrote what it evaluated: both harnesses pass over errors while writing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

__all__ = ["undelivered"]


def undelivered(results: Path, samples: Mapping[str, int]) -> str | None:
    """Return what is missing of a harness's files, or None.

    A full disk leaves half a file behind, and the harnesses end as if all were well
    (``Could not save results`` is a warning among others).

    Args:
        results: the folder that was the harness's ``--output_path``.
        samples: rows that the samples file of each task must have.
    """
    wanted = Counter(samples.values())
    for file in results.rglob("*samples*.jsonl"):
        wanted[_whole_lines(file)] -= 1
    for task, count in samples.items():
        if wanted[count] > 0:
            return f"the {count} samples of {task}"
    if not any(map(_is_whole, results.rglob("*results*.json"))):
        return "the results"
    return None


def _whole_lines(file: Path) -> int:
    """Lines of a file; -1 if the last has no end."""
    count = 0
    with file.open("rb") as stream:
        for line in stream:
            if not line.endswith(b"\n"):
                return -1
            count += 1
    return count


def _is_whole(file: Path) -> bool:
    try:
        return "results" in json.loads(file.read_bytes())
    except ValueError:
        return False
