"""The contrast and the plausibility cutoff against numbers worked out by hand with numpy."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmms_causal.interventions.edits.logits import (
    SCORING_FLOOR,
    contrast,
    keep,
    plausible,
)

FACTUAL = torch.tensor([2.0, 1.0, 0.5, -1.0, -3.0])
NOISED = torch.tensor([1.0, 1.5, 0.5, -2.0, 0.0])

logit_lists = st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=9)


def decode(alpha: float, beta: float) -> torch.Tensor:
    combined = FACTUAL + contrast(FACTUAL, NOISED, alpha)
    return keep(combined, plausible(FACTUAL, beta), FACTUAL, scoring=False)


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [(1.0, [3.0, 0.5, 0.5, 0.0, -6.0]), (0.5, [2.5, 0.75, 0.5, -0.5, -4.5]), (0.0, FACTUAL)],
)
def test_contrast_is_the_affine_combination_of_equation_3(alpha, expected):
    # (1 + alpha) * l - alpha * c, entry by entry
    contrasted = FACTUAL + contrast(FACTUAL, NOISED, alpha)
    torch.testing.assert_close(contrasted, torch.as_tensor(expected))


@pytest.mark.parametrize(
    ("alpha", "beta", "probabilities"),
    [
        # exp(3), exp(.5), exp(.5) normalised
        (1.0, 0.1, [0.858981, 0.070509, 0.070509, 0, 0]),
        (0.5, 0.1, [0.763878, 0.132742, 0.103380, 0, 0]),
        # the cutoff alone: the baseline's first three, renormalised
        (0.0, 0.1, [0.628532, 0.231224, 0.140244, 0, 0]),
        (1.0, 0.2, [0.858981, 0.070509, 0.070509, 0, 0]),
        (1.0, 0.6, [1, 0, 0, 0, 0]),
    ],
)
def test_decoding_distribution_of_the_worked_example(alpha, beta, probabilities):
    result = decode(alpha, beta).softmax(-1)
    torch.testing.assert_close(result, torch.tensor(probabilities).float(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("beta", "kept"), [(0, 5), (0.04, 4), (0.1, 3), (0.2, 3), (0.3, 2), (0.6, 1), (1, 1)]
)
def test_cutoff_keeps_tokens_above_beta_times_the_best(beta, kept):
    # softmax(l) = .606968 .223291 .135433 .030219 .004090: ratios to the best 1 .368 .223 .050 .007
    assert plausible(FACTUAL, beta).sum() == kept


def test_tokens_that_tie_with_the_best_survive_beta_one():
    assert plausible(torch.tensor([1.0, 3.0, 3.0]), 1.0).tolist() == [False, True, True]


@given(logit_lists, st.floats(0.01, 0.99))
@settings(deadline=None, derandomize=True)
def test_cutoff_on_logits_equals_cutoff_on_probabilities(values, beta):
    logits = torch.tensor(values, dtype=torch.float64)
    probabilities = logits.softmax(-1)
    ratio = probabilities / probabilities.amax()
    clear = (ratio / beta - 1).abs() > 1e-9  # a ratio equal to beta may round to either side
    assert torch.equal(plausible(logits, beta)[clear], (ratio >= beta)[clear])


@given(logit_lists, st.floats(-50, 50), st.floats(-50, 50), st.floats(0, 4))
@settings(deadline=None, derandomize=True)
def test_contrast_depends_on_neither_branch_s_normalisation(values, shift_l, shift_c, alpha):
    factual = torch.tensor(values, dtype=torch.float64)
    noised = factual.flip(0) * 0.5
    plain = (factual + contrast(factual, noised, alpha)).log_softmax(-1)
    moved = factual + shift_l
    shifted = (moved + contrast(moved, noised + shift_c, alpha)).log_softmax(-1)
    torch.testing.assert_close(shifted, plain, atol=1e-9, rtol=1e-9)


@given(logit_lists, st.floats(0, 3), st.floats(0.01, 1))
@settings(deadline=None, derandomize=True)
def test_scoring_puts_every_excluded_token_below_every_kept_one(values, alpha, beta):
    factual = torch.tensor(values, dtype=torch.float64)
    combined = factual + contrast(factual, factual.flip(0), alpha)
    kept = plausible(factual, beta)
    scored = keep(combined, plausible(factual, beta), factual, scoring=True)
    assert scored.isfinite().all()
    assert torch.equal(scored[kept], combined[kept])
    if not kept.all():
        gap = scored[kept].min() - scored[~kept].max()
        assert gap.item() == pytest.approx(SCORING_FLOOR)
        order = factual[~kept].argsort(stable=True)
        assert (scored[~kept][order].diff() >= 0).all()


def test_scoring_floor_of_the_worked_example():
    scored = keep(
        FACTUAL + contrast(FACTUAL, NOISED, 1.0), plausible(FACTUAL, 0.1), FACTUAL, scoring=True
    )
    # worst kept .5, minus 20, and the last token 2 nats further down as under l
    torch.testing.assert_close(scored, torch.tensor([3.0, 0.5, 0.5, -19.5, -21.5]))


def test_rows_of_a_batch_are_cut_off_independently():
    batch = torch.stack([FACTUAL, NOISED])[:, None]
    together = keep(2 * batch, plausible(batch, 0.3), batch, scoring=False)
    for row, logits in enumerate((FACTUAL, NOISED)):
        alone = keep(2 * logits, plausible(logits, 0.3), logits, scoring=False)
        assert torch.equal(together[row, 0], alone)


def test_without_cutoff_nothing_is_excluded():
    combined = FACTUAL * 3
    for scoring in (True, False):
        kept = plausible(FACTUAL, 0)
        assert torch.equal(keep(combined, kept, FACTUAL, scoring=scoring), combined)
    assert not math.isinf(combined.min())
