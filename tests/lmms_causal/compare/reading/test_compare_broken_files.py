"""Files that are cut off, edited or of another kind.

Whatever a run's files hold, ``compare`` ends with a report or with one line saying what is wrong.
"""

from __future__ import annotations

import contextlib
import copy
import gzip
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmms_causal.compare import read_run
from lmms_causal.compare.command import run_command
from lmms_causal.errors import UserError

Write = Callable[..., Path]
_HUGE = 10**400


def _samples_of(results: Path) -> Path:
    return next(results.parent.glob("*_samples_*.jsonl"))


def _edit(file: Path, place: list[str], value: Any) -> None:
    """Put `value` at a place of a JSON file."""
    whole = json.loads(file.read_text())
    inner = whole
    for key in place[:-1]:
        inner = inner.setdefault(key, {})
    inner[place[-1]] = value
    file.write_text(json.dumps(whole))


def _edit_row(file: Path, row: int, **fields: Any) -> None:
    lines = file.read_text().splitlines()
    lines[row] = json.dumps(json.loads(lines[row]) | fields)
    file.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (["config"], None),
        (["config"], []),
        (["results"], [1]),
        (["results", "toy_order"], 5),
        (["configs"], None),
        (["configs", "toy_order"], "x"),
        (["configs", "toy_order", "metric_list"], ["acc"]),
        (["configs", "toy_order", "filter_list"], 5),
        (["configs", "toy_order", "filter_list"], [{"name": ["x"]}]),
        (["versions"], 5),
        (["n-shot"], "x"),
        (["n-samples"], 5),
        (["groups"], [1]),
        (["higher_is_better"], {"toy_order": 5}),
        (["throughput"], 5),
        (["efficiency"], [1]),
        (["efficiency", "overall"], 5),
        (["config", "lmms_causal_cost"], 5),
        (["config", "resolved_cli_args"], 5),
        (["config", "model_args"], 5),
    ],
)
def test_a_block_of_the_wrong_kind_is_named_with_its_place(
    write_run: Write, place: list[str], value: Any
) -> None:
    file = write_run("run", [1, 0])
    _edit(file, place, value)
    name = ".".join(place)
    with pytest.raises(UserError, match=r"is expected; take the file as the harness") as caught:
        read_run(file)
    assert f"{file}: {name}" in str(caught.value) and len(str(caught.value)) < len(str(file)) + 250


@pytest.mark.parametrize("place", [["results", "toy_order", "toy_score,none"], ["date"]])
def test_an_integer_that_no_float_holds_is_named_with_its_place(
    write_run: Write, place: list[str]
) -> None:
    file = write_run("run", [1, 0])
    _edit(file, place, _HUGE)
    with pytest.raises(UserError, match=rf"{'.'.join(place)} is a number beyond the range"):
        read_run(file)


@pytest.mark.parametrize("date", [10**20, float("inf"), float("nan"), None, [1], "soon"])
def test_a_date_that_is_none_is_shown_as_it_is(write_run: Write, date: Any) -> None:
    file = write_run("run", [1, 0])
    _edit(file, ["date"], date)
    assert read_run(file).date == str(date)


def test_a_direction_that_is_no_truth_value_is_none(write_run: Write) -> None:
    file = write_run("run", [1, 0], higher_is_better="yes")
    assert read_run(file).tasks["toy_order"].higher_is_better == {"toy_score": None}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"doc_id": None}, "doc_id is null, where a row's number is expected"),
        ({"doc_id": "x"}, 'doc_id is "x"'),
        ({"doc_id": 0.5}, "doc_id is 0.5"),
        ({"doc_id": True}, "doc_id is true"),
        ({"toy_score": _HUGE}, "toy_score holds a number beyond the range of float64"),
        ({"toy_score": {"id": "a", "score": -_HUGE}}, "toy_score holds a number beyond"),
    ],
)
def test_a_row_that_cannot_be_one_is_named_with_its_line(
    write_run: Write, fields: dict[str, Any], message: str
) -> None:
    file = write_run("run", [1, 0, 1])
    _edit_row(_samples_of(file), 1, **fields)
    with pytest.raises(UserError) as caught:
        read_run(file)
    assert f"{_samples_of(file)}:2: {message}" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: gzip.compress(raw), r":1: .*compressed by gzip: unpack it"),
        (lambda raw: raw + b'{"doc_id": 9, "target": "\xe9"}\n', r":3: .*not UTF-8 text .*0xe9"),
        (lambda raw: raw + b'{"doc_id": ' + b"9" * 5000 + b"}\n", r":3: .*thousands of digits"),
        (lambda raw: raw + b'{"x": ' + b"[" * 9**5 + b"]" * 9**5 + b"}\n", r":3: .*nested more"),
        (lambda raw: raw + b"[1]\n", r":3: .*no doc_id"),
    ],
    ids=["gzip", "latin-1", "digits", "nested", "list"],
)
def test_bytes_that_are_no_json_lines_are_named_with_their_line(
    write_run: Write, change: Callable[[bytes], bytes], message: str
) -> None:
    file = write_run("run", [1, 0])
    samples = _samples_of(file)
    samples.write_bytes(change(samples.read_bytes()))
    with pytest.raises(UserError, match=message):
        read_run(file)
    file.write_bytes(change(b"{}\n"))
    with pytest.raises(UserError, match="not a results file"):
        read_run(file)


def test_brackets_inside_of_texts_are_no_nesting(write_run: Write) -> None:
    file = write_run("run", [1, 0])
    _edit_row(_samples_of(file), 0, filtered_resps='\\"' + "[{" * 500, target="\ufeff")
    assert read_run(file).tasks["toy_order"].samples["none"][0].response.endswith("[{")


def test_rows_are_of_the_declared_filters_though_one_has_no_aggregate(
    data: Path, tmp_path: Path
) -> None:
    """NaN is no aggregate; that filter's rows are there all the same."""
    shutil.copytree(data / "lmms_eval_a", tmp_path / "run")
    file = next((tmp_path / "run").glob("*_results.json"))
    whole = json.loads(file.read_text())
    results = whole["results"]["toy_filters"]
    for key in [key for key in results if key.endswith(",first")]:
        results[key] = float("nan")
    file.write_text(json.dumps(whole))
    before, after = (
        read_run(path).tasks["toy_filters"].samples for path in (data / "lmms_eval_a", file)
    )
    assert after == before and set(after) == {"first", "strict"}


def test_half_a_character_is_shown_as_its_escape(
    write_run: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [write_run(name, scores) for name, scores in (("a", [1, 0] * 9), ("b", [0, 1] * 9))]
    for run in runs:
        _edit_row(_samples_of(run), 0, filtered_resps="x\ud800", target="\udfff")
    words = [*map(str, runs), "--flips", "1"]
    assert run_command([*words, "--json", str(tmp_path / "out.json")]) == 0
    assert r'"x\ud800" became "x\ud800", target "\udfff"' in capsys.readouterr().out
    flip = json.loads((tmp_path / "out.json").read_text())["comparisons"][0]["flips"][0]
    assert flip["answer_a"] == r"x\ud800"
    for form in ("json", "latex", "markdown"):
        assert run_command([*words, "--format", form]) == 0
        capsys.readouterr().out.encode()


def test_linked_folders_are_searched_and_cycles_are_not(write_run: Write, tmp_path: Path) -> None:
    file = write_run("run", [1, 0])
    folder = tmp_path / "all"
    folder.mkdir()
    (folder / "link").symlink_to(file.parent)
    (file.parent / "back").symlink_to(folder)
    (folder / "gone_results.json").symlink_to(tmp_path / "absent")
    (folder / "folder_results.json").mkdir()
    assert read_run(folder).path.samefile(file)


_ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 7, 10**30, _HUGE, 0.5, 1e308, -1e308, float("nan"), float("inf")]),
    st.sampled_from(["", "x", "1", "nan", "\ud800", "a\nb\u2028c", "\x1b[2J", "9" * 400, "x²"]),
    st.sampled_from([[], [[]], ["x"], [1, 2], {}, {"": 1}, {"score": 1}, {"name": 5}, [{}]]),
)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every value below, containers included."""
    keys = value if isinstance(value, dict) else range(len(value) * isinstance(value, list))
    for key in list(keys):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from _places(value[key])


def _mutated(whole: Any, draw: Callable[..., Any]) -> None:
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(whole))
        container, key = places[draw(st.integers(0, len(places) - 1))]
        if draw(st.booleans()):
            del container[key]
        else:
            container[key] = copy.deepcopy(draw(_ANYTHING))


_REFERENCES = {"lmms_eval_b": "lmms_eval_a", "lm_eval_seed2": "lm_eval_seed1"}


@settings(
    max_examples=80,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(random=st.data())
def test_any_change_of_a_file_ends_in_a_report_or_in_one_line(
    data: Path, random: st.DataObject
) -> None:
    name = random.draw(st.sampled_from(sorted(_REFERENCES)))
    names = sorted(file.name for file in (data / name).iterdir())
    chosen = random.draw(st.sampled_from([one for one in names if "samples_toy_g" not in one]))
    form = random.draw(st.sampled_from(["text", "markdown", "latex", "json"]))
    original = (data / name / chosen).read_text()
    if chosen.endswith(".jsonl"):
        rows = [json.loads(line) for line in original.splitlines()]
        _mutated(rows, random.draw)
        text = "".join(json.dumps(row) + "\n" for row in rows)
    else:
        whole = json.loads(original)
        _mutated(whole, random.draw)
        text = json.dumps(whole)
    out, error = io.StringIO(), io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        shutil.copytree(data / name, run)
        (run / chosen).write_text(text)
        words = [str(data / _REFERENCES[name]), str(run)]
        words += ["--format", form, "--flips", "2", "--margin", "1"]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            code = run_command(words)
    out.getvalue().encode()
    if code == 0:
        assert error.getvalue() == "" and "toy" in out.getvalue()
        if form == "json":
            json.loads(out.getvalue())
    else:
        assert code == 2 and out.getvalue() == ""
        assert error.getvalue().startswith("error: ") and error.getvalue().count("\n") == 1
