"""PINE on every family: the order of segments has no effect on scores and answers."""

from __future__ import annotations

import itertools

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.interventions import apply
from lmms_causal.interventions.parts import PromptParts
from lmms_causal.testing import names

PREFIX, SUFFIX = [5, 9, 13], [7, 21, 11, 17]
SEGMENTS = ([30, 31, 32], [33, 34, 35, 36, 37], [38, 39], [40, 41, 42, 43])


def asked(order, segments=SEGMENTS, prefix=PREFIX, suffix=SUFFIX):
    """A row of ids with its segments in some order, and where they are."""
    ids, spans = list(prefix), []
    for index in order:
        spans.append((len(ids), len(ids) + len(segments[index])))
        ids += segments[index]
    return ids + suffix, PromptParts(segments=(tuple(spans),))


def batch(rows):
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([[0] * (width - len(row)) + row for row, _ in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row, _ in rows])
    return {"input_ids": ids, "attention_mask": mask}, [parts for _, parts in rows]


def logits(handle, model, rows, count=4):
    inputs, parts = batch(rows)
    length = inputs["input_ids"].shape[1]
    with handle.request(parts=parts, prompt_length=length), torch.no_grad():
        return model(**inputs).logits[:, -count:]


@pytest.mark.parametrize("family", names())
def test_permuted_segments_leave_logits_and_answers(family, tiny):
    model, processor = tiny(family)
    orders = list(itertools.permutations(range(4)))[::5]
    with apply(model, "pine", processor) as handle:
        plain = [logits(handle, model, [asked(order)]) for order in orders]
        spread = max((it - plain[0]).abs().max() for it in plain)
        assert spread < 1e-5 * max(1.0, float(plain[0].abs().max()))
        answers = []
        for order in itertools.permutations(range(4)):
            inputs, parts = batch([asked(order)])
            with handle.request(parts=parts):
                made = model.generate(**inputs, max_new_tokens=6, do_sample=False)
            answers.append(made[0, -6:].tolist())
        assert all(answer == answers[0] for answer in answers)
    stock = [model(**batch([asked(order)])[0]).logits[:, -4:] for order in orders]
    assert max((it - stock[0]).abs().max() for it in stock) > 1e-3, "the plain model does mind"


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "gemma3", "llama", "phi", "mistral"])
def test_batches_caches_and_scores_agree(family, tiny):
    model, processor = tiny(family)
    rows = [asked((0, 1, 2, 3)), asked((2, 0), prefix=PREFIX[:1]), (SUFFIX * 3, PromptParts())]
    with apply(model, "pine", processor) as handle:
        alone = [logits(handle, model, [row]) for row in rows]
        torch.testing.assert_close(
            logits(handle, model, rows), torch.cat(alone), atol=2e-5, rtol=1e-5
        )
        inputs, parts = batch(rows)
        with handle.request(parts=parts):
            options = {"max_new_tokens": 5, "do_sample": False, "output_logits": True}
            options["return_dict_in_generate"] = True
            cached = model.generate(**inputs, **options)
            whole = model.generate(**inputs, **options, use_cache=False)
        for step, (a, b) in enumerate(zip(cached.logits, whole.logits, strict=True)):
            torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-5, msg=f"step {step}")


def test_one_segment_and_none_are_the_plain_model(tiny):
    model, processor = tiny("llama")
    with apply(model, "pine", processor) as handle:
        one = logits(handle, model, [asked((1,))])
        none = logits(handle, model, [(asked((1,))[0], PromptParts())])
    inputs, _ = batch([asked((1,))])
    stock = model(**inputs).logits[:, -4:]
    torch.testing.assert_close(one, stock, atol=5e-6, rtol=0)
    assert torch.equal(none, stock)


def test_branches_are_invariant_too(tiny):
    model, processor = tiny("llama")
    with apply(model, "pine+cfg(negative=prompt)+dola", processor) as handle:
        found = [logits(handle, model, [asked(order)], 1) for order in ((0, 1, 2), (2, 1, 0))]
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-4)


def test_beams_are_invariant(tiny):
    model, processor = tiny("qwen2")
    with apply(model, "pine", processor) as handle:
        answers = []
        for order in ((0, 1, 2, 3), (3, 1, 0, 2)):
            inputs, parts = batch([asked(order), asked(order[:2])])
            with handle.request(parts=parts):
                answers.append(model.generate(**inputs, max_new_tokens=5, num_beams=3)[0, -5:])
    assert torch.equal(*answers)


def test_frequencies_that_change_with_length_are_refused(tiny):
    model, processor = tiny("llama")
    parameters = model.config.rope_parameters
    try:
        model.config.rope_parameters = {**parameters, "rope_type": "dynamic", "factor": 2.0}
        with pytest.raises(UserError, match="dynamic"):
            apply(model, "pine", processor)
    finally:
        model.config.rope_parameters = parameters


@pytest.mark.parametrize("family", ["llama", "qwen2_5_vl"])
def test_segments_of_the_same_words_do_not_fall_back_on_prompt_order(family, tiny):
    model, processor = tiny(family)
    twins = ([30, 31, 32, 33], [32, 33, 30, 31], [33, 31, 30, 32])
    with apply(model, "pine", processor) as handle:
        found = [
            logits(handle, model, [asked(order, twins)])
            for order in itertools.permutations(range(3))
        ]
    assert max((it - found[0]).abs().max() for it in found) < 1e-5
