"""Where a comparison is written: screens, pipes, full devices, targets that must not be."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lmms_causal.compare.command import run_command

Write = Callable[..., Path]


def _samples_of(results: Path) -> Path:
    return next(results.parent.glob("*_samples_*.jsonl"))


def _one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run, expect one line of error and nothing else, and return it."""
    capsys.readouterr()
    assert run_command(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    return captured.err


def test_a_screen_without_the_letters_gets_their_escapes(
    write_run: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [write_run(name, [1, 0] * 9, model_args="pretrained=\u00e9\U0001f600") for name in "ab"]
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert run_command([*map(str, runs), "--format", "json"]) == 0
    found = json.loads(raw.getvalue())["comparisons"][0]["a"]["model_args"]
    assert found == {"pretrained": "\u00e9\U0001f600"}


def test_a_seed_below_zero_is_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(data / "lmms_eval_a"), str(data / "lmms_eval_b")]
    words = [*runs, "--seed", "-1", "--interval", "bootstrap"]
    assert "--seed -1: give a whole number" in _one_line(words, capsys)


def test_a_name_given_twice_is_compared_once(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [str(data / "lmms_eval_a"), str(data / "lmms_eval_b")]
    printed = []
    for tasks in ("toy_order", "toy_order,toy_order"):
        assert run_command([*runs, "--tasks", tasks]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]


@pytest.mark.parametrize("option", ["--json", "--output", "--report"])
def test_what_is_read_is_not_written_over(
    write_run: Write, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    a, b = (write_run(name, [1, 0] * 9) for name in "ab")
    (a.parent / "link.html").symlink_to(_samples_of(b))
    os.link(a, a.parent / "hard.html")
    before = {file: file.read_bytes() for run in (a, b) for file in (run, _samples_of(run))}
    for target in (a, _samples_of(b), a.parent / "link.html", a.parent / "hard.html"):
        words = [str(a), str(b.parent), option, str(target)]
        assert "is a file of a run" in _one_line(words, capsys)
    for name in ("mine_results.json", "results_mine.json"):
        words = [str(a.parent), str(b), option, str(b.parent / name)]
        assert "would be taken for a results file" in _one_line(words, capsys)
    assert all(file.read_bytes() == content for file, content in before.items())
    assert run_command([str(a), str(b), option, str(a.parent / "mine.json")]) == 0


@pytest.mark.parametrize("option", ["--json", "--output", "--report"])
def test_a_target_that_cannot_be_is_refused_before_a_run_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    for target in (tmp_path, tmp_path / "absent" / "out.html"):
        assert f"{option} {target}: " in _one_line(["no", "run", option, str(target)], capsys)


def test_two_options_do_not_write_to_one_file(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [str(data / "lmms_eval_a"), str(data / "lmms_eval_b")]
    out = str(tmp_path / "out")
    assert "--json writes there" in _one_line([*runs, "--json", out, "--output", out], capsys)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize(
    ("redirection", "code", "message"),
    [
        (">/dev/full", 2, "error: standard output: cannot be written (No space left on device)"),
        (">&-", 2, "error: standard output: cannot be written (it is closed)"),
        ("| true", 0, ""),
    ],
)
def test_an_output_that_ends_is_one_line_at_most(
    data: Path, redirection: str, code: int, message: str
) -> None:
    command = [sys.executable, "-m", "lmms_causal.compare"]
    runs = [str(data / "lmms_eval_a"), str(data / "lmms_eval_b"), "--format", "json", "--documents"]
    script = f"set -o pipefail; {subprocess.list2cmdline([*command, *runs])} {redirection}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stderr.count("\n") == bool(message) and message in done.stderr
