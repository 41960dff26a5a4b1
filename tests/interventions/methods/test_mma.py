"""MMA: the opened block, the stock model under it, and that no answer leaks into its own past."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions import apply
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.layout import Layout, Role
from lmms_causal.interventions.methods.mma import MMA
from lmms_causal.interventions.parts import PromptParts
from lmms_causal.testing import Prompt

LETTERS = {"s": Role.SYSTEM, "i": Role.IMAGE, "t": Role.TURN, "a": Role.TAIL, "g": Role.GENERATED}


def visible(roles: str) -> Tensor:
    """What each token sees ``[N, N]``: the edit of the plan on a causal mask."""
    codes = torch.tensor([[int(LETTERS[letter]) for letter in roles]], dtype=torch.int8)
    layout = Layout(codes, torch.zeros_like(codes, dtype=torch.int32))
    (edit,) = MMA().plan().attention
    every = torch.arange(len(roles))
    queries, keys = (span.resolve(layout)[0] for span in (edit.where.queries, edit.where.keys))
    opened = edit.operation.pairs(layout, every, every)[0] & queries[:, None] & keys[None]
    return torch.ones(len(roles), len(roles), dtype=torch.bool).tril() | opened


def test_worked_example():
    seen = visible("siiittta")
    causal = torch.ones(8, 8, dtype=torch.bool).tril()
    more = (seen & ~causal).nonzero().tolist()
    assert more == [[row, column] for row in (1, 2, 3) for column in (4, 5, 6)]
    assert not (causal & ~seen).any()


def test_each_picture_sees_the_words_behind_it():
    seen = visible("stititag")
    ahead = (seen & ~torch.ones(8, 8, dtype=torch.bool).tril()).nonzero().tolist()
    assert ahead == [[2, 3], [2, 5], [4, 5]]


@pytest.mark.parametrize("roles", ["siiia", "stttta", "siiigg"])
def test_without_a_question_or_a_picture_all_is_causal(roles):
    assert torch.equal(visible(roles), torch.ones(len(roles), len(roles), dtype=torch.bool).tril())


@pytest.mark.parametrize("family", ["llava", "llava_next", "qwen2_vl", "internvl", "gemma3"])
def test_pictures_see_what_follows_in_the_prompt(runs, rewritten, family):
    run = runs(family)

    def expected(factual, inputs, tokens):
        longer = run.appended(inputs, [tokens])
        longer["attention_mask"] = torch.ones_like(longer["input_ids"])
        prompt = inputs["input_ids"].shape[1]
        image = ModelAdapter.of(run.model, run.processor).is_visual(longer["input_ids"][0])
        every = torch.arange(len(image))
        opened = image[:, None] & ~image[None] & (every[None] > every[:, None])
        opened &= every[None] < prompt

        def change(layer, scores, seen):
            return scores, seen | opened

        with torch.no_grad(), rewritten(run.model, change) as copied:
            return copied(**longer, use_cache=False).logits[0, -1].float()

    run.follows("mma", expected)


@pytest.mark.parametrize("family", ["internvl", "qwen3_vl", "gemma3"])
def test_all_ways_of_running_agree(runs, family):
    runs(family).agrees("mma")


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "gemma3"])
def test_an_answer_does_not_reach_what_comes_before_it(runs, family):
    run = runs(family)
    inputs = run.inputs()
    length = inputs["input_ids"].shape[1]
    with torch.no_grad(), apply(run.model, "mma", run.processor) as handle:
        with handle.request(prompt_length=length):
            one, other = (
                run.model(**run.appended(inputs, [[token] * 3] * 3)).logits for token in (40, 71)
            )
        assert torch.equal(one[:, :length], other[:, :length])
        assert not torch.equal(one[:, length:], other[:, length:])
        with pytest.raises(UserError, match="where the answer begins"):
            run.model(**run.appended(inputs, [[40] * 3] * 3))


def test_what_the_template_writes_behind_the_turn_is_not_seen(runs):
    """Other words in the tail leave the picture's tokens, and so the words before the tail."""
    run = runs("llava")
    inputs = run.inputs(run.prompts[0])
    length = inputs["input_ids"].shape[1]
    changed = {**inputs, "input_ids": inputs["input_ids"].clone()}
    changed["input_ids"][0, -2:] = 41
    parts = [PromptParts(turn=(3, length - 2))]
    with torch.no_grad(), apply(run.model, "mma", run.processor) as handle:
        for known, same in ((parts, True), (None, False)):
            with handle.request(prompt_length=length, parts=known):
                one, other = (run.model(**it).logits[0, : length - 2] for it in (inputs, changed))
            assert torch.equal(one, other) == same


def test_a_prompt_without_a_picture_is_read_as_ever(runs):
    run = runs("llava")
    inputs = run.inputs(Prompt("Is it red?"))
    with torch.no_grad():
        before = run.generate(inputs)
        with apply(run.model, "mma"):
            assert torch.equal(run.generate(inputs), before)


def test_a_model_that_reads_text_only_is_refused(runs):
    with pytest.raises(UserError, match="the model reads text only"):
        apply(runs("llama").model, "mma")
