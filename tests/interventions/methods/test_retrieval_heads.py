"""Retrieval heads: which they are by a file of scores, and what becomes of them or of others."""

from __future__ import annotations

import json

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.interventions import Plan, apply, parse
from lmms_causal.interventions.attention.observing import observing
from lmms_causal.interventions.methods.retrieval_heads import RetrievalHeads
from lmms_causal.interventions.pinned import pin

IDS = torch.tensor([[5, 9, 13, 30, 31, 32, 33, 7, 21, 11, 17, 40]])
STEPS = 3
SCORES = {  # 3 of 8 heads above 0.1 on average
    "0-0": [0.0, 0.1],
    "0-1": [0.5, 0.7],
    "0-2": [0.0, 0.0],
    "0-3": [0.1, 0.1],
    "1-0": [0.9, 0.1],
    "1-1": [],
    "1-2": [0.0, 0.3],
    "1-3": [0.05, 0.0],
}


@pytest.fixture
def scores(tmp_path):
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(SCORES) + "\n")
    return pin(path)


def chosen(**parameters):
    return set(RetrievalHeads(**parameters).chosen().by_layer)


def test_heads_above_the_threshold_or_the_best(scores):
    assert chosen(scores=scores) == {(0, 1), (1, 0), (1, 2)}
    assert chosen(scores=scores, threshold=0.3) == {(0, 1), (1, 0)}
    assert chosen(scores=scores, top=1) == {(0, 1)}
    # 0.1 is not above 0.1; of equal scores the earlier head comes first
    assert chosen(scores=scores, top=5) == {(0, 1), (1, 0), (1, 2), (0, 3), (0, 0)}


def test_several_lines_are_several_runs(tmp_path):
    path = tmp_path / "scores.jsonl"
    path.write_text('{"0-0": [0.0], "0-1": 0.3}\n\n{"0-0": [0.3, 0.3], "0-1": [0.0]}\n')
    assert chosen(scores=pin(path), threshold=0.17) == {(0, 0)}  # 0.2, and 0.15


def test_the_control_draws_as_many_of_the_others(scores):
    others = {(0, 0), (0, 2), (0, 3), (1, 3)}  # 1-1 has no score
    drawn = [frozenset(chosen(scores=scores, random=seed)) for seed in range(40)]
    assert all(len(it) == 3 and it <= others for it in drawn)
    assert len(set(drawn)) == 4, "every choice of 3 of the 4 comes up"
    assert chosen(scores=scores, random=7) == chosen(scores=scores, random=7)
    # with fewer masked, the other retrieval heads are no control either
    assert all(chosen(scores=scores, random=seed, top=1) <= others for seed in range(40))
    # with more masked than are above the threshold, what is chosen is left out
    with pytest.raises(UserError, match=r"needs 5 other heads, and scores=.* has 2"):
        chosen(scores=scores, random=1, top=5)


def test_the_files_order_does_not_matter_to_the_control(scores, tmp_path):
    path = tmp_path / "other.json"
    path.write_text(json.dumps(dict(reversed(SCORES.items()))))
    for seed in range(10):
        assert chosen(scores=scores, random=seed) == chosen(scores=pin(path), random=seed)


def test_the_authors_models_by_name():
    best = chosen(scores="llama-2-7b-80k", top=3)
    assert best == {(16, 19), (11, 15), (8, 26)}
    assert len(chosen(scores="Qwen1.5-14B")) == 6
    with pytest.raises(UserError, match="random=1 draws from all heads"):
        chosen(scores="llama-2-7b-80k", random=1)
    with pytest.raises(UserError, match=r"cannot read the file.*did you mean 'Yi-6B-200K'"):
        chosen(scores="Yi-6B-200")


def watched(model, processor, spec):
    calls = []
    with (
        apply(model, spec, processor) as handle,
        observing(handle.adapter.attention, lambda layer, call: calls.append((layer, call))),
    ):
        model.generate(input_ids=IDS, max_new_tokens=STEPS, do_sample=False)
    return calls


@pytest.mark.parametrize(("queries", "prompt_rows"), [("predicting", [-1]), ("generated", [])])
def test_they_attend_uniformly_where_the_answer_is_predicted(queries, prompt_rows, scores, tiny):
    model, processor = tiny("llama")
    heads = {0: [1], 1: [0, 2]}
    for number, (layer, call) in enumerate(
        watched(model, processor, f"retrieval_heads(scores={scores};queries={queries})")
    ):
        expected = call.plain()[0].clone()
        for row in prompt_rows if number < 2 else [0]:
            for head in heads[layer]:
                expected[row, head] = call.value[0, head // 2].mean(dim=0)
        torch.testing.assert_close(call.output[0], expected, atol=1e-6, rtol=1e-5)


def test_the_control_leaves_the_retrieval_heads(scores, tiny):
    model, processor = tiny("llama")
    spec = f"retrieval_heads(scores={scores};random=3;ablation=zero;queries=all)"
    control = chosen(scores=scores, random=3)
    for layer, call in watched(model, processor, spec):
        plain = call.plain()
        for head in range(4):
            gone = (layer, head) in control
            expected = torch.zeros_like(plain[:, :, head]) if gone else plain[:, :, head]
            assert torch.equal(call.output[:, :, head], expected)


def test_none_of_them_is_no_intervention(scores):
    assert parse(f"retrieval_heads(scores={scores};top=0)").plan() == Plan()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "scores=None and heads=None must be one or the other"),
        ("scores={};heads=1.0", "must be one or the other"),
        ("heads=1.0;random=3", "top=None and random=3 must come with scores"),
        ("scores={};top=-1", "top=-1 must be 0 or more"),
        ("scores={};top=9", "top=9 must be at most 7, the heads in scores"),
        ("scores={};threshold=0.9", "no head in scores=.* is above threshold=0.9"),
        ("scores={};ablation=mean", "ablation=mean must come with table"),
        ("scores=scores.json", "cannot read the file of head scores"),
    ],
)
def test_bad_parameters_are_refused(arguments, message, scores):
    with pytest.raises(UserError, match=message):
        parse(f"retrieval_heads({arguments.format(scores)})")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"0.1": [1]}', "line 1 is not of the form"),
        ('{"0-1": [1]}\n[1]', "line 2 is not of the form"),
        ('{"0-1": ["high"]}', "line 1 is not of the form"),
        ("layer,head,score", "line 1 is not of the form"),
        ('{"0-1": []}', "has no scores"),
        ("", "has no scores"),
    ],
)
def test_files_of_another_form_are_refused(content, message, tmp_path):
    path = tmp_path / "scores.json"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        parse(f"retrieval_heads(scores={pin(path)})")


def test_a_file_must_be_pinned(scores):
    name = scores.partition("#")[0]
    with pytest.raises(UserError, match=r"must be pinned; write scores=.*#[0-9a-f]{8}"):
        parse(f"retrieval_heads(scores={name})")


def test_scores_of_another_model_are_refused(tiny):
    model, processor = tiny("llama")
    with pytest.raises(UserError, match="goes beyond its 4 query heads"):
        apply(model, "retrieval_heads(scores=llama-2-7b-80k)", processor)
