"""A user's mistake under any of the command lines: one line, and an exit code other than 0."""

from __future__ import annotations

import pytest

from lmms_causal.command_line import one_line_errors, under_a_command_line
from lmms_causal.errors import UserError, nearest


@pytest.mark.parametrize(
    "program, expected",
    [
        ("/venv/bin/lmms-eval", True),
        ("C:\\venv\\Scripts\\lm-eval.exe".replace("\\", "/"), True),
        ("/site-packages/lmms_eval/__main__.py", True),
        ("/site-packages/lm_eval/__main__.py", True),
        ("/usr/bin/pytest", False),
        ("/somebody/package/__main__.py", False),
        ("", False),
    ],
)
def test_a_command_line_is_recognised_by_its_program(monkeypatch, program, expected):
    monkeypatch.setattr("sys.argv", [program])
    assert under_a_command_line() is expected


@one_line_errors
def mistaken():
    raise UserError("alpha=2 must be smaller")


def test_exceptions_stay_exceptions_in_a_notebook(monkeypatch):
    monkeypatch.setattr("sys.argv", ["ipykernel_launcher.py"])
    with pytest.raises(UserError):
        mistaken()


def test_under_a_command_line_they_become_one_line_and_an_exit_code(monkeypatch):
    monkeypatch.setattr("sys.argv", ["lmms-eval"])
    with pytest.raises(SystemExit) as caught:
        mistaken()
    assert caught.value.code == "error: alpha=2 must be smaller"  # Python prints it, and exits 1


def test_the_nearest_name_is_offered_only_when_it_is_near():
    assert nearest("vdc", ("re2", "vcd")) == " (did you mean 'vcd'?)"
    assert nearest("zzzzzz", ("re2", "vcd")) == ""
