"""Suppression: the same as a model whose mask lacks those columns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.interventions import apply, parse
from lmms_causal.interventions.analysis.sentences import sentences
from lmms_causal.interventions.attention.spans import parse_span
from lmms_causal.interventions.methods.suppress import Suppress
from lmms_causal.interventions.parts import PromptParts
from lmms_causal.testing import Prompt, encode, picture

IDS = torch.tensor([[5, 9, 13, 30, 31, 32, 33, 7, 21, 11, 17, 40]])
HIDDEN = (3, 6)  # both ends included
TEXT = "The cup is red. A dog ran by, and the cup fell. Why did it fall?"


def masked(model, ids, closed):
    """Logits of the stock model under a mask of our own, without some (query, key) pairs."""
    length = ids.shape[1]
    shown = torch.ones(length, length, dtype=torch.bool).tril() & ~closed
    mask = torch.zeros(length, length).masked_fill(~shown, -torch.inf)  # added, as all take it
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask[None, None]).logits


def columns(first, last, length, own=False):
    closed = torch.zeros(length, length, dtype=torch.bool)
    closed[:, first : last + 1] = True
    if not own:
        closed[first : last + 1] = False
    return closed


def logits(model, processor, spec, **inputs):
    with (
        apply(model, spec, processor) as handle,
        torch.no_grad(),
        handle.request(prompt_length=inputs["input_ids"].shape[1]),
    ):
        return model(**inputs).logits


@pytest.mark.parametrize("family", ["llama", "qwen2", "phi", "qwen3"])
@pytest.mark.parametrize("own", [False, True])
def test_it_is_the_model_without_those_columns(family, own, tiny):
    model, processor = tiny(family)
    first, last = HIDDEN
    found = logits(
        model, processor, f"suppress(part={first}-{last};own={str(own).lower()})", input_ids=IDS
    )
    expected = masked(model, IDS, columns(first, last, IDS.shape[1], own))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    plain = model(input_ids=IDS).logits
    torch.testing.assert_close(found[:, :first], plain[:, :first], atol=1e-5, rtol=1e-5)
    assert (found[:, last + 1 :] - plain[:, last + 1 :]).abs().max() > 1e-2


def test_in_all_layers_what_follows_does_not_mind_the_part_seeing_itself(tiny):
    model, processor = tiny("llama")
    found = [
        logits(model, processor, f"suppress(part=3-6;own={own};layers={layers})", input_ids=IDS)
        for layers in ("0-1", "1-1")
        for own in ("false", "true")
    ]
    behind = [it[:, HIDDEN[1] + 1 :] for it in found]
    torch.testing.assert_close(behind[0], behind[1], atol=1e-5, rtol=1e-5)
    assert (found[0] - found[1]).abs().max() > 1e-2, "the part itself does mind"
    assert (behind[2] - behind[0]).abs().max() > 1e-2, "one layer is not all of them"


def test_hidden_words_may_be_any_words_for_what_follows(tiny):
    model, processor = tiny("llama")
    other = IDS.clone()
    other[:, 3:7] = torch.tensor([50, 51, 52, 53])
    found = [logits(model, processor, "suppress(part=3-6)", input_ids=ids) for ids in (IDS, other)]
    assert torch.equal(found[0][:, 7:], found[1][:, 7:])


@pytest.mark.parametrize("family", ["llama", "qwen2_5_vl", "llava"])
def test_a_sentence_is_its_tokens(family, tiny):
    model, processor = tiny(family)
    tokenizer = getattr(processor, "tokenizer", processor)
    shown = () if family == "llama" else (picture(2),)
    inputs = dict(encode(processor, [Prompt(TEXT, shown)]))
    ids = inputs["input_ids"][0].tolist()
    words = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    start = next(i for i in range(len(ids)) if ids[i + 1 : i + len(words)] == words[1:])
    # where the turn is not said, the template's words count as well: say it
    parts = [PromptParts(turn=(start, start + len(words)))]
    own = sentences(tokenizer, ids[start : start + len(words)])[1]
    assert [it.text for it in own] == [
        "The cup is red.",
        "A dog ran by, and the cup fell.",
        "Why did it fall?",
    ]
    for number, it in enumerate(own, start=1):
        found = []
        for part in (
            f"sentence={number}",
            f"part=sentence{number}",
            f"part={start + it.tokens[0]}-{start + it.tokens[1] - 1}",
        ):
            with (
                apply(model, f"suppress({part})", processor) as handle,
                torch.no_grad(),
                handle.request(parts=parts, prompt_length=len(ids)),
            ):
                found.append(model(**inputs).logits)
        assert torch.equal(found[0], found[1])
        assert torch.equal(found[0], found[2])
        assert not torch.equal(found[0], model(**inputs).logits)


def test_a_batch_with_padding_equals_its_rows_and_a_sentence_that_is_not_there_hides_nothing(tiny):
    model, processor = tiny("llama")
    prompts = [Prompt(TEXT), Prompt("Why? It fell. Then it broke.")]
    batch = dict(encode(processor, prompts))
    assert (batch["attention_mask"] == 0).any()
    for number in (2, 4):
        both = logits(model, processor, f"suppress(sentence={number})", **batch)
        for row, prompt in enumerate(prompts):
            alone = dict(encode(processor, [prompt]))
            one = logits(model, processor, f"suppress(sentence={number})", **alone)
            torch.testing.assert_close(both[row, -one.shape[1] :], one[0], atol=1e-5, rtol=1e-5)
    none = logits(model, processor, "suppress(sentence=40)", **batch)
    plain = model(**batch).logits
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(none[real], plain[real], atol=1e-5, rtol=1e-5)


def test_a_branch_with_other_tokens_keeps_the_sentences_of_the_factual_pass(tiny):
    """A contrast runs beside it; the factual part of its logits is the suppressed one."""
    model, processor = tiny("llama")
    inputs = dict(encode(processor, [Prompt(TEXT)]))
    alone = logits(model, processor, "suppress(sentence=2)", **inputs)[:, -1:]
    branch = logits(model, processor, "cfg(negative=prompt)", **inputs)[:, -1:]
    plain = model(**inputs).logits[:, -1:]
    both = logits(model, processor, "suppress(sentence=2)+cfg(negative=prompt)", **inputs)[:, -1:]
    scale = parse("cfg").methods[0].scale
    negative = (scale * plain.log_softmax(-1) - branch.log_softmax(-1)) / (scale - 1)
    expected = scale * alone.log_softmax(-1) - (scale - 1) * negative.log_softmax(-1)
    torch.testing.assert_close(both.log_softmax(-1), expected.log_softmax(-1), atol=1e-3, rtol=1e-3)


def test_sentences_are_spans_like_others():
    for text in ("sentence2", "sentence2-4", "!sentence1&turn|image"):
        span = parse_span("toy", "part", text)
        assert str(span) == text
        assert span.reads_sentences
    assert not parse_span("toy", "part", "segment2|3-4").reads_sentences
    for text in ("sentence0", "sentence3-2", "sentence"):
        with pytest.raises(UserError, match=f"part={text} names tokens by .*sentence3"):
            parse_span("toy", "part", text)


def test_without_a_tokenizer_sentences_cannot_be_found(tiny):
    model, _ = tiny("llama")
    with (
        apply(model, "suppress(sentence=1)") as handle,
        pytest.raises(UserError, match="give the model's processor or tokenizer"),
        handle.request(prompt_length=IDS.shape[1]),
    ):
        model(input_ids=IDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "sentence=None and part=None must be one or the other"),
        ("sentence=1;part=image", "must be one or the other"),
        ("sentence=0", "sentence=0 must be 1 or more"),
        ("part=picture", "part=picture names tokens by"),
        ("sentence=1;heads=x", "heads=x names heads as"),
        ("sentence=1;layers=9-3", "layers=9-3 must be a range"),
    ],
)
def test_bad_parameters_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        parse(f"suppress({arguments})")


def test_layers_and_heads_that_a_model_lacks_are_named(tiny):
    model, processor = tiny("llama")
    with pytest.raises(UserError, match="layers=1-2 goes beyond its 2 decoder layers"):
        apply(model, "suppress(sentence=1;layers=1-2)", processor)
    with pytest.raises(UserError, match="head 4 goes beyond its 4 query heads"):
        apply(model, "suppress(sentence=1;heads=1.4)", processor)
    assert replace(Suppress(sentence=1), heads="0,1.3").heads == "0|1.3"
