"""Pruning: what is found, what is deleted and what is kept, recomputed with the stock model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.interventions import apply, parse
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.methods.leaf_prune import (
    LeafPrune,
    answer_loss,
    deleted,
    gradient_norms,
    least,
    least_needed,
    runs,
    token_ranges,
    word_ranges,
)
from lmms_causal.interventions.plan import Plan
from lmms_causal.models.assistant import PromptAssistant
from lmms_causal.models.prompts import Encoder
from lmms_causal.models.questions import question_of, with_question
from lmms_causal.testing import names, picture

QUESTION = "Is there really a red ball in the image, or is it a very big cup?"


class Case:
    """A tiny model with one rendered question, and its assistant."""

    def __init__(self, tiny, name, text=QUESTION):
        self.model, processor = tiny(name)
        self.tokenizer = getattr(processor, "tokenizer", processor)
        sees = self.tokenizer is not processor
        self.encoder = Encoder(self.tokenizer, processor if sees else None)
        shown = [{"type": "image", "image": picture(2)}] if sees else []
        content = [*shown, {"type": "text", "text": text}]
        system = {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
        self.prompt = self.encoder.render([system, {"role": "user", "content": content}], "t/0/0")
        self.question = question_of(self.prompt)
        self.assistant = PromptAssistant(
            ModelAdapter.of(self.model, processor),
            self.encoder,
            lambda prompts, room: self.encoder.encode(prompts),
            self.prompt,
        )

    def answer(self, question, tokens):
        """Greedy tokens, their text, and the mean log-probability of the text's tokens."""
        inputs = self.assistant.encode(question)
        length = inputs["input_ids"].shape[1]
        ids = self.model.generate(**inputs, max_new_tokens=tokens, do_sample=False)[0, length:]
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text, -self.loss(question, text).item()

    @torch.no_grad()
    def loss(self, question, text):
        """By one pass over the whole text, token by token."""
        inputs = self.assistant.encode(question)
        length = inputs["input_ids"].shape[1]
        row = torch.tensor([self.tokenizer(text, add_special_tokens=False)["input_ids"]])
        longer = {**inputs, "input_ids": torch.cat([inputs["input_ids"], row], dim=1)}
        for name in ("attention_mask", "token_type_ids", "mm_token_type_ids"):
            if name in inputs:
                column = torch.full_like(row, int(name == "attention_mask"))
                longer[name] = torch.cat([inputs[name], column], dim=1)
        steps = self.model(**longer).logits[0, length - 1 : -1].double().log_softmax(dim=-1)
        return -steps.gather(1, row[0, :, None]).mean()


class TestParts:
    def test_the_lowest_share_is_taken_strictly_below_the_quantile_and_the_cap(self):
        values = torch.tensor([5.0, 1.0, 3.0, 2.0, 9.0, 4.0, 7.0, 6.0, 8.0, 11.0])
        assert least(values, 0.05) == []  # int(0.05 * 10) is 0
        assert least(values, 0.1) == [1]
        assert least(values, 0.39) == [1, 2, 3]
        assert least(values, 1.0) == [0, 1, 2, 3, 5]  # scaled: 0, 0.1, 0.2, ... below 0.5

    @pytest.mark.parametrize("values", [[], [2.0], [0.0, 0.0, 0.0], [4.0] * 7])
    def test_values_that_are_all_alike_leave_nothing_to_delete(self, values):
        assert least(torch.tensor(values), 1.0) == []

    def test_runs_partition_what_is_found(self):
        found = [0, 1, 4, 6, 7, 8]
        assert runs(found) == [[0, 1], [4], [6, 7, 8]]
        assert [index for run in runs(found) for index in run] == found
        assert runs([]) == []

    def test_deleting_nothing_returns_the_same_text(self):
        for place in range(len(QUESTION) + 1):
            assert deleted(QUESTION, (place, place)) == QUESTION

    def test_words_go_with_the_blanks_before_them_and_lines_stay(self):
        def without(text, *words):
            return [deleted(text, run) for run in word_ranges(text, words)]

        assert without("A very, very old cup", "very") == ["A, very old cup", "A very, old cup"]
        assert without("a very very old cup", "very", "old") == ["a cup"]
        assert without("Very well.\nvery old", "very") == ["well.\nvery old", "Very well.\nold"]
        assert without("discovery", "very") == []

    @pytest.mark.parametrize("name", ["llama", "gemma2", "qwen2"])
    @pytest.mark.parametrize("text", [QUESTION, "Où est l'été ? \U0001f41f 日本", "a\n\nb"])
    def test_tokens_stand_for_pieces_that_make_up_the_text(self, tiny, name, text):
        tokenizer = tiny(name)[1]
        ids = tokenizer(f"Q:{text}?\n", add_special_tokens=False)["input_ids"]
        ranges = token_ranges(ids, tokenizer.decode, text)
        assert len(ranges) == len(ids)
        assert "".join(text[start:end] for start, end in ranges) == text
        assert token_ranges(ids, tokenizer.decode, "something else") is None


@pytest.mark.parametrize("name", names("text"))
def test_gradients_are_those_of_the_loss_in_the_embeddings(tiny, name):
    case = Case(tiny, name)
    answer = " the wind caused it"
    found = gradient_norms(case.assistant, case.question, answer)
    tokens = case.tokenizer(answer, add_special_tokens=False)["input_ids"]
    ids = torch.cat(
        [case.assistant.encode(case.question)["input_ids"], torch.tensor([tokens])], dim=1
    )
    leaf = case.model.get_input_embeddings()(ids).detach().requires_grad_()
    logits = case.model(inputs_embeds=leaf).logits[0, -len(tokens) - 1 : -1]
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(tokens))
    (exact,) = torch.autograd.grad(loss, leaf)
    torch.testing.assert_close(found, exact[0].norm(dim=-1), rtol=1e-3, atol=1e-6)
    assert found.shape == (ids.shape[1],)
    assert found[-1] == 0  # the last token of the answer is predicted, not read


@pytest.mark.parametrize("name", names())
def test_only_words_of_the_question_are_found_and_template_and_pictures_stay(tiny, name):
    case = Case(tiny, name)
    text, _ = case.answer(case.question, 3)
    before = {p: p.requires_grad for p in case.model.parameters()}
    ranges = least_needed(case.assistant, case.question, text, 0.8, len(QUESTION))
    assert ranges, "the example must be one with something to delete"
    head, tail = case.prompt.text.split(QUESTION)
    for start, end in ranges:
        assert QUESTION[start:end].strip()
        shorter = replace(case.question, text=deleted(QUESTION, (start, end)))
        prompt = with_question(case.encoder, case.prompt, shorter)
        assert prompt.text == head + shorter.text + tail
        assert prompt.images == case.prompt.images
    assert {p: p.requires_grad for p in case.model.parameters()} == before
    assert all(p.grad is None for p in case.model.parameters())
    assert not case.model.get_input_embeddings()._forward_hooks


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "llama"])
@pytest.mark.parametrize("select", ["likelihood", "majority"])
@pytest.mark.parametrize("words", [None, "really big"])
def test_the_kept_question_is_the_one_with_the_best_answer(tiny, name, select, words):
    case = Case(tiny, name)
    method = LeafPrune(words=words, share=0.2, select=select, max_new_tokens=3)
    with torch.no_grad():
        kept = method.prepare(case.question, case.assistant)
    draft, _ = case.answer(case.question, 3)
    if words:
        texts = [QUESTION.replace(" really", ""), QUESTION.replace(" big", "")]
    else:
        ranges = least_needed(case.assistant, case.question, draft, 0.2, len(QUESTION))
        texts = [deleted(QUESTION, run) for run in ranges]
    questions = [case.question, *(replace(case.question, text=text) for text in texts)]
    answers = [case.answer(question, 3) for question in questions]
    if select == "likelihood":
        values = [value for _, value in answers]
        for question, (text, value) in zip(questions, answers, strict=True):
            assert answer_loss(case.assistant, question, text).item() == pytest.approx(
                -value, abs=1e-4
            )
    else:
        values = [sum(text == other for other, _ in answers) for text, _ in answers]
    assert len(questions) > 2
    assert kept == questions[values.index(max(values))]


@pytest.mark.parametrize("words", [None, "is the wind"])
def test_nothing_is_deleted_from_the_options_on(tiny, words):
    options = "\nOptions: A. the wind, B. the cup.\nIs it A or B?"
    case = Case(tiny, "llama", QUESTION + options)
    asked = []
    ask = case.assistant.ask
    case.assistant.ask = lambda q, tokens: asked.append(q.text) or ask(q, tokens)
    method = LeafPrune(words=words, share=0.5, max_new_tokens=3, format_from="Options")
    method.prepare(case.question, case.assistant)
    assert len(asked) > 2 and all(text.endswith(options) for text in asked)


def test_a_question_without_such_words_is_left_and_costs_nothing(tiny):
    case = Case(tiny, "llama")
    case.assistant.ask = lambda *_: pytest.fail("the model was asked")
    assert LeafPrune(words="absent").prepare(case.question, case.assistant) is case.question


def test_an_empty_answer_leaves_the_question(tiny):
    case = Case(tiny, "llama")
    case.assistant.ask = lambda *_: ""
    assert LeafPrune(share=1.0).prepare(case.question, case.assistant) is case.question


def test_pictures_between_the_words_are_named(tiny):
    case = Case(tiny, "llava")
    parts = [
        {"type": "text", "text": "Compare"},
        {"type": "image", "image": picture(1)},
        {"type": "text", "text": "with the cup, please."},
    ]
    prompt = case.encoder.render([{"role": "user", "content": parts}], "t/5")
    assistant = PromptAssistant(
        case.assistant.adapter, case.encoder, lambda p, _: case.encoder.encode(p), prompt
    )
    with pytest.raises(UserError, match=r"t/5: leaf_prune cannot find.*give words="):
        LeafPrune(share=0.5).prepare(question_of(prompt), assistant)
    given = LeafPrune(words="please", max_new_tokens=2).prepare(question_of(prompt), assistant)
    assert given.text in ("Compare\nwith the cup, please.", "Compare\nwith the cup,.")


def test_neutral_parameters_are_an_empty_plan():
    assert LeafPrune(share=0).plan() == Plan()
    assert LeafPrune(share=0, words="very").plan() != Plan()


@pytest.mark.parametrize(
    "spec, message",
    [
        ("leaf_prune(share=1.5)", r"share=1\.5 must lie in 0\.\.1"),
        ("leaf_prune(words=)", "words is empty"),
        ("leaf_prune(format_from=)", "format_from is empty"),
        ("leaf_prune(max_new_tokens=0)", "max_new_tokens=0 must be 1 or more"),
        ("leaf_prune(select=best)", "select=best is not one of likelihood, majority"),
    ],
)
def test_parameters_out_of_range_are_named(spec, message):
    with pytest.raises(UserError, match=f"intervention leaf_prune: {message}"):
        parse(spec)


def test_a_tokenizer_is_asked_for(tiny):
    model, _ = tiny("llama")
    with pytest.raises(UserError, match="has no tokenizer; pass processor="):
        apply(model, "leaf_prune")
