"""Arguments that a harness would drop, overrule or end with a traceback for."""

from __future__ import annotations

import sys

import pytest

from lmms_causal.cli import main
from lmms_causal.errors import UserError
from lmms_causal.models import for_lm_eval, for_lmms_eval
from lmms_causal.models.argument_text import check_text, typed
from lmms_causal.reproduce.commands import Changes


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pretrained=x",
        "pretrained=x,interventions=re2+vcd(alpha=1;beta=0),",
        'pretrained=x,chat_template_args={"a": 1, "b": 2},names=["c", "d"]',
        "pretrained=x,system_prompt='Be brief, please, brief'",
        "pretrained=x, seed=a=b",
    ],
)
def test_what_a_harness_reads_passes(text):
    check_text(text)


MISTAKES = [
    (
        "interventions=vcd,interventions=pai",
        "interventions is there twice .interventions=vcd and interventions=pai.; name it once and",
    ),
    ("dtype=float32, dtype=float16", "dtype is there twice"),
    ("interventions", "'interventions' is not name=value"),
    ("interventions=vcd(alpha=1,beta)", "'beta.' is not name=value; commas separate arguments"),
    ("=vcd", "'=vcd' is not name=value"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
@pytest.mark.parametrize("cls", [for_lmms_eval.Causal, for_lm_eval.Causal])
def test_the_models_refuse_what_would_be_dropped(cls, text, message):
    with pytest.raises(UserError, match=message) as raised:
        cls.create_from_arg_string(f"pretrained=nobody/nothing,{text}", {"batch_size": 1})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("cls", [for_lmms_eval.Causal, for_lm_eval.Causal])
def test_a_batch_size_that_the_harness_overrules_is_refused(cls):
    with pytest.raises(UserError, match=r"batch_size=8: the harness's own .* use --batch_size"):
        cls.create_from_arg_string("pretrained=nobody/nothing,batch_size=8", {"batch_size": 1})


def test_a_batch_size_counts_where_no_harness_has_one(saved):
    text = f"pretrained={saved('llava')},batch_size=3"
    assert for_lmms_eval.Causal.create_from_arg_string(text, {"batch_size": None}).batch_size == 3


def test_reproduce_has_an_option_for_it():
    with pytest.raises(
        UserError, match=r"batch_size=\.\.\.: the harness sets it; use --batch-size"
    ):
        Changes(model_args={"batch_size": "3"})


@pytest.mark.parametrize(
    "words",
    [
        ["--model", "causal", "--model_args", "pretrained=x,interventions=vcd,interventions=pai"],
        ["--model=causal", "--model_args", "interventions=vcd", "interventions=pai", "--limit=1"],
        ["-M", "causal", "-a", "interventions=vcd", "--tasks", "t", "--model_a=interventions=pai"],
    ],
)
def test_lm_eval_is_not_started_with_them(words, monkeypatch, capsys):
    """lm-eval itself takes the last one and warns at most."""
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr("lm_eval.__main__.cli_evaluate", lambda: pytest.fail("lm-eval started"))
    assert main(["lm-eval", "run", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --model_args: interventions is there twice")


def test_other_models_and_json_are_lm_evals_business():
    assert typed(["run", "--model", "hf", "--model_args", "a=1", "a=2"], "Ma") == ("hf", "a=1,a=2")
    assert typed(["--model", "causal", "-a", '{"a": 1, "b": 2}'], "Ma") == ("causal", "")
    assert typed(["ls", "tasks"], "Ma") == ("", "")
