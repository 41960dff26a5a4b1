"""Which results files of a folder are repetitions of one run, and which of them counts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmms_causal.compare import read_run
from lmms_causal.compare.reading.run_identity import identity, recorded_at
from lmms_causal.errors import UserError

Write = Callable[..., Path]


def _set(results: dict[str, Any], *place: str, value: Any) -> None:
    for key in place[:-1]:
        results = results.setdefault(key, {})
    results[place[-1]] = value


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("n-shot", "toy_order"), 5),
        (("versions", "toy_order"), 2.0),
        (("n-samples", "toy_order", "effective"), 1),
        (("system_instruction",), "Think."),
        (("chat_template_sha",), "abc"),
        (("config", "resolved_cli_args", "apply_chat_template"), True),
        (("config", "numpy_seed"), 7),
        (("config", "model_backend"), "x.Causal[vcd] (chat)"),
        (("configs", "toy_order", "generation_kwargs"), {"max_new_tokens": 99}),
    ],
)
def test_runs_that_differ_in_what_can_change_an_answer_are_two(
    write_run: Write, tmp_path: Path, place: tuple[str, ...], value: Any
) -> None:
    write_run("one", [1, 0])
    write_run("two", [1, 1], change=lambda results: _set(results, *place, value=value))
    with pytest.raises(UserError, match=r"2 different runs \(which differ in \S") as refused:
        read_run(tmp_path)
    named = {"generation_kwargs": "generation_kwargs of task toy_order"}
    names = [named.get(key, key) for key in place]
    assert any(name in str(refused.value).partition("name one")[0] for name in names)


def test_where_and_how_fast_a_run_ran_makes_no_other_run(write_run: Write, tmp_path: Path) -> None:
    def elsewhere(results: dict[str, Any]) -> None:
        results["config"] |= {"device": "cuda:1", "batch_size": "9", "lmms_causal_cost": {"s": 1}}
        results["configs"]["toy_order"]["doc_to_text"] = "<function ask at 0x7f12>"
        results["lmms_eval_version"] = "main@1234567"
        results["date"] = "20990101_000000"

    def here(results: dict[str, Any]) -> None:
        results["configs"]["toy_order"]["doc_to_text"] = "<function ask at 0x7f99>"

    write_run("one", [1, 0], change=here)
    newer = write_run("two", [1, 1], change=elsewhere)
    assert read_run(tmp_path).path == newer


def test_the_newest_is_the_one_that_began_last_not_the_one_copied_last(
    write_run: Write, tmp_path: Path
) -> None:
    def dated(date: str) -> Callable[[dict[str, Any]], None]:
        return lambda results: _set(results, "date", value=date)

    new = write_run("new", [1, 1], change=dated("20261125_200000"))
    write_run("old", [1, 0], change=dated("20261125_190000"))
    os.utime(new, (1, 1))
    assert read_run(tmp_path).path == new


def test_dates_of_both_harnesses_are_read() -> None:
    assert recorded_at({"date": "20261123_204756"}) == recorded_at({"date": 1795466876.0})
    for date in (None, "yesterday", float("inf")):
        assert recorded_at({"date": date}) == -float("inf")


def test_the_harness_is_part_of_the_run(data: Path) -> None:
    found = [
        identity(json.loads(next((data / name).glob("*results*.json")).read_text()))["harness"]
        for name in ("lmms_eval_a", "lm_eval_seed1")
    ]
    assert found == ["lmms-eval", "lm-eval"]
