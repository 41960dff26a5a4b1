"""The engine against a loop that recomputes every step of both branches from scratch."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LogitsProcessorList

from lmms_causal.interventions import Plan, apply
from lmms_causal.interventions.methods.vcd import VCD
from lmms_causal.interventions.plan import Branch, Increment, Signals
from lmms_causal.testing import Prompt, encode, family, names, picture, video

STEPS = 6
VIDEO = [name for name in names("vision") if family(name).video]


def appended(inputs: dict[str, Any], tokens: list[int]) -> dict[str, Any]:
    """The inputs of one prompt with answer tokens after it."""
    ids, answer = inputs["input_ids"], torch.tensor([tokens], dtype=torch.long)
    longer = dict(inputs)
    longer["input_ids"] = torch.cat([ids, answer], dim=1)
    for key, value in (("attention_mask", 1), ("token_type_ids", 0), ("mm_token_type_ids", 0)):
        if key in inputs:
            column = torch.full_like(answer, value).to(inputs[key].dtype)
            longer[key] = torch.cat([inputs[key], column], dim=1)
    return longer


@torch.no_grad()
def last_logits(model: Any, inputs: dict[str, Any], tokens: list[int]) -> Tensor:
    """Logits ``[V]`` after the answer tokens: one uncached forward pass of the stock model."""
    longer = appended(inputs, tokens) if tokens else inputs
    return model(**longer, use_cache=False).logits[0, -1].float()


def contrasted(factual: Tensor, noised: Tensor, alpha: float, beta: float) -> Tensor:
    """Equations 3 and 4 of the paper, the cutoff in its probability form."""
    logits = (1 + alpha) * factual - alpha * noised
    probabilities = factual.softmax(-1)
    logits[probabilities < beta * probabilities.max()] = -math.inf
    return logits


def reference(model: Any, inputs: Any, alpha: float, beta: float) -> tuple[list[int], Tensor]:
    """Greedy tokens and their logits ``[T, V]``, without cache, engine or generate."""
    factual_inputs = dict(inputs)
    noised_inputs = {**factual_inputs, **VCD().noised(inputs)}
    tokens: list[int] = []
    steps = []
    for _ in range(STEPS):
        factual = last_logits(model, factual_inputs, tokens)
        noised = last_logits(model, noised_inputs, tokens)
        steps.append(contrasted(factual, noised, alpha, beta))
        tokens.append(int(steps[-1].argmax()))
    return tokens, torch.stack(steps)


def generated(model: Any, inputs: Any, **arguments: Any) -> tuple[list[int], Tensor]:
    output = model.generate(
        **inputs,
        max_new_tokens=STEPS,
        do_sample=False,
        return_dict_in_generate=True,
        output_logits=True,
        **arguments,
    )
    tokens = output.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    return tokens, torch.cat(output.logits)


def question(name: str, *, of: str = "image") -> Prompt:
    if of == "video":
        return Prompt("What happens?", videos=(video(1),))
    return Prompt("Is there a red ball?", (picture(3, 60, 44),))


@pytest.mark.parametrize(
    ("name", "of"),
    [(name, "image") for name in names("vision")] + [(name, "video") for name in VIDEO],
)
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.1), (6.0, 0.0)])
def test_generation_equals_recomputing_both_branches_at_every_step(tiny, name, of, alpha, beta):
    model, processor = tiny(name)
    inputs = encode(processor, [question(name, of=of)])
    tokens, logits = reference(model, inputs, alpha, beta)
    with apply(model, f"vcd(alpha={alpha};beta={beta})"):
        result, result_logits = generated(model, inputs)
    assert result == tokens
    torch.testing.assert_close(result_logits, logits, atol=1e-4 * (1 + alpha), rtol=1e-4)
    plain, _ = generated(model, inputs)
    if (alpha, of) == (6.0, "image"):
        assert result != plain, "the example must be one that the contrast changes"


@pytest.mark.parametrize("name", names("vision"))
def test_the_second_branch_keeps_its_own_past(tiny, name):
    # The released code reused the factual cache after the first token: c equalled l from then on.
    model, processor = tiny(name)
    inputs = encode(processor, [question(name)])
    seen: list[tuple[Tensor, Tensor]] = []

    def record(signals: Signals) -> Tensor:
        seen.append((signals.factual, signals.branches["noised"]))
        return torch.zeros_like(signals.factual)

    branch = Branch("noised", media=VCD(noise_step=999).noised)
    plan = Plan((branch,), (Increment("record", record, branches=("noised",)),))
    with apply(model, plan):
        tokens, _ = generated(model, inputs)
    assert tokens == generated(model, inputs)[0]
    noised_inputs = {**inputs, **VCD(noise_step=999).noised(inputs)}
    assert len(seen) == STEPS
    for step, (factual, noised) in enumerate(seen):
        assert (factual - noised).abs().max() > 1e-3
        expected = last_logits(model, noised_inputs, tokens[:step])
        torch.testing.assert_close(noised[0, -1], expected, atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize("name", names("vision"))
def test_scoring_the_greedy_answer_finds_it_best_at_every_position(tiny, name):
    model, processor = tiny(name)
    inputs = encode(processor, [question(name)])
    length = inputs["input_ids"].shape[1]
    with apply(model, "vcd(alpha=1.5;beta=0)"), torch.no_grad():
        tokens, logits = generated(model, inputs)
        scored = model(**appended(inputs, tokens)).logits[0, length - 1 : -1]
    assert scored.argmax(-1).tolist() == tokens
    torch.testing.assert_close(scored, logits, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", names("vision"))
def test_scoring_equals_the_formula_with_finite_values_everywhere(tiny, name):
    model, processor = tiny(name)
    inputs = appended(encode(processor, [question(name)]), [5, 17, 40])
    with torch.no_grad():
        factual = model(**inputs).logits
        noised = model(**{**inputs, **VCD().noised(inputs)}).logits
        with apply(model, "vcd(alpha=1;beta=0.1)"):
            scored = model(**inputs).logits
    kept = factual.softmax(-1) >= 0.1 * factual.softmax(-1).amax(-1, keepdim=True)
    expected = 2 * factual - noised
    torch.testing.assert_close(scored[kept], expected[kept], atol=1e-5, rtol=1e-5)
    assert scored.isfinite().all()
    worst_kept = expected.masked_fill(~kept, math.inf).amin(-1)
    best_excluded = scored.masked_fill(kept, -math.inf).amax(-1)
    torch.testing.assert_close(best_excluded, worst_kept - 20, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", names("vision"))
def test_the_same_picture_in_both_branches_gives_the_factual_logits(tiny, name):
    model, processor = tiny(name)
    inputs = encode(processor, [question(name)])
    vcd = VCD(alpha=3.0, beta=0.05)
    plan = replace(vcd.plan(), branches=(Branch("noised", media=lambda inputs: {}),))
    with torch.no_grad():
        factual = model(**inputs).logits
        plain = generated(model, inputs)
        with apply(model, plan):
            scored = model(**inputs).logits
            same = generated(model, inputs)
    kept = factual >= factual.amax(-1, keepdim=True) + math.log(0.05)
    torch.testing.assert_close(scored[kept], factual[kept], atol=1e-5, rtol=1e-5)
    assert same[0] == plain[0]
    finite = same[1].isfinite()
    torch.testing.assert_close(same[1][finite], plain[1][finite], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", names("vision"))
def test_more_noise_moves_the_branch_further_from_the_factual_logits(tiny, name):
    model, processor = tiny(name)
    inputs = encode(processor, [question(name)])
    distances = []
    with torch.no_grad():
        factual = model(**inputs).logits[0, -1]
        for step in (0, 999):
            with apply(model, f"vcd(alpha=1;beta=0;noise_step={step})"):
                distances.append((model(**inputs).logits[0, -1] - factual).abs().max().item())
    assert distances[0] < 0.1 * factual.std().item() < distances[1]


def test_processors_see_the_combined_logits(tiny):
    # As in the papers: combine first, then repetition penalty and the like.
    model, processor = tiny("llava")
    inputs = encode(processor, [question("llava")])
    noised_inputs = {**inputs, **VCD().noised(inputs)}
    seen: list[tuple[Tensor, Tensor]] = []

    def record(ids: Tensor, scores: Tensor) -> Tensor:
        seen.append((ids[0], scores[0].clone()))
        return scores

    with apply(model, "vcd(alpha=1;beta=0)"):
        tokens, _ = generated(
            model, inputs, repetition_penalty=3.0, logits_processor=LogitsProcessorList([record])
        )
    assert len(seen) == STEPS
    for step, (ids, scores) in enumerate(seen):
        factual = last_logits(model, inputs, tokens[:step])
        combined = contrasted(factual, last_logits(model, noised_inputs, tokens[:step]), 1.0, 0.0)
        value = combined[ids]
        combined[ids] = torch.where(value < 0, value * 3.0, value / 3.0)
        torch.testing.assert_close(scores, combined, atol=3e-4, rtol=1e-4)


def test_sampling_draws_from_the_contrasted_distribution(tiny):
    model, processor = tiny("qwen2_vl")
    inputs = encode(processor, [question("qwen2_vl")])
    noised_inputs = {**inputs, **VCD().noised(inputs)}
    torch.manual_seed(11)
    expected: list[int] = []
    for _ in range(STEPS):
        factual = last_logits(model, inputs, expected)
        noised = last_logits(model, noised_inputs, expected)
        probabilities = (contrasted(factual, noised, 1.0, 0.1) / 0.7).softmax(-1)
        expected.append(int(torch.multinomial(probabilities[None], 1)))
    with apply(model, "vcd(alpha=1;beta=0.1)"):
        torch.manual_seed(11)
        output = model.generate(
            **inputs, max_new_tokens=STEPS, do_sample=True, temperature=0.7, top_k=0, top_p=1.0
        )
    assert output[0, inputs["input_ids"].shape[1] :].tolist() == expected
    assert expected != reference(model, inputs, 1.0, 0.1)[0], "the draw must matter here"


def test_beam_score_is_the_contrasted_log_probability_of_its_answer(tiny):
    model, processor = tiny("llava")
    inputs = encode(processor, [question("llava")])
    noised_inputs = {**inputs, **VCD().noised(inputs)}
    with apply(model, "vcd(alpha=1;beta=0)"):
        output = model.generate(
            **inputs,
            max_new_tokens=STEPS,
            num_beams=4,
            num_return_sequences=4,
            do_sample=False,
            return_dict_in_generate=True,
            output_scores=True,
        )
    length = inputs["input_ids"].shape[1]
    for sequence, score in zip(output.sequences, output.sequences_scores, strict=True):
        tokens = sequence[length:].tolist()
        total = 0.0
        for step, token in enumerate(tokens):
            factual = last_logits(model, inputs, tokens[:step])
            noised = last_logits(model, noised_inputs, tokens[:step])
            total += (2 * factual - noised).log_softmax(-1)[token].item()
        assert score.item() == pytest.approx(total / len(tokens), abs=1e-4)
    assert output.sequences_scores[0] == output.sequences_scores.max()
