"""Re-reading: the exact prompt of the authors' code, and what must stay out of the repetition."""

from __future__ import annotations

import pytest

from lmms_causal.errors import UserError
from lmms_causal.interventions import parse
from lmms_causal.testing.tokenizer import build_tokenizer

QUESTION = "Did the boy fall?\nAnswer Choices: (A) yes (B) no"


def rewrite(spec: str, text: str) -> str:
    return parse(spec).plan().rewrite(text)


def test_question_is_joined_to_itself_as_in_the_authors_code():
    # question, a blank, two line ends, the phrase, the question (Rereading-LLM-Reasoning)
    expected = f"{QUESTION} \n\nRead the question again: {QUESTION}"
    assert rewrite("re2", QUESTION) == expected


def test_every_further_reading_repeats_phrase_and_question():
    again = f" \n\nRead the question again: {QUESTION}"
    assert rewrite("re2(times=4)", QUESTION) == QUESTION + 3 * again


def test_one_reading_leaves_the_prompt_and_the_plan_empty():
    assert rewrite("re2(times=1)", QUESTION) == QUESTION
    assert parse("re2(times=1)").plan().rewrites == ()


def test_format_instruction_is_kept_once_at_the_end():
    text = f"{QUESTION}\nAnswer with the letter only."
    expected = f"{QUESTION} \n\nRead the question again: {QUESTION}\nAnswer with the letter only."
    assert rewrite("re2(format_from=Answer with)", text) == expected


def test_the_last_line_that_starts_with_the_words_begins_the_instruction():
    text = "Answer this: why?\nAnswer yes or no.\nBe brief."
    question = "Answer this: why?"
    assert rewrite("re2(format_from=Answer)", text) == (
        f"{question} \n\nRead the question again: {question}\nAnswer yes or no.\nBe brief."
    )


def test_missing_instruction_repeats_the_whole_turn():
    assert rewrite("re2(format_from=Reply)", QUESTION) == rewrite("re2", QUESTION)


@pytest.mark.parametrize("text", ["", " \n", "Answer with yes."])
def test_turn_without_a_question_is_unchanged(text):
    assert rewrite("re2(format_from=Answer)", text) == text


def test_blank_lines_around_the_question_are_not_repeated():
    assert rewrite("re2", "\n why? \n") == "\n why? \n\nRead the question again: why? \n"


def test_prompt_grows_by_the_question_and_the_phrase_only():
    tokenizer = build_tokenizer(bos=None, eos="</s>", pad="<pad>")

    def count(text: str) -> int:
        return len(tokenizer(text).input_ids)

    grown = count(rewrite("re2", QUESTION))
    phrase = count(" \n\nRead the question again: ")
    assert abs(grown - (2 * count(QUESTION) + phrase)) <= 2  # merges at the two seams


@pytest.mark.parametrize("times", [0, -3])
def test_fewer_than_one_reading_is_refused(times):
    with pytest.raises(UserError, match=f"re2: times={times} must be 1 or more"):
        parse(f"re2(times={times})")


def test_an_empty_start_of_the_instruction_is_refused():
    with pytest.raises(UserError, match="format_from is empty"):
        parse("re2(format_from=)")
