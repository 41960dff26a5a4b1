"""Best of n: the likeliest or the most frequent of several drawn answers."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.interventions import Plan, apply, parse
from lmms_causal.interventions.plan import Selection

FAMILIES = ["llava", "qwen2_vl", "gemma3", "llama", "gemma2"]
DOCUMENTS = ["a", "b", "c"]


def test_parameters_become_a_selection():
    plan = parse("best_of_n(n=5;temperature=0.7;by=majority;seed=3)").plan()
    assert plan == Plan(selection=Selection("best_of_n", 5, 0.7, "majority", seed=3))
    assert plan.touches_model and not plan.changes_logits


def drawn(run, n: int, settings: str = "", **arguments) -> list[list[list[int]]]:
    """What ``best_of_n`` draws, answer by answer and row by row: its own n-th draw is the last."""
    found = []
    inputs = run.inputs()
    original = run.model.generate

    def record(**kwargs):
        output = original(**kwargs)
        found.append(output.sequences[:, inputs["input_ids"].shape[1] :].tolist())
        return output

    run.model.generate = record
    try:
        spec = f"best_of_n(n={n};{settings})"
        with apply(run.model, spec) as handle, handle.request(documents=DOCUMENTS):
            answer = run.generate(inputs, **arguments).tolist()
    finally:
        del run.model.generate
    assert len(found) == n
    return [*found, answer]


def likelihood(run, row: int, tokens: list[int]) -> float:
    """Mean log-probability of an answer's tokens, from scratch."""
    inputs = run.inputs(run.prompts[row])
    each = [
        run.last(inputs, tokens[:step]).log_softmax(-1)[token].item()
        for step, token in enumerate(tokens)
    ]
    return sum(each) / len(each)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_likeliest_answer_is_kept(runs, family):
    run = runs(family)
    *answers, kept = drawn(run, 3)
    for row in range(3):
        own = [answer[row] for answer in answers]
        assert len({tuple(answer) for answer in own}) > 1, "the draws must differ"
        assert kept[row] == max(own, key=lambda tokens: likelihood(run, row, tokens))


@pytest.mark.parametrize("family", ["llava", "llama"])
def test_the_most_frequent_answer_is_kept(runs, family):
    run = runs(family)
    *answers, kept = drawn(run, 7, "by=majority;temperature=0.8", max_new_tokens=1)
    for row in range(3):
        counts = Counter(tuple(answer[row]) for answer in answers)
        assert counts[tuple(kept[row])] == max(counts.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_draws_depend_on_the_document_and_the_seed_alone(runs, family):
    run = runs(family)

    def answer(inputs, documents, spec="best_of_n(n=2)", **arguments):
        with apply(run.model, spec) as handle, handle.request(documents=documents):
            return run.generate(inputs, **arguments)

    together = answer(run.inputs(), DOCUMENTS)
    assert torch.equal(answer(run.inputs(), DOCUMENTS, use_cache=False), together)
    for row, prompt in enumerate(run.prompts):
        assert torch.equal(answer(run.inputs(prompt), DOCUMENTS[row : row + 1])[0], together[row])
    assert not torch.equal(answer(run.inputs(), ["d", "e", "f"]), together)
    assert not torch.equal(answer(run.inputs(), DOCUMENTS, "best_of_n(n=2;seed=1)"), together)


def test_at_a_low_temperature_the_greedy_answer_is_drawn(runs):
    run = runs("llava")
    expected = run.generate(run.inputs())
    with apply(run.model, "best_of_n(n=3;temperature=0.0001)"):
        assert torch.equal(run.generate(run.inputs()), expected)


def test_every_draw_is_counted_and_scores_are_untouched(runs):
    run = runs("llava")
    with torch.no_grad():
        plain = run.model(**run.inputs()).logits
        with apply(run.model, "best_of_n(n=3)") as handle:
            run.generate(run.inputs())
            assert handle.forward_passes == 3 * 3 * 4
            assert torch.equal(run.model(**run.inputs()).logits, plain)
        with apply(run.model, "best_of_n(n=3)+pai") as handle:
            run.generate(run.inputs())
            assert handle.forward_passes == 2 * 3 * 3 * 4


@pytest.mark.parametrize("family", FAMILIES)
def test_one_answer_is_the_one_the_caller_decodes(runs, family):
    assert parse("best_of_n(n=1)").plan() == Plan()
    runs(family).is_untouched_by("best_of_n(n=1)")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("best_of_n(n=0)", "n=0 must be 1 or more"),
        ("best_of_n(temperature=0)", "temperature=0.0 must be above 0"),
        ("best_of_n(by=vote)", "by=vote is not one of likelihood, majority"),
    ],
)
def test_bad_parameters_are_named(spec, message):
    with pytest.raises(UserError, match=message):
        parse(spec)
