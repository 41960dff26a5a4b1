"""Sentences, what hiding them does, and what sampling them anew does."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmms_causal.errors import UserError
from lmms_causal.interventions.analysis.anchors import (
    Rollout,
    counterfactual,
    divergence,
    on_later_sentences,
    over_determination,
    resampling,
)
from lmms_causal.interventions.analysis.sentences import offsets, sentences, split
from lmms_causal.interventions.analysis.suppression import divergences, log_means, relative
from lmms_causal.testing.tokenizer import build_tokenizer

TEXT = (
    "The wind rose. It was 3.5 m/s, i.e. weak! Was it?\n\nDr. J. Doe said: “No.” Then... nothing\n"
    "1. First, open it.\n2) Then 风停了。雨来了。 done…  "
)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(bos="<s>", eos="</s>", pad="<pad>")


def pieces(text):
    return [text[start:stop].strip() for start, stop in split(text)]


def test_sentences_end_where_a_reader_says():
    assert pieces(TEXT) == [
        "The wind rose.",
        "It was 3.5 m/s, i.e. weak!",
        "Was it?",
        "Dr. J. Doe said: “No.”",
        "Then... nothing",
        "1. First, open it.",
        "2) Then 风停了。",
        "雨来了。",
        "done…",
    ]
    assert pieces("The answer is B. It was J. R. Doe.") == ["The answer is B.", "It was J. R. Doe."]
    assert split("") == [] and pieces("no end") == ["no end"]
    assert pieces("It fell. ... Then it broke.") == ["It fell.", "... Then it broke."]


@given(st.text(alphabet="aB1 .!?\n。é”…-", max_size=60))
@settings(max_examples=200, deadline=None)
def test_sentences_together_are_the_text(text):
    spans = split(text)
    assert "".join(text[start:stop] for start, stop in spans) == text
    assert all(start < stop for start, stop in spans)


@given(st.text(alphabet="aB the.!? \n。é”风🌊", max_size=60))
@settings(max_examples=100, deadline=None)
def test_tokens_of_sentences_are_in_order_and_spell_them(text):
    tokenizer = build_tokenizer(bos="<s>", eos="</s>", pad="<pad>")
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]
    found_text, found = sentences(tokenizer, ids)
    assert found_text == text
    last = 1
    for number, sentence in enumerate(found):
        assert sentence.index == number
        assert sentence.tokens[0] == last < sentence.tokens[1]
        last = sentence.tokens[1]
    if found:
        assert last == len(ids) - 1, "every token of the text is in a sentence"
        assert "".join(text[a:b] for a, b in (s.chars for s in found)) == text


def test_a_token_is_in_the_sentence_of_its_last_character(tokenizer):
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    _, found = sentences(tokenizer, ids)
    assert [it.text for it in found] == pieces(TEXT)
    for sentence in found:
        assert tokenizer.decode(ids[slice(*sentence.tokens)]).strip() == sentence.text


def test_offsets_need_a_tokenizer_that_knows_them(tokenizer):
    ids, where = offsets(tokenizer, "Is it red?")
    assert ids == tokenizer("Is it red?", add_special_tokens=False)["input_ids"]
    assert (where[0][0], where[-1][1]) == (0, 10)
    with pytest.raises(UserError, match="fast tokenizer"):
        offsets(object(), "Is it red?")


def test_divergence_of_predictions_in_closed_form():
    base, other = torch.tensor([[0.7, 0.3]]).log(), torch.tensor([[0.5, 0.5]]).log()
    for top_p in (None, 1.0):
        found = divergences(base.double(), other.double(), temperature=1, top_p=top_p)
        assert float(found) == pytest.approx(0.0822829, abs=1e-7)
    halved = divergences(base * 0.6, other * 0.6)
    assert float(halved) == pytest.approx(0.0822829, abs=1e-6), "at temperature 0.6"
    cut = divergences(base, other, temperature=1, top_p=0.5)
    assert float(cut) == 0, "one token is left, with probability 1 in both"
    assert float(divergences(base, other, limit=1)) == 0
    torch.testing.assert_close(divergences(base, base - 3), torch.zeros(1))


def test_cutting_to_the_likely_tokens_renormalises_both():
    generator = torch.Generator().manual_seed(0)
    base, other = (torch.randn(5, 50, generator=generator, dtype=torch.float64) * 4 for _ in "ab")
    p, q = (base / 0.6).softmax(-1), (other / 0.6).softmax(-1)
    for row, value in enumerate(divergences(base, other, top_p=0.9).tolist()):
        order = p[row].argsort(descending=True)
        kept = [int(order[0])]
        while p[row, kept].sum() < 0.9:
            kept.append(int(order[len(kept)]))
        a, b = p[row, kept] / p[row, kept].sum(), q[row, kept] / q[row, kept].sum()
        assert value == pytest.approx(float((a * (a / b).log()).sum()), rel=1e-9)


def test_effects_are_means_of_logarithms_below_the_diagonal():
    spans = [(0, 2), (2, 5), (5, 6)]
    found = [torch.tensor([9, 9, 0.1, 0.01, 0.001, 1.0]), torch.tensor([0, 0, 0, 0, 0, 0.5])]
    matrix = log_means([*found, torch.zeros(6)], spans)
    assert matrix.isnan().tolist() == [[True] * 3, [False, True, True], [False, False, True]]
    assert float(matrix[1, 0]) == pytest.approx(math.log(0.01), abs=1e-5)
    assert float(matrix[2, 0]) == pytest.approx(0, abs=1e-6)
    assert float(log_means([torch.zeros(6)] * 3, spans)[1, 0]) == pytest.approx(math.log(1e-9))
    centred = relative(matrix)
    assert float(centred[2, 0] + centred[2, 1]) == pytest.approx(0, abs=1e-9)
    assert float(centred[1, 0]) == 0


WORDS = ("left", "right", "up", "down")


def embed(texts):
    """A vector a direction, so that cosines are 0 or 1."""
    rows = [[float(word in text) for word in WORDS] for text in texts]
    return torch.tensor(rows)


def made(*pairs):
    return [Rollout(f"go {word}", answer, answer == "7") for word, answer in pairs]


BEFORE = made(("left", "7"), ("right", "5"), ("right", "5"), ("up", "7"))
BEHIND = made(("up", "7"), ("up", "7"), ("down", "5"), ("down", "7"))


def test_resampling_importance_in_closed_form():
    found = resampling(BEFORE, BEHIND, by="correct")
    assert found.accuracy == pytest.approx(0.25)
    kl = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert found.kl == pytest.approx(kl, abs=1e-7)
    assert resampling([], BEHIND, by="answer") == (0, 0)
    assert resampling(BEFORE, BEFORE, by="answer").kl == pytest.approx(0, abs=1e-12)


def test_counterfactual_importance_compares_with_what_means_something_else():
    found = counterfactual("turn left", BEFORE, BEHIND, embed, by="correct")
    assert found.different == 0.75
    assert found.accuracy == pytest.approx(1 / 3 - 0.75)
    p, q = (1 / 3, 2 / 3), (0.8, 0.2)  # the rest of R_i joins R_{i+1}
    assert found.kl == pytest.approx(
        sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)), abs=1e-7
    )
    absolute = counterfactual("turn left", BEFORE, BEHIND, embed, "answer", absolute=True)
    assert absolute.accuracy == -found.accuracy
    all_same = counterfactual(
        "go", made(("up", "7")), BEHIND, lambda t: torch.ones(len(t), 1), "correct"
    )
    assert all_same == (0, 0, 0)


def test_answers_are_compared_by_their_histograms():
    first = made(("up", "1"), ("up", "2"))
    second = made(("up", "1"), ("up", "1"), ("up", "1"), ("up", "2"))
    expected = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert divergence(first, second, "answer") == pytest.approx(expected, abs=1e-7)
    apart = divergence(made(("up", "1")), made(("up", "2")), "answer")
    assert apart == pytest.approx(math.log(1e9), rel=1e-6), "bounded by what is added to counts"
    with pytest.raises(UserError, match="add `correct`"):
        divergence([Rollout("a", "1")], [Rollout("a", "1")], "correct")


def test_over_determination_is_the_share_of_repeated_sentences():
    assert over_determination(BEFORE) == 0.25
    assert over_determination([]) == 0


def test_a_sentence_matters_for_what_it_makes_appear():
    def rollout(*words):
        return Rollout(f"go {words[0]}", "", None, tuple(f"go {word}" for word in words))

    original = ["go left", "go up", "go down"]
    rollouts = [
        [rollout("right", "down"), rollout("right", "up"), rollout("left", "up", "down")],
        [rollout("up", "down"), rollout("up")],
        [rollout("right")],
    ]
    effects = on_later_sentences(original, rollouts, embed)
    assert effects[0, 1:].tolist() == [1 - 0.5, 0.5 - 0.5]
    assert effects[1, 2] == 0, "without different rollouts the rate of dropping is 0"
    assert effects[:, 0].isnan().all() and effects[2].isnan().all()
