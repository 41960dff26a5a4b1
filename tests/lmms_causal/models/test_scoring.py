"""Log-likelihoods against one unpadded forward pass per candidate, summed token by token."""

from __future__ import annotations

import math

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.interventions import apply
from lmms_causal.interventions.edits.logits import SCORING_FLOOR
from lmms_causal.interventions.plan import Plan
from lmms_causal.models.prompts import Encoder
from lmms_causal.models.runner import Runner
from lmms_causal.testing import names

FAMILIES = ["llava", "qwen2_5_vl", "qwen3_vl", "gemma3", "idefics3", "internvl", "llama", "gemma2"]
QUESTIONS = ("Is there a red ball?", "Why did the glass fall? Answer the question.", "Why?")
CANDIDATES = (" yes", " no", " A", " the wind caused it", " the wind", " because of the boy")


def reference(runner, prompt, candidate):
    """``(sum of log p, tokens, greedy)`` from the definition: whole text, batch of one, float64."""
    tokenizer, model = runner.encoder.tokenizer, runner.model
    added = tokenizer(candidate, add_special_tokens=False)["input_ids"]
    inputs = dict(runner.encoder.encode([prompt]))
    length = inputs["input_ids"].shape[1]
    row = torch.tensor([added])
    inputs["input_ids"] = torch.cat([inputs["input_ids"], row], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    for name in ("token_type_ids", "mm_token_type_ids"):
        if name in inputs:
            inputs[name] = torch.cat([inputs[name], torch.zeros_like(row)], dim=1)
    with torch.no_grad():
        logits = model(**inputs).logits[0].double()
    steps = logits[length - 1 : -1]
    total = sum(
        (step[token] - step.logsumexp(dim=-1)).item()
        for step, token in zip(steps, added, strict=True)
    )
    return total, len(added), steps.argmax(dim=-1).tolist() == added


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_candidate_scores_as_in_a_forward_pass_of_its_own(runner, ask, name, batch_size):
    runner = runner(name, batch_size=batch_size)
    pairs = [
        (ask(runner.encoder, question, images=index % 2, key=f"t/{index}"), candidate)
        for index, question in enumerate(QUESTIONS)
        for candidate in CANDIDATES
    ]
    scores = runner.score(*zip(*pairs, strict=True))
    for (prompt, candidate), score in zip(pairs, scores, strict=True):
        total, tokens, greedy = reference(runner, prompt, candidate)
        assert score.log_probability == pytest.approx(total, abs=2e-4 * tokens)
        assert (score.tokens, score.is_greedy) == (tokens, greedy)
        assert score.mean_loss == pytest.approx(-total / tokens, abs=2e-4)


@pytest.mark.parametrize("name", ["llava", "llama"])
def test_single_token_candidates_of_a_document_share_one_forward_pass(runner, ask, name):
    runner = runner(name)
    prompts = [ask(runner.encoder, question, key=f"t/{question}") for question in QUESTIONS]
    runner.score([p for p in prompts for _ in range(4)], [" A", " B", " C", " D"] * len(prompts))
    assert (runner.cost.forward_passes, runner.cost.requests) == (3, 12)


def test_the_greedy_continuation_is_recognised(runner, ask):
    runner = runner("llama")
    prompt = ask(runner.encoder, QUESTIONS[0])
    inputs = runner.encoder.encode([prompt])
    ids = runner.model.generate(**inputs, max_new_tokens=6)[0, inputs["input_ids"].shape[1] :]
    tokenizer = runner.encoder.tokenizer
    # a text whose tokens are the greedy ones; the longest such prefix of the answer
    greedy = next(
        tokenizer.decode(ids[:n])
        for n in range(6, 0, -1)
        if tokenizer(tokenizer.decode(ids[:n]), add_special_tokens=False)["input_ids"]
        == ids[:n].tolist()
    )
    hit, miss = runner.score([prompt, prompt], [greedy, greedy + " the wind"])
    assert hit.is_greedy and not miss.is_greedy


def test_models_with_learned_positions_score_alike_in_a_padded_batch(ask):
    """Rotary models do not mind shifted positions; these do."""
    from transformers import GPT2Config, GPT2LMHeadModel

    from lmms_causal.testing import build

    _, tokenizer = build("llama")
    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = GPT2Config(vocab_size=len(tokenizer), **sizes, **ends)
    model = GPT2LMHeadModel(config).eval()
    torch.nn.init.normal_(model.transformer.wpe.weight, std=1.0)
    encoder = Encoder(tokenizer)
    scores = []
    for batch_size in (1, 3):
        runner = Runner(model, encoder, Plan(), batch_size=batch_size, quiet=True)
        pairs = [(ask(encoder, q, key=q), " the wind") for q in QUESTIONS]
        scores.append([score.log_probability for score in runner.score(*zip(*pairs, strict=True))])
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "gemma3", "idefics3"])
@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_vcd_scores_by_its_formula_from_two_independent_passes(runner, ask, name, beta):
    """Eq. 3 and 4 of VCD in float64 on plain forwards; excluded tokens 20 nats below the kept."""
    runner = runner(name, f"vcd(alpha=0.7;beta={beta};noise_step=600)", batch_size=5)
    prompts = [ask(runner.encoder, question, key=question) for question in QUESTIONS]
    pairs = [(prompt, candidate) for prompt in prompts for candidate in CANDIDATES]
    scores = runner.score(*zip(*pairs, strict=True))
    assert all(math.isfinite(score.log_probability) for score in scores)
    noised = runner._handle.plan.branches[0].media
    runner.close()
    for (prompt, candidate), score in zip(pairs, scores, strict=True):
        added = runner.encoder.tokenizer(candidate, add_special_tokens=False)["input_ids"]
        inputs = dict(runner.encoder.encode([prompt]))
        row = torch.tensor([added])
        length = inputs["input_ids"].shape[1]
        inputs["input_ids"] = torch.cat([inputs["input_ids"], row], dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        for kind in ("token_type_ids", "mm_token_type_ids"):
            if kind in inputs:
                inputs[kind] = torch.cat([inputs[kind], torch.zeros_like(row)], dim=1)
        with torch.no_grad():
            factual = runner.model(**inputs).logits[0, length - 1 : -1].double()
            other = runner.model(**{**inputs, **noised(inputs)}).logits[0, length - 1 : -1].double()
        total = 0.0
        for real, counter, token in zip(factual, other, added, strict=True):
            combined = 1.7 * real - 0.7 * counter
            kept = real >= real.max() + math.log(beta) if beta else torch.ones_like(real) > 0
            floor = combined[kept].min() - SCORING_FLOOR
            if not kept.all():
                combined[~kept] = floor + real[~kept] - real[~kept].max()
            total += (combined[token] - combined.logsumexp(dim=-1)).item()
        assert score.log_probability == pytest.approx(total, abs=1e-3 * len(added))


def test_with_vcd_a_score_does_not_depend_on_what_else_is_scored(runner, ask):
    """One counterfactual a document: its noise follows from the picture alone."""
    values = []
    for batch_size, order in ((1, 1), (4, -1)):
        made = runner("llava", "vcd(alpha=1.0;beta=0.1)", batch_size=batch_size)
        prompts = [ask(made.encoder, question, key=question) for question in QUESTIONS]
        pairs = [(prompt, candidate) for prompt in prompts for candidate in CANDIDATES][::order]
        values.append(
            [score.log_probability for score in made.score(*zip(*pairs, strict=True))][::order]
        )
        made.close()
    assert values[0] == pytest.approx(values[1], abs=5e-4)


def test_a_blank_at_the_end_of_the_prompt_is_scored_with_the_continuation(runner, ask):
    """``"Answer: " + "A"`` and ``"Answer:" + " A"`` are one text, and get one score."""
    from dataclasses import replace

    runner = runner("llama")
    prompt = ask(runner.encoder, QUESTIONS[0])
    bare, blank = (replace(prompt, text=prompt.text + end) for end in ("Answer:", "Answer: "))
    split, joined = runner.score([bare, blank], [" A", "A"])
    assert split == joined


def test_an_empty_continuation_is_refused(runner, ask):
    runner = runner("llama")
    with pytest.raises(UserError, match="adds no token"):
        runner.score([ask(runner.encoder, "Why?", key="task/3")], [""])


@pytest.mark.parametrize("name", names("vision"))
def test_the_identity_plan_is_bit_exact(runner, ask, name):
    """Off is absent: no plan, and logits ``torch.equal`` to the plain model's."""
    runner = runner(name)
    inputs = runner.encoder.encode([ask(runner.encoder, QUESTIONS[0])])
    with torch.no_grad():
        plain = runner.model(**inputs).logits
        for spec in (None, "none", "", "vcd(alpha=0;beta=0)"):
            with apply(runner.model, spec) as handle:
                assert torch.equal(runner.model(**inputs).logits, plain)
                assert handle.forward_passes == 0


def test_a_text_prompt_makes_room_for_what_is_scored():
    """Learned positions end where the model's do; beyond them there is nothing to look up."""
    from transformers import GPT2Config, GPT2LMHeadModel

    from lmms_causal.models.prompts import Prompt
    from lmms_causal.testing import build

    _, tokenizer = build("llama")
    torch.manual_seed(0)
    shape = {"n_positions": 16, "n_embd": 8, "n_layer": 1, "n_head": 1}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **shape)).eval()
    runner = Runner(model, Encoder(tokenizer), Plan(), quiet=True)
    prompt = Prompt("Why did the glass fall? Why did the boy see it? Why?", key="toy/0")
    (score,) = runner.score([prompt], [" because the wind"])

    tokens = tokenizer(prompt.text)["input_ids"]
    added = tokenizer(" because the wind", add_special_tokens=False)["input_ids"]
    assert len(tokens) > 16
    row = torch.tensor([(tokens + added)[-17:]])
    logits = model(row[:, :-1]).logits[0].log_softmax(-1)
    expected = sum(logits[-len(added) + i, token].item() for i, token in enumerate(added))
    assert score.log_probability == pytest.approx(expected, abs=1e-5)
