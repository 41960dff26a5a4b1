"""RRD: the protocol against scripted replies, and both stages against the stock model's answers."""

from __future__ import annotations

import pytest

from lmms_causal.errors import UserError
from lmms_causal.interventions import Question, apply, parse
from lmms_causal.interventions.methods.rrd import (
    COUNT,
    DESCRIBE_ALL,
    DESCRIBE_ONE,
    FROM_TEXT,
    MOST_CLIPS,
    RRD,
    WITH_VIDEO,
    clips_named,
    counted,
)
from lmms_causal.models.generation import Settings
from lmms_causal.models.prompts import Encoder
from lmms_causal.models.runner import Runner
from lmms_causal.testing import picture

TASK = "Which order is right for making tea? Answer as `Correct order: 1,2,...`."
CLIP = "any video"
LINES = "Clip 1: water boils.\nClip 2: a cup is filled."


class Scripted:
    """Replies by the words it is asked with, and keeps what it was asked."""

    def __init__(self, replies: dict[str, str]) -> None:
        self.replies = replies
        self.asked: list[tuple[Question, int]] = []

    def ask(self, question: Question, max_new_tokens: int) -> str:
        self.asked.append((question, max_new_tokens))
        return self.replies[question.text]


def one(number: int) -> str:
    return DESCRIBE_ONE.format(number=number)


def prepared(replies, **parameters):
    assistant = Scripted(replies)
    still = picture(1)
    question = Question(TASK, (still,), (CLIP,), "vcrbench/7/0")
    made = RRD(**parameters).prepare(question, assistant)
    for asked, tokens in assistant.asked:  # every call is shown the whole video
        assert (asked.videos, asked.images, asked.key) == ((CLIP,), (still,), "vcrbench/7/0")
        assert tokens == parameters.get("max_new_tokens", 512)
    assert made.images == (still,)
    return made, [asked.text for asked, _ in assistant.asked]


def test_a_single_pass_hands_its_reply_on_and_drops_the_video():
    made, asked = prepared({DESCRIBE_ALL: f"{LINES}\n"}, max_new_tokens=64)
    assert asked == [DESCRIBE_ALL]
    assert made.text == FROM_TEXT.format(described=LINES, question=TASK)
    assert made.videos == ()


def test_with_video_the_task_s_own_question_comes_last_and_the_video_stays():
    made, _ = prepared({DESCRIBE_ALL: LINES}, reasoning="video")
    assert made.text == WITH_VIDEO.format(described=LINES, question=TASK)
    assert made.text.endswith(TASK) and made.videos == (CLIP,)


@pytest.mark.parametrize("parity, label", [(False, "Clip"), (True, "Clip Clip")])
@pytest.mark.parametrize("count", ["2", "There are 2 clips, not 3.", " 02 "])
def test_one_by_one_asks_as_often_as_the_model_counts(count, parity, label):
    replies = {COUNT: count, one(1): "Water boils.", one(2): " A cup is filled. "}
    made, asked = prepared(replies, recognition="sequential", parity=parity)
    assert asked == [COUNT, one(1), one(2)]
    lines = f"{label} 1: Water boils.\n{label} 2: A cup is filled."
    assert made.text == FROM_TEXT.format(described=lines, question=TASK)


@pytest.mark.parametrize("count", ["", "several", "0", str(MOST_CLIPS + 1)])
def test_without_a_count_the_clips_of_a_single_pass_are_counted(count):
    named = "Clip 1: a\nclip 2: b\nClip 2 again, Clip 3"
    replies = {COUNT: count, DESCRIBE_ALL: named, one(1): "a", one(2): "b", one(3): "c"}
    made, asked = prepared(replies, recognition="sequential")
    assert asked == [COUNT, DESCRIBE_ALL, one(1), one(2), one(3)]
    described = "Clip 1: a\nClip 2: b\nClip 3: c"
    assert made.text == FROM_TEXT.format(described=described, question=TASK)


def test_a_single_pass_that_names_no_clip_is_handed_on():
    replies = {COUNT: "many", DESCRIBE_ALL: "Somebody makes {tea}."}
    made, asked = prepared(replies, recognition="sequential")
    assert asked == [COUNT, DESCRIBE_ALL]
    assert made.text == FROM_TEXT.format(described="Somebody makes {tea}.", question=TASK)


def test_counts_are_read_as_the_first_number():
    assert [counted(text) for text in ("7", "Clips: 4.", "none", "-3")] == [7, 4, None, 3]
    assert [clips_named(text) for text in ("Clip 1, CLIP 2", "eclipse 1", "")] == [2, None, None]


def test_a_question_without_a_video_is_refused_or_left(tiny):
    several = Question(TASK, (picture(1), picture(2)), (), "t/3")
    with pytest.raises(UserError, match=r"t/3: intervention rrd needs a video.*without_video=skip"):
        RRD().prepare(several, Scripted({}))
    assert RRD(without_video="skip").prepare(several, Scripted({})) is several
    model, tokenizer = tiny("llama")
    with pytest.raises(UserError, match="rrd needs a video, and the model reads text only"):
        apply(model, "rrd", tokenizer)
    apply(model, "rrd(without_video=skip)", tokenizer)


def test_nothing_is_installed_on_the_model(tiny):
    model, processor = tiny("llava")
    apply(model, "rrd", processor)
    assert not {"forward", "generate"} & model.__dict__.keys()


@pytest.mark.parametrize(
    "spec, message",
    [
        ("rrd(max_new_tokens=0)", "max_new_tokens=0 must be 1 or more"),
        ("rrd(recognition=both)", "recognition=both is not one of single, sequential"),
        ("rrd(reasoning=none)", "reasoning=none is not one of text, video"),
    ],
)
def test_parameters_out_of_range_are_named(spec, message):
    with pytest.raises(UserError, match=f"intervention rrd: {message}"):
        parse(spec)


@pytest.mark.parametrize("name", ["qwen2_5_vl", "llava"])  # llava sees the frames as pictures
@pytest.mark.parametrize("reasoning", ["text", "video"])
def test_both_stages_are_the_stock_model_s_answers(tiny, name, reasoning):
    model, processor = tiny(name)
    encoder = Encoder(processor.tokenizer, processor)
    shown = {"type": "video", "video": [picture(30), picture(31)]}

    def rendered(text, *media):
        return encoder.render(
            [{"role": "user", "content": [*media, {"type": "text", "text": text}]}]
        )

    def answer(prompt, tokens):
        inputs = encoder.encode([prompt])
        ids = model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
        return processor.tokenizer.decode(
            ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )

    described = answer(rendered(DESCRIBE_ALL, shown), 5).strip()
    frame, media = (FROM_TEXT, ()) if reasoning == "text" else (WITH_VIDEO, (shown,))
    expected = answer(rendered(frame.format(described=described, question=TASK), *media), 4)

    plan = parse(f"rrd(reasoning={reasoning};max_new_tokens=5)").plan()
    runner = Runner(model, encoder, plan, quiet=True)
    settings = Settings(max_new_tokens=4)
    (found,) = runner.generate([rendered(TASK, shown)], [settings])
    assert found.text == expected
    assert runner.cost.forward_passes == runner.cost.generated_tokens == 5 + 4
