"""Where the user's last turn is in the tokens of a prompt."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lmms_causal.interventions.parts import PromptParts
from lmms_causal.models.asked import Asked
from lmms_causal.models.batches import encoded
from lmms_causal.models.parts import beheaded, turn_in_text
from lmms_causal.models.turns import Prompt
from lmms_causal.segments import mark
from lmms_causal.testing import names, picture

QUESTION = "Which option describes the picture?"


def said(role, text, *images):
    shown = [{"type": "image", "image": image} for image in images]
    return {"role": role, "content": [*shown, {"type": "text", "text": text}]}


def placed(encoder, prompt):
    """A prompt's tokens in front of its last turn, in it, and behind it."""
    batch = encoded(encoder, [prompt], with_parts=True)
    row, turn = batch.inputs["input_ids"][0].tolist(), batch.parts[0].turn
    assert row == encoder.encode([prompt])["input_ids"][0].tolist()  # no token is changed
    return row[: turn[0]], row[slice(*turn)], row[turn[1] :]


def visual(encoder, ids):
    image = getattr(encoder.processor, "image_token_id", None)
    return sum(token == image for token in ids)


@pytest.mark.parametrize("shape", ["plain", "system", "segments"])
@pytest.mark.parametrize("name", names())
def test_a_turn_is_its_words_and_pictures_and_nothing_else(runner, name, shape):
    encoder = runner(name).encoder
    images = (picture(0), picture(1)) if encoder.processor else ()
    words = QUESTION + (mark(("the wi", "nd ")) if shape == "segments" else "")
    turns = [said("user", words, *images)]
    if shape == "system":
        turns.insert(0, said("system", "You are a helpful assistant."))
    prompt = encoder.render(turns, "t/0")
    before, inside, behind = placed(encoder, prompt)
    decode = encoder.tokenizer.decode
    text, (start, stop) = prompt.text, turn_in_text(encoder, prompt)
    # a token that reaches into the turn belongs to it: a blank in front of a word
    written = encoder.tokenizer.bos_token or ""
    assert decode(before).removeprefix(written).rstrip(" ") == (
        text[:start].removeprefix(written).rstrip(" ")
    )
    assert decode(behind) == text[stop:]
    assert decode(inside).endswith(prompt.question)
    if images:
        assert visual(encoder, inside) > 0 == visual(encoder, before) + visual(encoder, behind)
    else:
        assert decode(inside).strip(" ") == prompt.question.strip(" ")


@pytest.mark.parametrize("own", [0, 1])
@pytest.mark.parametrize("name", names())
def test_the_last_turn_of_a_conversation_is_meant(runner, name, own):
    """With pictures in earlier turns, and with or without its own."""
    encoder = runner(name).encoder
    if encoder.processor is None and own:
        own = 0
    earlier = (picture(3), picture(4)) if encoder.processor else ()
    turns = [said("user", "Why?", *earlier), said("assistant", "Because.")]
    prompt = encoder.render([*turns, said("user", QUESTION, *(picture(5),) * own)], "t/0")
    before, inside, behind = placed(encoder, prompt)
    decode = encoder.tokenizer.decode
    _, stop = turn_in_text(encoder, prompt)
    assert decode(inside).strip(" ").endswith(QUESTION) and decode(behind) == prompt.text[stop:]
    assert "Because." in decode(before)
    if not own:
        assert decode(inside).strip(" ") == QUESTION
    if earlier:
        each = visual(encoder, before) / 2
        assert visual(encoder, inside) == each * own and each > 0


@pytest.mark.parametrize("name", ["llava", "llama", "gemma2", "idefics3"])
def test_turns_of_a_batch_are_those_of_single_prompts(runner, name):
    encoder = runner(name).encoder
    images = (picture(0),) if encoder.processor else ()
    prompts = [
        encoder.render([said("user", text, *images)], f"t/{n}")
        for n, text in enumerate(("Why?", QUESTION, mark(("the wi", "nd")) + QUESTION))
    ]
    batch = encoded(encoder, prompts, with_parts=True)
    singles = [encoded(encoder, [prompt], with_parts=True).parts[0] for prompt in prompts]
    assert list(batch.parts) == singles
    assert encoded(encoder, prompts).parts is None


@pytest.mark.parametrize("name", ["llava", "llama"])
def test_a_slow_tokenizer_s_turn_is_found_without_offsets(runner, name, monkeypatch):
    encoder = runner(name).encoder
    images = (picture(0),) if encoder.processor else ()
    prompt = encoder.render([said("user", QUESTION, *images)], "t/0")
    fast = placed(encoder, prompt)
    monkeypatch.setattr(type(encoder.tokenizer), "is_fast", property(lambda _: False))
    assert placed(encoder, prompt) == fast


def test_blanks_that_a_score_leaves_to_the_answer_do_not_hide_the_turn(runner):
    encoder = replace(
        runner("llama").encoder,
        chat_template="{% for m in messages %}user: {{ m['content'] }}\nA: {% endfor %}",
    )
    prompt = encoder.render([said("user", QUESTION)], "t/0")
    context = encoder.context(prompt)
    assert context.text == prompt.text[:-1]
    assert placed(encoder, context)[1] == placed(encoder, prompt)[1]
    assert encoder.tokenizer.decode(placed(encoder, context)[2]) == "\nA:"


def test_without_a_template_all_of_a_text_is_the_turn(runner):
    encoder = runner("llama").encoder
    asked = Asked.locate(QUESTION, lambda content: content, None)
    prompt = asked.prompt((), "t/0")
    before, inside, behind = placed(encoder, prompt)
    assert (before, behind) == ([encoder.tokenizer.bos_token_id], [])
    assert encoder.tokenizer.decode(inside) == QUESTION


def test_a_turn_that_cannot_be_told_is_unknown(runner):
    """A template that counts letters changes more than the turn; a prompt from elsewhere."""
    counts = "{% for m in messages %}{{ m['content'] | length }}: {{ m['content'] }}{% endfor %}"
    encoder = replace(runner("llama").encoder, chat_template=counts)
    prompt = encoder.render([said("user", QUESTION)], "t/0")
    assert encoded(encoder, [prompt], with_parts=True).parts == (PromptParts(),)
    assert encoded(encoder, [Prompt("Why?")], with_parts=True).parts == (PromptParts(),)


def test_cutting_the_beginning_off_shifts_a_turn_and_may_take_all_of_it():
    parts = PromptParts(turn=(4, 9))
    assert beheaded(parts, 0, "t/0") == parts
    assert beheaded(parts, 3, "t/0").turn == (1, 6)
    assert beheaded(parts, 6, "t/0").turn == (0, 3)
    assert beheaded(parts, 9, "t/0").turn is None
