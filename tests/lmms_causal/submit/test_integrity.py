"""Results that do not fit their samples are no evidence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmms_causal.errors import UserError
from lmms_causal.submit.evidence import read_evidence


def _edit(pattern: str, change: Callable[[list[dict[str, Any]]], None]) -> Callable[[Path], None]:
    """Change the rows of a samples file."""

    def edit(folder: Path) -> None:
        (file,) = folder.glob(pattern)
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        change(rows)
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))

    return edit


@pytest.mark.parametrize("golden", ["lmms_eval_a", "lm_eval_seed1"])
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda rows: rows[0].update(toy_exact=1.0 - rows[0]["toy_exact"]), "changed after"),
        (lambda rows: rows.pop(), "rows were lost or added"),
        (lambda rows: rows[3].update(doc_hash="0" * 64), "hash of its documents"),
        (lambda rows: rows.append(rows[0]), "was already on line"),
    ],
    ids=["score", "lost", "document", "twice"],
)
def test_samples_that_were_edited_are_refused(run, golden, change, complaint):
    folder = run("none" if golden == "lmms_eval_a" else None, golden=golden)
    read_evidence(folder)
    _edit("*samples_toy_order*", change)(folder)
    with pytest.raises(UserError, match=complaint):
        read_evidence(folder)


def test_a_number_that_was_edited_is_refused(run):
    def better(data: dict[str, Any]) -> None:
        data["results"]["toy_order"]["toy_exact,none"] = 0.75

    with pytest.raises(UserError, match=r"toy_exact: .* gives 0\.5, the file says 0\.75"):
        read_evidence(run("none", better))


def test_samples_that_are_missing_are_named(run):
    folder = run("none")
    next(folder.glob("*samples_toy_order*")).unlink()
    with pytest.raises(UserError, match="no samples file for toy_order"):
        read_evidence(folder)


def test_no_samples_at_all_are_no_evidence(run):
    folder = run("none")
    next(folder.glob("*samples_toy_order*")).write_text("")
    with pytest.raises(UserError, match="samples file of toy_order is empty, the results have 12"):
        read_evidence(folder)
