"""What `amber_generative_official` lacks, as a user of either harness reads it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lmms_causal.testing.command_line import typed

pytestmark = pytest.mark.slow
START = {
    "lmms-eval": ("lmms-eval", "--model", "causal"),
    "lm-eval": ("lmms-causal", "lm-eval", "run", "--model", "causal-multimodal"),
}


@pytest.mark.parametrize("harness", list(START))
def test_a_missing_matcher_is_one_line_before_a_model_is_loaded(
    harness: str, tiny_companions: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMBER_SPACY_MODEL", "no_such_model")
    program, *arguments = START[harness]
    arguments += ["--model_args", "pretrained=lmms-causal/tiny-llava"]
    done = typed(program, *arguments, "--tasks", "amber_generative_official")
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Traceback" not in output and "Loading weights" not in output
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: the authors' matcher of AMBER cannot be used: ")
    assert "spaCy finds no model 'no_such_model'" in line or "spaCy is not installed" in line
