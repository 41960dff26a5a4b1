"""A user's mistake under any of the command lines: one line, and an exit code other than 0."""

from __future__ import annotations

import pytest

from lmms_causal.cli import main
from lmms_causal.command_line import Mistaken, one_line_errors, under_a_command_line
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


@pytest.fixture
def new_process(monkeypatch):
    """No mistake was told yet."""
    monkeypatch.setattr(Mistaken, "told", False)


@pytest.mark.parametrize("program", ["lmms-eval", "/venv/bin/lm-eval"])
@pytest.mark.usefixtures("new_process")
def test_under_a_harness_they_become_one_line_and_exit_code_2(program, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [program])
    for _ in range(2):  # as threads of one harness that find one each
        with pytest.raises(SystemExit) as caught:
            mistaken()
        assert caught.value.code == 2 and str(caught.value) == "error: alpha=2 must be smaller"
    assert capsys.readouterr().err == "error: alpha=2 must be smaller\n"


@pytest.mark.usefixtures("new_process")
def test_under_our_command_its_main_prints_the_line_if_nobody_goes_on(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["lmms-causal"])
    with pytest.raises(SystemExit, match="alpha=2"):
        mistaken()
    assert capsys.readouterr().err == ""  # a report goes on without the task
    monkeypatch.setattr("lmms_causal.commands.tasks_path.roots", lambda harness: mistaken())
    assert main(["tasks-path"]) == 2
    assert capsys.readouterr().err == "error: alpha=2 must be smaller\n"


def test_the_nearest_name_is_offered_only_when_it_is_near():
    assert nearest("vdc", ("re2", "vcd")) == " (did you mean 'vcd'?)"
    assert nearest("zzzzzz", ("re2", "vcd")) == ""
