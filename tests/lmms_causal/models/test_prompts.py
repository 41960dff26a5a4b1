"""Conversations with several pictures, videos and rounds become what the model is shown."""

from __future__ import annotations

import av
import numpy as np
import pytest
from PIL import Image, ImageFile

from lmms_causal.errors import UserError
from lmms_causal.models.generation import Settings
from lmms_causal.models.media import open_picture, open_video
from lmms_causal.testing import names, picture, video

LEVELS = tuple(range(0, 250, 25))  # grey of frame 0, 1, ...; far enough apart to survive coding


@pytest.fixture
def clip(tmp_path):
    """Ten grey frames at five a second, each lighter than the one before."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for level in LEVELS:
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), level, np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return str(path)


def shown(clip, *arguments):
    """The numbers of the frames that were sampled."""
    means = open_video(clip, *arguments).frames.mean(axis=(1, 2, 3))
    return [int(np.abs(np.array(LEVELS) - mean).argmin()) for mean in means]


def test_frames_are_sampled_evenly_with_both_ends(clip):
    assert shown(clip, 4) == [0, 3, 6, 9]
    assert shown(clip, 1) == [0]
    assert shown(clip, 99) == list(range(10))  # a short video shows all it has


def test_a_part_of_a_video_shows_that_part_only(clip):
    assert shown(clip, 3, (0.4, 1.2)) == [2, 4, 6]
    assert shown(clip, 2, (1.0, None)) == [5, 9]


def ask_about(runner, *parts):
    content = [*parts, {"type": "text", "text": "What happened?"}]
    prompt = runner.encoder.render([{"role": "user", "content": content}], "t/0/0")
    return prompt, runner.generate([prompt], [Settings.from_task({"max_new_tokens": 5})])[0]


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl", "llava_onevision", "internvl"])
def test_a_video_file_and_its_frames_are_answered_alike(runner, clip, name):
    """Except by the two families that are told the seconds between frames, which a list has not."""
    runner = runner(name)
    file = {"type": "video", "video": clip}
    frames = [Image.fromarray(frame) for frame in open_video(clip, 32).frames]
    prompt, from_file = ask_about(runner, file)
    other, from_frames = ask_about(runner, {"type": "video", "video": frames})
    assert prompt.text == other.text and len(prompt.videos) == 1 and not prompt.images
    if name not in ("qwen2_5_vl", "qwen3_vl"):
        assert from_file == from_frames


def test_a_model_without_a_video_processor_gets_the_frames_as_pictures(runner):
    runner = runner("llava")
    frames = [Image.fromarray(frame) for frame in video(frames=3)]
    as_video = ask_about(runner, {"type": "video", "video": frames})
    as_images = ask_about(runner, *({"type": "image", "image": frame} for frame in frames))
    assert as_video[1] == as_images[1]
    assert as_video[0].text == as_images[0].text


@pytest.mark.parametrize("name", names("vision"))
def test_two_pictures_are_both_seen_and_their_order_matters(runner, name):
    runner = runner(name)
    one, two = ({"type": "image", "image": picture(seed)} for seed in (1, 2))
    answers = [ask_about(runner, *parts)[1] for parts in ((one, two), (two, one), (one, one))]
    inputs = [
        runner.encoder.encode([ask_about(runner, *parts)[0]]) for parts in ((one, two), (two, one))
    ]
    assert inputs[0]["input_ids"].equal(inputs[1]["input_ids"])
    assert not inputs[0]["pixel_values"].equal(inputs[1]["pixel_values"])
    assert len({answer.prompt_tokens for answer in answers}) == 1


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "llama"])
def test_every_turn_of_a_conversation_reaches_the_model(runner, name):
    runner = runner(name)

    def said(role, text):
        return {"role": role, "content": [{"type": "text", "text": text}]}

    turns = [said("system", "Be brief."), said("user", "Why?"), said("assistant", "No.")]
    text = runner.encoder.render([*turns, said("user", "Again?")]).text
    places = [text.index(part) for part in ("Be brief.", "Why?", "No.", "Again?")]
    assert places == sorted(places)


def test_a_truncated_picture_is_refused_also_where_pillow_was_told_to_tolerate_it(
    tmp_path, monkeypatch
):
    """lmms-eval tells it so, on import."""
    whole = tmp_path / "whole.jpg"
    picture(1, 200, 200).save(whole)
    half = tmp_path / "half.jpg"
    half.write_bytes(whole.read_bytes()[:2000])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    for source in (half, Image.open(half)):  # a path, and a picture that is not decoded yet
        with pytest.raises(UserError, match=r"task/7.*half\.jpg"):
            open_picture(source, "task/7")
    assert open_picture(whole).size == (200, 200)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK", "I;16"])
def test_pictures_of_any_mode_are_shown_in_rgb(mode):
    source = Image.new(mode, (5, 3)) if mode == "I;16" else picture(1).convert(mode)
    assert open_picture(source).mode == "RGB"


@pytest.mark.parametrize("frames", [[], [picture(1, 8, 8), picture(1, 8, 9)]])
def test_frames_that_make_no_video_are_refused(frames):
    with pytest.raises(UserError, match=r"t/3.*frames"):
        open_video(frames, 8, key="t/3")


def test_a_broken_video_is_refused_with_its_document(tmp_path):
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"no video")
    with pytest.raises(UserError, match=r"t/3.*broken\.mp4"):
        open_video(str(path), 8, key="t/3")


def test_a_video_in_a_mapping_shows_the_part_it_names(runner, clip):
    """As lmms-eval hands over a mapping with an address and seconds."""
    packed = {"url": clip, "video_start": 0.4, "video_end": 1.2}
    runner = runner("qwen2_5_vl")
    for part in (
        {"type": "video", "video": packed},
        {"type": "video", "video": clip, "video_start": 0.4, "video_end": 1.2},
    ):
        (video,) = ask_about(runner, part)[0].videos
        assert len(video.frames) == 5  # frames 2 to 6


def test_a_template_that_refuses_a_conversation_is_quoted(runner):
    from dataclasses import replace

    template = "{{ raise_exception('no system prompt here') }}"
    encoder = replace(runner("llama").encoder, chat_template=template)
    turns = [{"role": "system", "content": [{"type": "text", "text": "Be brief."}]}]
    with pytest.raises(UserError, match=r"t/4: .*no system prompt here"):
        encoder.render(turns, "t/4")


def test_media_for_a_text_model_and_unknown_media_are_refused(runner):
    runner = runner("llama")
    content = [{"type": "image", "image": picture(1)}]
    with pytest.raises(UserError, match="reads text only"):
        runner.encoder.render([{"role": "user", "content": content}], "t/1")
    content = [{"type": "audio", "audio": "x.wav"}]
    with pytest.raises(UserError, match="t/1: a prompt with audio"):
        runner.encoder.render([{"role": "user", "content": content}], "t/1")


def test_a_prompt_that_does_not_fit_loses_its_beginning_or_is_refused_with_pictures(runner, ask):
    text, vision = runner("llama"), runner("llava")
    for made, expected in ((text, None), (vision, UserError)):
        config = made.model.config.get_text_config()
        room, config.max_position_embeddings = config.max_position_embeddings, 40
        try:
            long = ask(made.encoder, "Why? " * 60)
            settings = [Settings.from_task({"max_new_tokens": 8})]
            if expected:
                with pytest.raises(expected, match="40 positions"):
                    made.generate([long], settings)
            else:
                (answer,) = made.generate([long], settings)
                assert answer.prompt_tokens == 32
        finally:
            config.max_position_embeddings = room
