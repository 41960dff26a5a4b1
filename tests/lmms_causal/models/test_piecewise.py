"""Segments are tokenised apart from all that is around them, with every processor."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, permutations

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.models.batches import encoded
from lmms_causal.models.piecewise import in_tokens, located
from lmms_causal.models.turns import Prompt
from lmms_causal.segments import mark
from lmms_causal.testing import names, picture

PIECES = ("the wi", "nd cause", "d the gla", "ss; ")  # words go on across the borders
BEFORE, AFTER = "Which opt", "ion describes the picture?"


def asked(encoder, pieces=PIECES, images=1, key="task/0", before=BEFORE, after=AFTER):
    shown = [{"type": "image", "image": picture(n)} for n in range(images)]
    text = before + (mark(pieces) if pieces else "") + after
    content = [*(shown if encoder.processor else ()), {"type": "text", "text": text}]
    return encoder.render([{"role": "user", "content": content}], key)


def real(encoder, prompts):
    """Token ids of each row without padding, and its segments in tokens."""
    batch = encoded(encoder, prompts, with_parts=True)
    rows = [
        ids[mask.bool()].tolist()
        for ids, mask in zip(batch.inputs["input_ids"], batch.inputs["attention_mask"], strict=True)
    ]
    return rows, [it.segments for it in batch.parts]


def by_hand(encoder, prompt, pieces=PIECES):
    """The tokens of every piece for itself, by the plain tokenizer; pictures are in the first."""
    start = prompt.segments[0][0][0]
    head = Prompt(prompt.text[:start], prompt.images)
    end = prompt.segments[0][-1][1]
    first = encoder.encode([head])["input_ids"][0].tolist()
    rest = [
        encoder.tokenizer(piece, add_special_tokens=False)["input_ids"]
        for piece in (*pieces, prompt.text[end:])
    ]
    return [first, *rest]


@pytest.mark.parametrize("name", names())
def test_tokens_are_those_of_the_pieces_and_spans_say_where(runner, name):
    encoder = runner(name).encoder
    prompt = asked(encoder)
    (row,), ((group,),) = real(encoder, [prompt])
    pieces = by_hand(encoder, prompt)
    assert row == list(chain(*pieces))
    for (start, stop), piece, text in zip(group, pieces[1:], PIECES, strict=False):
        assert row[start:stop] == piece
        assert encoder.tokenizer.decode(row[start:stop]) == text
    assert prompt.text == asked(encoder, (), before=BEFORE + "".join(PIECES)).text
    plain = encoder.encode([asked(encoder, (), before=BEFORE + "".join(PIECES))])
    assert plain["input_ids"][0].tolist() != row  # tokens go across borders otherwise


@pytest.mark.parametrize("name", ["llava", "qwen2_vl", "gemma3", "idefics3", "llama", "qwen2"])
def test_permuted_segments_give_permuted_tokens(runner, name):
    encoder = runner(name).encoder
    (row,), ((group,),) = real(encoder, [asked(encoder)])
    found = [row[start:stop] for start, stop in group]
    for order in permutations(range(len(PIECES))):
        (other,), ((moved,),) = real(encoder, [asked(encoder, [PIECES[n] for n in order])])
        assert [other[start:stop] for start, stop in moved] == [found[n] for n in order]
        assert other[: moved[0][0]] == row[: group[0][0]]
        assert other[moved[-1][1] :] == row[group[-1][1] :]


@pytest.mark.parametrize("name", names())
def test_a_ragged_batch_has_the_rows_of_single_runs_and_one_padding(runner, name):
    """Rows with and without segments, of different lengths; every per-token tensor follows."""
    encoder = runner(name).encoder
    prompts = [asked(encoder), asked(encoder, ()), asked(encoder, PIECES[:2], key="task/2")]
    rows, groups = real(encoder, prompts)
    singles = [real(encoder, [prompt]) for prompt in prompts]
    assert rows == [row for (row,), _ in singles]
    assert groups == [found for _, (found,) in singles]
    inputs = encoder.encode(prompts)
    assert (inputs["attention_mask"].sum(dim=1) == torch.tensor([len(r) for r in rows])).all()
    width = max(map(len, rows))
    assert inputs["input_ids"].shape == (3, width)
    assert inputs["input_ids"].max() < len(encoder.tokenizer)
    for index, row in enumerate(rows):
        assert (
            inputs["input_ids"][index, : width - len(row)] == encoder.tokenizer.pad_token_id
        ).all()
    for types in ("token_type_ids", "mm_token_type_ids"):
        if types in inputs:
            for index, prompt in enumerate(prompts):
                alone = encoder.encode([prompt])[types][0]
                assert inputs[types][index, width - len(alone) :].equal(alone)


@pytest.mark.parametrize("name", names())
def test_without_segments_tensors_are_the_processor_s_own(runner, name):
    """Also after the copy for segments was made, which must not touch the original."""
    encoder = runner(name).encoder
    prompts = [asked(encoder, ()), asked(encoder, (), before="Why?")]
    reader = encoder.processor or encoder.tokenizer
    options = {"add_special_tokens": not encoder.starts_with_bos(prompts[0].text)}
    if encoder.processor:
        options["images"] = [list(prompt.images) for prompt in prompts]
    size = len(encoder.tokenizer)
    encoder.encode([asked(encoder)])
    stock = reader(
        text=[prompt.text for prompt in prompts], padding=True, return_tensors="pt", **options
    )
    ours = encoder.encode(prompts)
    assert ours.keys() == stock.keys() and len(encoder.tokenizer) == size
    for key, value in stock.items():
        assert torch.equal(ours[key], value) if isinstance(value, torch.Tensor) else True


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "idefics3", "gemma3", "internvl"])
def test_a_segment_may_hold_a_picture(runner, name):
    encoder = runner(name).encoder
    first, second = mark(["A. "])[:-1], mark(["B. "])[:-1]
    close = mark(["x"])[-1]
    content = [
        {"type": "text", "text": f"Which is red?\n{first}"},
        {"type": "image", "image": picture(0)},
        {"type": "text", "text": f"{close}{second}"},
        {"type": "image", "image": picture(1)},
        {"type": "text", "text": f"{close}Answer."},
    ]
    prompt = encoder.render([{"role": "user", "content": content}], "task/0")
    (row,), (((one, two),),) = real(encoder, [prompt])
    assert prompt.question == "Which is red?\nA. \nB. \nAnswer."
    tokens = [row[slice(*span)] for span in (one, two)]
    decode = encoder.tokenizer.decode
    assert decode(tokens[0]).startswith("A. ") and decode(tokens[1]).startswith("B. ")
    plain = encoder.tokenizer("A. ", add_special_tokens=False)["input_ids"]
    shown = [ids[len(plain) :] for ids in tokens]
    assert shown[0] == shown[1] and len(shown[0]) > 1  # two pictures of one size
    whole = encoder.encode([Prompt(prompt.text, prompt.images)])["input_ids"][0].tolist()
    assert sorted(row) == sorted(whole)  # pictures are whole, and so is everything else


@pytest.mark.parametrize("name", ["llava", "qwen2_vl", "llama", "qwen2", "gemma2"])
@pytest.mark.parametrize("after", ["ion: ", "", " "])
def test_a_continuation_is_tokenised_with_the_piece_before_it(runner, name, after):
    encoder = runner(name).encoder
    prompt = asked(encoder)
    end = prompt.segments[0][-1][1]
    prompt = replace(prompt, text=prompt.text[:end] + after)
    added = encoder.continuation(prompt.outline, " because the wind")
    context = encoder.context(prompt)
    assert context.text == prompt.text[:end] + after.rstrip(" ")
    (row,), _ = real(encoder, [replace(context, messages=None)])
    tail = encoder.tokenizer(after + " because the wind", add_special_tokens=False)["input_ids"]
    pieces = by_hand(encoder, prompt)
    assert row + added == [*chain(*pieces[:-1]), *tail]


def test_a_cut_prompt_keeps_its_segments_in_their_places_or_is_refused(runner):
    encoder = runner("llama").encoder
    long = asked(encoder, before="Why? " * 20 + BEFORE)
    short = asked(encoder, before=BEFORE, key="task/1")
    full = encoded(encoder, [long, short], with_parts=True)
    length = full.inputs["input_ids"].shape[1]
    start = full.parts[0].segments[0][0][0]
    cut = encoded(encoder, [long, short], room=5, limit=length + 5 - 30, with_parts=True)
    for batch, index, lost in ((cut, 0, 30), (cut, 1, 0)):
        row = batch.inputs["input_ids"][index][batch.inputs["attention_mask"][index].bool()]
        whole = full.inputs["input_ids"][index][full.inputs["attention_mask"][index].bool()]
        (group,), (before,) = batch.parts[index].segments, full.parts[index].segments
        for (a, b), (c, d) in zip(group, before, strict=True):
            assert (a, b) == (c - lost, d - lost)
            assert row[a:b].equal(whole[c:d])
    assert cut.parts[0].turn == (0, full.parts[0].turn[1] - 30)
    assert cut.parts[1] == full.parts[1]
    with pytest.raises(UserError, match=r"task/0: .* would cut into its segments"):
        encoded(encoder, [long, short], limit=length - start - 1, with_parts=True)


def test_a_template_that_trims_moves_or_drops_segments(runner):
    """A segment is kept whole at the end of a turn; what the template loses is an error."""
    encoder = runner("llama").encoder
    turn = "{% for m in messages %}[{{ m['content'] | trim }}]{% endfor %}"
    trimming = replace(encoder, chat_template=turn)
    prompt = asked(trimming, ("a\n", "b\n"), before=" Which?\n", after="")
    assert prompt.text == "[Which?\na\nb\n]"
    twice = replace(encoder, chat_template=turn + turn)
    with pytest.raises(UserError, match=r"task/0: the chat template writes 4 of the 2 segments"):
        asked(twice, ("a\n", "b\n"))
    pictures_first = "{% for m in messages %}{% for p in m['content'] if p['type'] == 'image' %}"
    pictures_first += "<image>{% endfor %}{% for p in m['content'] if p['type'] == 'text' %}"
    pictures_first += "{{ p['text'] }}{% endfor %}{% endfor %}"
    vision = replace(runner("llava").encoder, chat_template=pictures_first)
    content = [
        {"type": "text", "text": mark(["A"])[:-1]},
        {"type": "image", "image": picture(0)},
        {"type": "text", "text": mark(["A"])[-1] + mark(["B"])},
    ]
    with pytest.raises(UserError, match=r"task/0: the segment 'A' has a picture, which .* elsew"):
        vision.render([{"role": "user", "content": content}], "task/0")


def test_segments_of_which_no_two_touch_have_no_order():
    text = f"{mark(['A'])}\n{mark(['B'])}\n"
    with pytest.raises(UserError, match=r"t/1: there is text between all 2 segments"):
        located(text, text, "t/1")
    assert located(mark(["A"]), mark(["A"]), "t/1") == ("A", (((0, 1),),))


def test_a_processor_that_loses_a_separator_is_refused():
    groups = ((0, 3), (3, 5))
    assert in_tokens((groups,), [4, 6, 9], "t/1") == (((4, 6), (6, 9)),)
    for places in ([4, 9], [4, 4, 9], []):
        with pytest.raises(UserError, match="t/1: the model's processor does not keep"):
            in_tokens((groups,), places, "t/1")
