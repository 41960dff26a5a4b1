"""Both harnesses' choice scores come out as "larger is better"."""

from __future__ import annotations

import math

import pytest

from lmms_causal.tasks.loglikelihoods import from_lm_eval, from_lmms_eval


@pytest.mark.parametrize(
    "response",
    [(0.25, True), [0.25, True], "(0.25, True)", "[0.25, true]", "(np.float32(0.25), False)"],
)
def test_every_form_of_a_loss_is_read(response: object) -> None:
    assert from_lmms_eval([response]) == [-0.25]


def test_infinite_small_and_undefined_losses_survive_their_string_form() -> None:
    infinite, small, undefined = from_lmms_eval(["(inf, False)", "(1e-07, True)", "(nan, False)"])
    assert infinite == -math.inf
    assert small == -1e-07
    assert math.isnan(undefined)


def test_lm_eval_log_probabilities_keep_their_sign() -> None:
    assert from_lm_eval([(-1.5, True), (-0.5, False)]) == [-1.5, -0.5]


@pytest.mark.parametrize("response", ["A", "(Yes, True)", "", None, (1.0,)])
def test_generated_text_is_not_taken_for_a_loss(response: object) -> None:
    with pytest.raises(ValueError, match="log-likelihood"):
        from_lmms_eval([response])
