"""The cost model finds the costs that made the times, and refuses what cannot tell them."""

from __future__ import annotations

import itertools

import pytest
import torch

import lmms_causal.kernels.cost as cost
from lmms_causal.errors import UserError
from lmms_causal.kernels.cost import CostModel, Observation, calibrate, fit
from lmms_causal.kernels.patterns import Causal, Context
from lmms_causal.kernels.simulate import simulate

CALLS = [(64, 0, 512), (8, 8, 512), (128, 16, 1024), (17, 32, 64), (300, 4, 2048)]


@pytest.mark.parametrize("costs", [(3e-6, 1e-6, 2e-8), (3e-6, 0, 2e-8), (5e-6, 0, 0)])
def test_costs_that_made_the_times_are_found(costs):
    a, b, c = costs
    model = fit([Observation(t, p, r, a * t + b * p + c * r) for t, p, r in CALLS])
    assert (model.tile, model.partial, model.row) == pytest.approx(costs, rel=1e-6, abs=1e-15)
    assert model.error < 1e-6


def test_no_cost_is_negative_and_no_better_point_is_near():
    generator = torch.Generator().manual_seed(1)
    noise = torch.rand(len(CALLS), generator=generator, dtype=torch.float64).tolist()
    observed = [
        Observation(t, p, r, (3e-6 * t - 1e-6 * p + 1e-8 * r) * (0.7 + 0.6 * u))
        for (t, p, r), u in zip(CALLS, noise, strict=True)
        if 3e-6 * t - 1e-6 * p > 0
    ]
    model = fit(observed)
    found = (model.tile, model.partial, model.row)

    def missed(costs):
        a, b, c = costs
        return sum(
            ((a * o.tiles + b * o.partial + c * o.rows) / o.seconds - 1) ** 2 for o in observed
        )

    assert min(found) >= 0
    for step in itertools.product((-1, 0, 1), repeat=3):
        near = tuple(
            max(0.0, x + s * h) for x, s, h in zip(found, step, (3e-9, 3e-9, 1e-11), strict=True)
        )
        assert missed(near) >= missed(found) * (1 - 1e-9)


def test_a_prediction_is_the_sum_over_tiles_masks_and_queries():
    report = simulate(Causal(), Context(128, 128, heads=2, kv_heads=2))
    assert (report.visited, report.partial, report.rows) == (6, 4, 256)
    model = CostModel(1.0, 0.1, 0.001, 0.0)
    assert model.seconds(report, batch=3) == pytest.approx(3 * (6 + 0.4 + 0.256))


def test_too_few_calls_are_refused():
    with pytest.raises(UserError, match="3 or more"):
        fit([Observation(1, 0, 1, 1.0)] * 2)


def test_calibration_counts_the_tiles_of_what_it_runs(monkeypatch):
    """With a clock that goes on by known costs of the call made, these costs come out."""
    now, costs = [0.0], CostModel(4e-6, 2e-6, 3e-8, 0.0)

    def pretended(q, k, v, *, pattern, backend):
        assert backend == "pretended" and q.dtype == torch.bfloat16 and q.shape[-1] == 32
        context = Context(q.shape[2], k.shape[2], heads=q.shape[1], kv_heads=k.shape[1])
        now[0] += costs.seconds(simulate(pattern, context))
        return q

    monkeypatch.setattr(cost, "attention", pretended)
    found = calibrate(
        "pretended",
        torch.bfloat16,
        width=32,
        kv_heads=2,
        seconds=0.0,
        clock=lambda: now[0],
    )
    assert (found.tile, found.partial, found.row) == pytest.approx((4e-6, 2e-6, 3e-8), rel=1e-5)


def test_calibration_of_a_real_backend_gives_costs():
    model = calibrate("reference", heads=1, seconds=0.0)
    assert min(model.tile, model.partial, model.row) >= 0 and model.tile + model.row > 0
