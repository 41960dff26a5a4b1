"""Attention-based peeking, against the stock model under masks of our own."""

from __future__ import annotations

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.interventions import apply, parse

IDS = [5, 9, 13, 30, 31, 32, 7, 21]
LENGTH = len(IDS)


def seen(kind, length=LENGTH):
    """Which pairs a layer of one kind lets through, bool ``[L, L]``."""
    own = torch.eye(length, dtype=torch.bool)
    own[:, 0] = True
    if kind == "plain":
        return torch.ones(length, length, dtype=torch.bool).tril()
    if kind == "full":
        own[-1] = True
    return own


@torch.no_grad()
def by_masks(model, ids, kinds):
    """The stock model with a mask for each layer."""
    lowest = torch.finfo(torch.float32).min

    def masked(kind):
        mask = torch.where(seen(kind, ids.shape[1]), 0.0, lowest)[None, None]
        return lambda module, given, named: (given, {**named, "attention_mask": mask})

    hooks = [
        layer.register_forward_pre_hook(masked(kind), with_kwargs=True)
        for layer, kind in zip(model.get_decoder().layers, kinds, strict=True)
    ]
    try:
        return model(ids, attention_mask=torch.ones_like(ids)).logits
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def found(model, processor, spec, ids, length=None):
    length = length or ids.shape[1]
    with apply(model, spec, processor) as handle, handle.request(prompt_length=length):
        return model(ids, attention_mask=torch.ones_like(ids)).logits


@pytest.mark.parametrize("family", ["llama", "gemma2", "qwen2"])
@pytest.mark.parametrize(
    ("spec", "kinds"),
    [
        ("abp(full=0-1)", ("full", "full")),
        ("abp(alone=0-)", ("alone", "alone")),
        ("abp(full=0;alone=1-)", ("full", "alone")),
        ("abp(full=1)", ("plain", "full")),
        ("abp(alone=0|1)", ("alone", "alone")),
    ],
)
def test_each_layer_has_its_mask(spec, kinds, family, tiny):
    model, processor = tiny(family)
    ids = torch.tensor([IDS])
    result = found(model, processor, spec, ids)
    torch.testing.assert_close(result, by_masks(model, ids, kinds), atol=2e-5, rtol=1e-5)
    plain = by_masks(model, ids, ("plain", "plain"))
    assert (result - plain).abs().max() > 1e-3


def test_without_a_full_peek_other_words_are_nothing(tiny):
    """With ``alone`` everywhere the answer depends on the first and the last token only."""
    model, processor = tiny("llama")
    other = [IDS[0], 40, 41, 42, 43, 44, 45, IDS[-1]]
    one, two = (found(model, processor, "abp(alone=0-)", torch.tensor([it])) for it in (IDS, other))
    torch.testing.assert_close(one[:, -1], two[:, -1], atol=1e-6, rtol=1e-6)
    pair = {
        "input_ids": torch.tensor([[IDS[0], IDS[-1]]]),
        "attention_mask": torch.ones(1, 2, dtype=torch.long),
        "position_ids": torch.tensor([[0, LENGTH - 1]]),
    }
    with torch.no_grad():
        alone = model(**pair).logits[:, -1]
    torch.testing.assert_close(one[:, -1], alone, atol=1e-5, rtol=1e-5)


def test_tokens_of_an_answer_peek_as_the_last_one_does(runs):
    """Scored: each token that predicts the answer sees all before it in layers of ``full``."""
    case = runs("llama")
    ids = torch.tensor([[*IDS, 17, 18]])
    result = found(case.model, case.processor, "abp(full=0-)", ids, length=LENGTH)
    for end in (LENGTH, LENGTH + 1, LENGTH + 2):
        # what a later predicting token sees of an earlier one is not what a word would have been
        mask_rows = range(LENGTH - 1, end)
        lowest = torch.finfo(torch.float32).min
        own = torch.eye(end, dtype=torch.bool)
        own[:, 0] = True
        for row in mask_rows:
            own[row, : row + 1] = True
        mask = torch.where(own, 0.0, lowest)[None, None]
        with torch.no_grad():
            wanted = case.model(ids[:, :end], attention_mask=mask).logits[:, -1]
        torch.testing.assert_close(result[:, end - 1], wanted, atol=2e-5, rtol=1e-5)


def test_caches_batches_and_beams_agree(runs):
    runs("llava").agrees("abp(full=0)")
    runs("qwen2").agrees("abp(full=0;alone=1-)")


def test_no_layers_are_refused():
    with pytest.raises(UserError, match=r"name no layer; write e\.g\. abp\(full="):
        parse("abp")


@pytest.mark.parametrize("spec", ["abp(full=x)", "abp(alone=5-3)", "abp(full=)", "abp(full=1|)"])
def test_bad_values_are_named(spec):
    with pytest.raises(UserError, match=r"intervention abp: (full|alone)="):
        parse(spec)


def test_what_a_model_lacks(tiny):
    model, processor = tiny("llama")
    for spec, reason in (
        ("abp(full=7)", "full=7"),
        ("abp(alone=9-)", "alone=9"),
        ("abp(full=0-1;alone=1-)", "both name layer 1"),
    ):
        with pytest.raises(UserError, match=reason):
            apply(model, spec, processor)
