"""Receiver, local, global, retrieval and vision-aware heads, and sinks: worked examples.

Expected numbers are worked by hand from the definitions, or computed by SciPy from the formulas.
"""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from lmms_causal.errors import UserError
from lmms_causal.interventions.analysis.divergence import (
    aware_heads,
    head_divergence,
    token_divergence,
    without_outliers,
)
from lmms_causal.interventions.analysis.masses import context_dependence, per_token, shares
from lmms_causal.interventions.analysis.receiver import (
    head_kurtosis,
    kurtosis,
    receiver_heads,
    receiver_scores,
    reliability,
    vertical_scores,
)
from lmms_causal.interventions.analysis.retrieval import (
    looks,
    mean_scores,
    recall,
    retrieval_heads,
    retrieval_scores,
)
from lmms_causal.interventions.analysis.rhythm import (
    average,
    co_occurrence,
    local_and_global,
    peaks,
)
from lmms_causal.interventions.analysis.sinks import sinks, strongest


def test_one_bright_column_of_twenty_sentences_has_the_known_kurtosis():
    matrix = torch.full((20, 20), 0.02, dtype=torch.float64)
    matrix[:, 2] = 0.30
    scores = vertical_scores(matrix)
    assert scores.isfinite().tolist() == [True] * 16 + [False] * 4
    assert scores[2] == pytest.approx(0.30) and scores[3] == pytest.approx(0.02)
    assert float(kurtosis(scores)) == pytest.approx(11.07, abs=5e-3)
    assert float(kurtosis(scores)) == pytest.approx(
        stats.kurtosis(scores.numpy(), nan_policy="omit"), abs=1e-9
    )


def test_vertical_scores_are_means_of_what_is_far_enough_below():
    matrix = torch.rand(3, 7, 7, generator=torch.Generator().manual_seed(0)).tril()
    expected = [matrix[:, j + 2 :, j].mean(dim=1) for j in range(5)]
    found = vertical_scores(matrix, proximity=2)
    torch.testing.assert_close(found[:, :5], torch.stack(expected, dim=1))
    assert found[:, 5:].isnan().all()


def test_a_head_without_variance_has_no_kurtosis_and_is_no_receiver():
    flat = torch.full((2, 3, 9), 0.1)
    flat[1, 2, 4] = 0.5
    means = head_kurtosis([flat])
    assert means.isnan().sum() == 5
    (best,) = receiver_heads(means)
    assert (best.layer, best.head) == (1, 2)
    assert torch.equal(receiver_scores(flat, [best]), flat[1, 2])
    with pytest.raises(UserError, match="at least one receiver head"):
        receiver_scores(flat, [])


def test_reliability_is_one_for_heads_that_never_change_and_ignores_the_first_layer():
    generator = torch.Generator().manual_seed(1)
    stable = torch.rand(3, 4, 30, generator=generator).pow(3)
    moody = [torch.cat([torch.rand(1, 4, 30, generator=generator), stable[1:]]) for _ in range(4)]
    assert reliability(moody) == pytest.approx(1, abs=1e-6)
    noise = [torch.rand(3, 4, 30, generator=generator).pow(3) for _ in range(2)]
    even, odd = (stats.kurtosis(it[1:].numpy(), axis=-1).ravel() for it in noise)
    assert reliability(noise) == pytest.approx(stats.pearsonr(even, odd)[0], abs=1e-5)
    with pytest.raises(UserError, match="two responses"):
        reliability(noise[:1])


def test_local_heads_have_the_shortest_spans_and_global_heads_the_longest():
    spans = torch.tensor([[5.0, 1, 9, 3], [8, 2, 7, 6], [4, 12, 10, 11]])
    local, far = local_and_global(spans, share=0.3)
    assert spans[local].tolist() == [1, 3, 2]
    assert sorted(spans[far].tolist()) == [10, 11, 12]
    values = torch.arange(24.0).view(3, 4, 2)
    torch.testing.assert_close(average(values, far), values[[2, 2, 2], [1, 2, 3]].mean(0))
    with pytest.raises(UserError, match="must be in"):
        local_and_global(spans, share=0.6)


def test_peaks_are_high_local_maxima():
    nan = float("nan")
    series = torch.tensor([0.1, 0.9, 0.2, 0.3, 0.2, 0.8, 0.8, 0.1, nan, 0.7, nan])
    assert peaks(series, quantile=0.6) == [1, 5, 9]
    assert peaks(series, quantile=1) == [1]
    assert peaks(torch.full((3,), nan)) == []


def test_chance_of_co_occurrence_is_the_share_of_places_close_to_a_peak():
    observed, expected = co_occurrence([2, 7], [3, 8], 10, before=0, behind=1)
    assert (observed, expected) == (1.0, 0.4)
    assert co_occurrence([4], [3], 10, before=0, behind=1).observed == 0
    assert co_occurrence([3], [0], 4, before=0, behind=3) == (0.0, 0.25)


def test_the_worked_example_of_sinks():
    means = torch.tensor([0.61, 0.125, 0.3833, 0.1, 0.1])
    assert sinks(means, 0.25).tolist() == [False, False, True, False, False]
    assert sinks(means, 0.12).tolist() == [False, True, True, False, False]
    assert sinks(means, None, over_length=0.6).tolist() == [False, True, True, False, False]
    released = sinks(torch.tensor([0.05, 0.3, 0.4]), 0.1, parity=True)
    assert released.tolist() == [False, False, True], "the released code spares the first it finds"
    padded = torch.cat([torch.full((2,), torch.nan), means])
    assert sinks(padded, 0.25, first=2).nonzero().tolist() == [[4]]
    assert [it[0] for it in strongest(padded, 2)] == [2, 4]
    with pytest.raises(UserError, match="not both"):
        sinks(means, 0.1, over_length=5)


def test_the_worked_example_of_retrieval():
    """A needle of four tokens at 3..6; the second head copies two of them."""
    context = torch.tensor([9, 8, 7, 11, 12, 13, 14, 6])
    written = torch.tensor([11, 12, 13, 5])
    heads = torch.tensor([[0, 0, 0, 0], [3, 4, 6, 3], [3, 3, 5, -1]])
    scores = retrieval_scores(heads, written, context, (3, 7))
    assert scores.tolist() == [0, 0.5, 0.5]
    again = torch.tensor([11, 11, 11, 12])
    repeated = torch.tensor([3, 3, 3, 4])
    assert retrieval_scores(repeated, again, context, (3, 7)) == 1.0
    assert retrieval_scores(repeated, again, context, (3, 7), distinct=True) == 0.5
    assert looks(heads, torch.arange(8) >= 4).tolist() == [0, 0.5, 0.25]


def test_only_runs_that_found_the_needle_count():
    assert recall("Eat a sandwich, and sit!", "eat a sandwich and sit in the park") == 0.625
    assert recall("in in in", "in the park in") == 0.5
    one, other = torch.tensor([[0.4, 0.0]]), torch.tensor([[1.0, 1.0]])
    mean, count = mean_scores([(one, 0.9), (other, 0.5), (one * 0, 0.51)])
    assert count == 2 and mean is not None
    torch.testing.assert_close(mean, torch.tensor([[0.2, 0.0]]))
    assert retrieval_heads(mean) == [(0, 0, pytest.approx(0.2))]
    assert mean_scores([(one, 0.5)]) == (None, 0)


def test_the_worked_example_of_vision_aware_heads():
    divergence = torch.tensor([0.1, 0.5, 0.3, 2.0, 0.2, 0.4, 0.05, 0.35])
    loudness = torch.tensor([1, 1.2, 0.9, 6, 1, 1.1, 0.8, 1])
    filtered = without_outliers(divergence, loudness)
    assert filtered.tolist() == pytest.approx([0.1, 0.5, 0.3, 0, 0.2, 0.4, 0.05, 0.35])
    assert aware_heads(filtered).nonzero()[:, 0].tolist() == [1, 2, 5, 7]
    assert float(token_divergence(torch.stack([divergence, filtered]), 2)) == pytest.approx(3.4)


def test_without_a_picture_nothing_is_aware_of_it():
    outputs = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    divergence = head_divergence(outputs, outputs)
    assert not divergence.any() and not aware_heads(divergence).any()
    shifted = outputs.clone()
    shifted[1, 2] += torch.tensor([3.0, 0, 4, 0, 0])
    found = head_divergence(shifted, outputs)
    assert float(found[1, 2]) == pytest.approx(5) and found.count_nonzero() == 1
    assert torch.equal(
        without_outliers(found, outputs), without_outliers(found, outputs.square().sum(-1))
    )


def test_shares_of_attention():
    masses = torch.tensor([[[[0.5, 0.5], [0.3, 0.7]], [[0.9, 0.1], [0.1, 0.9]]]])  # L1 H2 T2 S2
    found = shares(masses)
    torch.testing.assert_close(found, torch.tensor([[[0.4, 0.6], [0.5, 0.5]]]))
    relative = per_token(found, torch.tensor([1, 3]))
    torch.testing.assert_close(relative, torch.tensor([[[1.6, 0.8], [2.0, 2 / 3]]]))
    assert context_dependence(masses[..., 0]).tolist() == pytest.approx([0.6])  # (0.9 + 0.3) / 2
