"""Conversations of two stages: the calls of the intervention `rrd`, and whole ones or none."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from lmms_causal.decomposition import COUNT, DESCRIBE_ALL, MOST_CALLS, next_call
from lmms_causal.errors import UserError
from lmms_causal.interventions import Question
from lmms_causal.interventions.methods.rrd import RRD
from lmms_causal.tasks import catalogue
from lmms_causal.tasks.vcrbench_causal import conversations, documents, generated
from lmms_causal.tasks.vcrbench_causal.conversations import VARIANTS, answer, ask, read, transcript

NAMES = tuple(VARIANTS)
REPLIES = (
    *("3", "There are 2.", "none", "0", "9" * 5000, "51", "50", " ", "", "Clip 1: {a}", "é\u2028"),
    *("<think>4", "5</think> 1", "Clip 2 then clip 7.", '"]', "Correct order: 2, 1, 3"),
)


def _held(doc: dict, draw: random.Random) -> tuple[str, list[str], list[list[str]]]:
    """The response of a model that replies at random, its replies, what it was shown each time."""
    replies: list[str] = []
    shown = [[doc["video_file"]]]
    assert ask(doc) == doc["text"]
    for number in range(1, MOST_CALLS + 1):
        replies.append(draw.choice(REPLIES))
        visuals, text, ended, outputs, information = ask(
            doc, None, round_idx=number, previous_output=list(replies), previous_round_info=None
        )
        assert information is None
        if ended:
            return *outputs, replies, shown
        assert text and outputs is None
        shown.append([Path(path).name for path in visuals])
    raise AssertionError("the conversation does not end")


def _by_the_method(doc: dict, replies: list[str]) -> tuple[list[str], list[bool]]:
    """The words of all calls of `rrd`, and whether each shows the video."""
    asked: list[str] = []

    class Scripted:
        def ask(self, question: Question, max_new_tokens: int) -> str:
            asked.append(question.text)
            return replies[len(asked) - 1]

    method = RRD(doc["recognition"], doc["reasoning"])
    question = method.prepare(Question(doc["question"], videos=("video",)), Scripted())
    return [*asked, question.text], [True] * len(asked) + [bool(question.videos)]


@pytest.mark.parametrize("name", NAMES)
def test_a_conversation_makes_the_calls_of_the_intervention(name: str, tiny_videos: Path) -> None:
    draw = random.Random(name)
    docs = conversations.build(name)
    longest = 0
    for _ in range(200):
        doc = draw.choice(docs)
        response, replies, shown = _held(doc, draw)
        asked, visible = _by_the_method(doc, replies)
        assert [turn["asked"] for turn in json.loads(response)] == asked
        assert shown == [[doc["video_file"]] if seen else [] for seen in visible]
        assert read(doc, response) == replies
        assert "<" not in response and response.startswith("[")  # or lmms-eval would rewrite it
        longest = max(longest, len(replies))
    assert longest == (2 if doc["recognition"] == "single" else 52)


def test_the_longest_conversation_is_as_long_as_the_task_files_allow(
    tiny_videos: Path, load_lmms_eval: Callable
) -> None:
    replies = ["many", "\n".join(f"Clip {n}" for n in range(1, 51)), *["It is cut."] * 50]
    assert next_call("?", replies, recognition="sequential").is_last
    assert len(replies) + 1 == MOST_CALLS
    for name in NAMES:
        for kind in ("chat", "simple"):
            task = load_lmms_eval(name, kind)[name]
            task.build_all_requests(limit=1)
            (request,) = task.instances
            words, options, doc_to_visual, following, *_ = request.args
            doc = task.test_docs()[0]
            assert request.request_type == "generate_until_agentic"
            assert options["max_agentic_steps"] == MOST_CALLS
            assert (options["until"], options["do_sample"]) == ([], False)
            first = COUNT if "sequential" in name else DESCRIBE_ALL
            assert words == doc["text"] == first
            assert [Path(path).name for path in doc_to_visual(doc)] == ["video_1.mp4"]
            assert following(doc, round_idx=1, previous_output=["3"])[1] != first
            assert float(task.VERSION) == 1.0 and task.config.num_fewshot == 0


def _transcript(doc: dict, *replies: str) -> str:
    calls = [
        next_call(doc["question"], replies[:n], recognition="single", reasoning=doc["reasoning"])
        for n in range(len(replies))
    ]
    return transcript(calls, replies)


def test_the_last_reply_is_scored_as_in_the_plain_task(
    tiny_videos: Path, load_lmms_eval: Callable
) -> None:
    """Thoughts are taken out of it as lmms-eval does for a plain answer."""
    doc, plain = conversations.build("vcrbench_rrd")[0], documents.build("plain")[0]
    assert doc["order"] == [2, 1, 3]
    first = "<think>1, 2, 3"  # closed by the next reply, if thoughts were taken out of the whole
    for reply, read_as in (
        ("Correct order: 2, 1, 3", "Correct order: 2, 1, 3"),
        ("</think>Correct order: 2, 1, 3", "Correct order: 2, 1, 3"),
        ("<think>1, 2, 3</think>\nCorrect order: 2, 1, 3", "Correct order: 2, 1, 3"),
        ("Correct order: 3, 1, 2", "Correct order: 3, 1, 2"),
        ("", ""),
    ):
        values = answer(doc, [_transcript(doc, first, reply)])
        assert values == generated.answer(plain, [read_as])
    task = load_lmms_eval("vcrbench_rrd")["vcrbench_rrd"]
    assert list(task.aggregation()) == [name for name in task.aggregation() if name in values]
    assert next(iter(task.aggregation())) == next(iter(values)) == "vcrbench_score"


def test_nothing_but_a_whole_conversation_is_scored(tiny_videos: Path) -> None:
    doc, other = conversations.build("vcrbench_rrd")[:2]
    (with_video, *_) = conversations.build("vcrbench_rrd_video")
    whole = _transcript(doc, "Clip 1: a", "Correct order: 2, 1, 3")
    assert answer(doc, [whole])["vcrbench_score"] == 1
    wrong = [
        "Correct order: 2, 1, 3",
        "",
        "[]",
        "null",
        "[" * 100_000,
        json.dumps(["Correct order: 2, 1, 3"]),
        _transcript(doc, "Clip 1: a"),
        json.dumps([*json.loads(whole), json.loads(whole)[-1]]),
        whole.replace("Clip 1: a", "Clip 1: b", 1),
        _transcript({**doc, "question": "Another."}, "Clip 1: a", "Correct order: 2, 1, 3"),
        _transcript(with_video, "Clip 1: a", "Correct order: 2, 1, 3"),
        whole[:-1],
    ]
    for response in wrong:
        with pytest.raises(UserError, match=r"item 1: .*is no conversation.*max_agentic_steps"):
            answer(doc, [response])
    with pytest.raises(UserError, match="vcrbench_rrd_sequential"):
        conversations.build("vcrbench_rrd_text")
    assert other["id"] == "2"


def test_missing_videos_are_one_error_before_the_run(tiny_videos: Path) -> None:
    catalogue.check(NAMES)
    (tiny_videos / "videos/video_2.mp4").unlink()
    for name in NAMES:
        with pytest.raises(UserError, match=r"1 of 3 VCRBench videos are missing.*video_2\.mp4"):
            catalogue.check([name])
