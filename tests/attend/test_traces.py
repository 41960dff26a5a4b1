"""Traces: what is asked, what its tokens are; needles and their haystacks; files of documents."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from lmms_causal.attend.documents import Document, read_documents
from lmms_causal.attend.haystack import haystacks
from lmms_causal.attend.traces import PARTS
from lmms_causal.errors import UserError
from lmms_causal.testing import names


@pytest.mark.parametrize("family", names())
def test_every_token_has_its_part(family, subject, asked, answer):
    one = subject(family)
    trace = one.trace(asked(family, response=answer, needle="in the box", system=None))
    decode = one.encoder.tokenizer.decode
    parts = {part: trace.ids[trace.parts == index] for index, part in enumerate(PARTS)}
    assert "in the box. Why?" in decode(parts["user"])
    assert decode(parts["answer"]).strip() == answer == trace.answer.strip()
    assert bool(len(parts["image"])) == one.adapter.sees == trace.shows_picture
    assert trace.parts[0] == 0 and len(parts["first"]) == 1 and len(parts["tail"])
    assert decode(trace.ids[slice(*trace.needle)]).strip() == "in the box"
    assert (trace.parts[slice(*trace.needle)] == PARTS.index("user")).all()
    spelt = [decode(trace.ids[slice(*it.tokens)]).strip() for it in trace.sentences]
    assert spelt == [it.text for it in trace.sentences] and len(spelt) == 12


def test_the_model_answers_what_is_not_answered(subject, asked):
    one = subject("llama")
    trace = one.trace(asked("llama"), max_new_tokens=7)
    assert 0 < trace.length - trace.start <= 7
    assert one.encoder.tokenizer.eos_token_id not in trace.ids[trace.written]
    steered = subject("llama", "temperature(value=0.5)+cfg(negative=prompt)")
    other = steered.trace(asked("llama"), max_new_tokens=7)
    assert torch.equal(trace.ids[: trace.start], other.ids[: other.start])
    assert trace.ids.tolist() != other.ids.tolist(), "the answer is written under interventions"
    silent = one.trace(asked("llama"))
    assert not silent.answered and silent.predicting == slice(silent.length - 1, silent.length)


def test_rewrites_of_the_question_are_applied(subject, asked):
    plain = subject("qwen2").trace(asked("qwen2"))
    twice = subject("qwen2", "re2").trace(asked("qwen2"))
    assert twice.length > plain.length
    assert twice.document.prompt.count("Why?") == 2


@pytest.mark.parametrize(
    ("needle", "message"),
    [("a green box", "verbatim"), ("is", "must stand in the prompt once")],
)
def test_a_needle_must_be_there_once(needle, message, subject, asked):
    with pytest.raises(UserError, match=message):
        subject("llama").trace(asked("llama", needle=needle))


def test_haystacks_have_their_length_and_hide_the_needle_at_every_depth(subject):
    tokenizer = subject("llama").encoder.tokenizer
    made = haystacks(tokenizer, [300, 600], 5)
    assert len(made) == len({it.id for it in made}) == 10
    for index, document in enumerate(made):
        text, question = document.prompt.split("\n\n")
        length = len(tokenizer(text, add_special_tokens=False)["input_ids"])
        wanted = 300 if index < 5 else 600
        assert 0.75 * wanted < length <= 1.02 * wanted
        place = text.index(document.needle) / (len(text) - len(document.needle))
        assert place == pytest.approx(index % 5 / 4, abs=0.13)
        assert document.needle.split(" is kept")[0][4:] in question, "it asks for the needle"
    assert made == haystacks(tokenizer, [300, 600], 5)
    assert made[0] != haystacks(tokenizer, [300], 5, seed=1)[0]
    with pytest.raises(UserError, match="has no room"):
        haystacks(tokenizer, [20], 1)
    with pytest.raises(UserError, match="one or more"):
        haystacks(tokenizer, [300], 0)


def written(tmp_path, *lines):
    file = tmp_path / "documents.jsonl"
    file.write_text("\n".join(it if isinstance(it, str) else json.dumps(it) for it in lines))
    return file


def test_documents_are_read_from_json_lines(tmp_path):
    rollouts = [
        [{"sentence": "It fell.", "answer": "A", "correct": True, "sentences": ["It fell."]}]
    ]
    file = written(
        tmp_path,
        {"prompt": "Why?"},
        "",
        {"id": "b", "prompt": "Is it?", "image": "x.png", "needle": "it", "rollouts": rollouts},
    )
    first, second = read_documents(file)
    assert first == Document("1", "Why?")
    assert second.images == (str(tmp_path / "x.png"),)
    (only,) = second.rollouts[0]
    assert (only.sentence, only.answer, only.correct, only.sentences) == (
        "It fell.",
        "A",
        True,
        ("It fell.",),
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1: not JSON"),
        ("3", "must be an object"),
        ({"promt": "x"}, r"unknown field 'promt' \(did you mean 'prompt'\?\)"),
        ({"id": "x"}, "prompt is missing"),
        ({"prompt": "x", "response": 3}, "response must be text"),
        ({"prompt": "x", "images": [3]}, "images must be a list"),
        ({"prompt": "x", "rollouts": [[{"answer": "x"}]]}, "rollouts must be"),
        ("", "no document in it"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(line, message, tmp_path):
    with pytest.raises(UserError, match=message):
        read_documents(written(tmp_path, line))


def test_ids_are_unique_and_files_are_there(tmp_path):
    with pytest.raises(UserError, match="two documents have the id 'a'"):
        read_documents(written(tmp_path, *[{"id": "a", "prompt": "x"}] * 2))
    with pytest.raises(UserError, match="cannot be read"):
        read_documents(tmp_path / "none.jsonl")


def test_a_blank_at_the_end_of_the_prompt_is_the_models_or_the_answers(subject, asked):
    """A template that ends in a blank: generation reads it, a given answer takes it along."""
    one = subject("llama")
    template = one.encoder.tokenizer.chat_template
    spaced = replace(one, encoder=replace(one.encoder, chat_template=template + "{{ ' ' }}"))
    prompt = spaced.encoder.render(asked("llama").messages())
    assert prompt.text.endswith("] ")
    written = spaced.trace(asked("llama"), max_new_tokens=3)
    read = spaced.encoder.encode([prompt])["input_ids"][0]
    assert torch.equal(written.ids[: written.start], read)
    given = spaced.trace(asked("llama", response="yes"))
    assert given.texts[given.start :] == (" yes",), "one token, as the model would write it"
    assert given.start == written.start - 1
