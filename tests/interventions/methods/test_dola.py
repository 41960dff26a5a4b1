"""DoLa: the last layer against an early one, chosen by divergence at every token."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import transformers as tr
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions import apply, parse
from lmms_causal.interventions.methods.dola import (
    DoLa,
    candidates,
    jensen_shannon,
    released_divergence,
)
from lmms_causal.interventions.plan import Signals
from lmms_causal.testing.sizes import text_sizes
from lmms_causal.testing.weights import randomise

ALL = ["llava", "qwen2_vl", "gemma3", "llama", "gemma2"]


@pytest.mark.parametrize(
    ("depth", "half", "tied", "states"),
    [
        (32, "low", False, range(0, 16, 2)),
        (32, "high", False, range(16, 32, 2)),
        (40, "low", False, range(0, 20, 2)),
        (60, "low", False, range(0, 20, 2)),
        (80, "high", False, range(60, 80, 2)),
        (26, "low", True, range(2, 13, 2)),
        (26, "high", True, range(13, 26, 2)),
        (4, "low", True, [2]),
        (2, "low", True, [1]),
        (1, "low", True, [0]),
        (1, "high", False, [0]),
    ],
)
def test_candidates_are_those_of_the_released_code(depth, half, tied, states):
    assert list(candidates(depth, half, tied)) == list(states)
    assert {state - 1 for state in states} <= set(DoLa(layers=half).read(depth))


def test_divergences_by_hand():
    first = torch.tensor([0.8, 0.1, 0.1]).log()
    second = torch.tensor([0.1, 0.8, 0.1]).log()  # mean .45 .45 .1
    assert jensen_shannon(first, second).item() == pytest.approx(
        0.8 * math.log(0.8 / 0.45) + 0.1 * math.log(0.1 / 0.45), abs=1e-6
    )
    assert released_divergence(first, second).item() == pytest.approx(
        0.45 * math.log(0.45 / 0.8) + 0.45 * math.log(0.45 / 0.1), abs=1e-6
    )
    assert jensen_shannon(first, first).item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize(("divergence", "state"), [("js", 0), ("release", 2)])
def test_exchanged_arguments_choose_another_state(divergence, state):
    # Little moved to where nothing was counts for more when the arguments are exchanged.
    factual = torch.tensor([0.8, 0.1, 0.1]).log()
    early = {0: torch.tensor([0.1, 0.8, 0.1]), 2: torch.tensor([0.8, 0.2, 1e-12])}
    signals = Signals(
        factual[None, None],
        {},
        None,
        8,
        lambda layer, normalise: early[layer + 1].log()[None, None] + 7,  # any constant
        (0,),
        False,
    )
    increment = DoLa(layers="low", divergence=divergence).increment(signals)[0, 0]
    torch.testing.assert_close(increment, -early[state].log(), atol=1e-5, rtol=1e-5)


def released(run: Any, half: str, tied: bool, divergence: str, beta: float) -> Any:
    """The difference of log-probabilities as the released code forms it, for one prompt."""
    chosen: set[int] = set()

    @torch.no_grad()
    def expected(factual: Tensor, inputs: dict[str, Any], tokens: list[int]) -> Tensor:
        longer = run.appended(inputs, [tokens])
        states = run.model(**longer, use_cache=False, output_hidden_states=True).hidden_states
        depth = len(states) - 1
        mature = factual.double().softmax(-1)
        found = []
        for state in candidates(depth, half, tied):
            logits = run.model.get_output_embeddings()(states[state][0, -1])
            cap = getattr(run.model.config.get_text_config(), "final_logit_softcapping", None)
            early = (torch.tanh(logits / cap) * cap if cap else logits).double().softmax(-1)
            middle = (mature + early) / 2
            if divergence == "js":
                distance = mature @ (mature / middle).log() + early @ (early / middle).log()
            else:
                distance = middle @ (middle / mature).log() + middle @ (middle / early).log()
            found.append((distance.item(), state, early))
        _, state, early = max(found, key=lambda entry: entry[0])
        chosen.add(state)
        logits = (mature.log() - early.log()).float()
        return logits.masked_fill(mature < beta * mature.max(), -math.inf)

    expected.chosen = chosen  # type: ignore[attr-defined]
    return expected


@pytest.mark.parametrize("family", ALL)
@pytest.mark.parametrize("half", ["low", "high"])
def test_every_step_is_the_difference_to_the_early_state(runs, family, half):
    run = runs(family)
    run.follows(f"dola(layers={half})", released(run, half, False, "js", 0.1))


def deep(runs: Any, **changes: Any) -> Any:
    """A llama of eight layers, so that there is something to choose."""
    tokenizer = runs("llama").tokenizer
    config = tr.LlamaConfig(**text_sizes(tokenizer, num_hidden_layers=8, **changes))
    model = tr.LlamaForCausalLM(config).eval()
    randomise(model)
    if config.tie_word_embeddings:  # as a head they would have logits of several hundreds
        model.get_input_embeddings().weight.data *= 0.5
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return runs("llama", model=model)


@pytest.mark.parametrize("divergence", ["js", "release"])
@pytest.mark.parametrize("half", ["low", "high"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_the_state_is_chosen_at_every_token_of_every_row(runs, half, tied, divergence):
    run = deep(runs, tie_word_embeddings=tied)
    expected = released(run, half, tied, divergence, 0.0)
    run.follows(f"dola(layers={half};relative_top=0;divergence={divergence})", expected)
    assert expected.chosen <= set(candidates(8, half, tied))
    if half == "high":
        assert len(expected.chosen) > 1, "the example must be one where the choice varies"


@pytest.mark.parametrize("family", ALL)
def test_all_ways_of_running_agree(runs, family):
    runs(family).agrees("dola(relative_top=0.01)")


def test_embeddings_are_no_candidate_where_the_head_repeats_them(runs):
    run = deep(runs, tie_word_embeddings=True)
    inputs = run.inputs(run.prompts[2])
    as_if_untied = released(run, "low", False, "js", 0.0)
    as_if_untied(run.last(inputs, []), inputs, [])
    assert as_if_untied.chosen == {0}, "the example must be one where they would be chosen"
    expected = released(run, "low", True, "js", 0.0)
    with apply(run.model, "dola(layers=low;relative_top=0)"), torch.no_grad():
        found = run.model(**inputs).logits[0, -1].log_softmax(-1)
    wanted = expected(run.last(inputs, []), inputs, []).log_softmax(-1)
    assert expected.chosen == {2}
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-4)


def test_all_ways_of_running_agree_where_there_is_a_choice(runs):
    deep(runs).agrees("dola(layers=low;relative_top=0.01)")


def test_no_further_pass_is_run(runs):
    run = runs("llama")
    with apply(run.model, "dola") as handle:
        run.generate(run.inputs())
    assert handle.forward_passes == 3 * 4


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("dola(relative_top=2)", r"relative_top=2.0 must lie in 0\.\.1"),
        ("dola(layers=middle)", "layers=middle is not one of high, low"),
        ("dola(divergence=kl)", "divergence=kl is not one of js, release"),
    ],
)
def test_bad_parameters_are_named(spec, message):
    with pytest.raises(UserError, match=message):
        parse(spec)
