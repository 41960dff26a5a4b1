"""The shared parsers on generated answers: letters in every dress, lists of letters, noise.

A text that names two answers is none, in whatever dress and order; a *list* of letters neither.
"""

from __future__ import annotations

import random
import unicodedata

import pytest

from lmms_causal.tasks.choices import parse_letter, parse_word, strip_reasoning
from lmms_causal.tasks.judge_pairs.scoring import parse_verdict
from lmms_causal.tasks.normalising import nfkc
from lmms_causal.tasks.yes_no import parse_yes_no

OPTIONS = {
    "A": "The lamp is lit because it is dark.",
    "B": "It is dark because the lamp is lit.",
    "C": "The cat hides because the dog barks.",
}
COLOURS = ("red", "green", "dark blue", "blue")

DRESSES = (
    *("{}", "({})", "**{}**", "{}.", "__{}__", "Answer: {}", "The answer is ({}).", "[{}]", "`{}`"),
    *(
        "The correct option is {}",
        "I would choose option {}",
        "Option {} is correct.",
        "答案是{}。",
    ),
    *(r"$\boxed{{\text{{{}}}}}$", "{} because it fits", "Caption {} is the right one", "\n{}\n"),
)
#: Each alone declares its letter; two of them, however joined, declare two.
NAMES = (
    *("{}", "({})", "**{}**", "{}.", "Answer: {}", "The answer is ({}).", "[{}]", "`{}`"),
    *("Option {}.", "Caption {} is correct.", "{} is the right one.", "I would choose option {}"),
    *(r"\boxed{{{}}}", "The correct option is {}", "{}. because it fits"),
)
JOINTS = (
    *(" ", "\n", ". ", ", ", "; ", " or ", " and ", "/", " & ", "\n\n", " -- ", " or maybe "),
    *(" No, ", "\nWait, ", " as well as "),
)
LISTS = (
    "{0} or {1}",
    "{0} and {1}",
    "{0}/{1}",
    "({0}) or ({1})",
    "{0} & {1}",
    "{0}, {1}",
    "neither {0} nor {1}",
)
LISTED = ("{}", "Answer: {}", "The answer is {}.", "Option {}", "Both {}.")
NOISE = (
    *(
        "I cannot see the picture.",
        "As an AI model, I",
        "\u202e",
        "\x00",
        "🙂" * 5,
        "é",
        "''",
        "((",
    ),
    *(
        "<think>",
        "</think>",
        "<analysis>",
        "no.",
        "yes",
        "none",
        "A dog",
        "1.",
        "不",
        "Ａ1",
        "e.g.",
    ),
    *("\u0301\u0327" * 9, "[[", "]]", "{}", "\\boxed{", "red", "RED", " ", "\n", "Answer:", "a"),
    *("([{<" * 9, "((((" * 9, "not A", "final answer"),
)


def _noise(draw: random.Random) -> str:
    wild = "".join(map(chr, draw.choices(range(1, 0x3000), k=draw.randrange(6))))
    return "".join(draw.choices(NOISE, k=draw.randrange(5))) + wild


def _letters_hold(rounds: int, seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(rounds):
        one, other = draw.sample(sorted(OPTIONS), 2)
        said = draw.choice(DRESSES).format(one)
        assert parse_letter(said, OPTIONS) == one, said
        listed = draw.choice(LISTED).format(draw.choice(LISTS).format(one, other))
        assert parse_letter(listed, OPTIONS) is None, listed
        assert parse_letter(f"<think>{listed}</think>\n{said}", OPTIONS) == one, said
        assert parse_letter(f"<think>{said}", OPTIONS) is None
        two = (
            draw.choice(NAMES).format(one) + draw.choice(JOINTS) + draw.choice(NAMES).format(other)
        )
        assert parse_letter(two, OPTIONS) is None, two
        assert parse_letter(two, sorted(OPTIONS)) is None, two
        assert parse_letter(f"{two}\nFinal answer: {one}", OPTIONS) == one, two
        text = _noise(draw) + draw.choice(("", said, listed, OPTIONS[other])) + _noise(draw)
        read = parse_letter(text, OPTIONS)
        seen = unicodedata.normalize("NFKC", strip_reasoning(text)).upper()
        assert read is None or (read in OPTIONS and read in seen), text


def _verdicts_hold(rounds: int, seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(rounds):
        one, other = draw.sample("AB", 2)
        before, after = (_noise(draw).replace("think", "x") for _ in range(2))
        before, after = (noise.replace("analysis", "x") for noise in (before, after))
        before, after = (noise.replace("[", "").replace("]", "") for noise in (before, after))
        # What follows a verdict must not name the other letter.
        after = "".join(sign for sign in after if not set("abAB") & set(nfkc(sign)))
        assert parse_verdict(f"{before}[[{one}]]{after}") == one
        assert parse_verdict(f"{before}[[ {one} ]]{after}[[{other}]]") is None
        assert parse_verdict(f"<think>[[{other}]]</think>{before}[[{one}]]") == one
        two = (
            draw.choice(NAMES).format(one) + draw.choice(JOINTS) + draw.choice(NAMES).format(other)
        )
        assert parse_verdict(two) is None, two
        assert parse_verdict(f"[[{one}]]. The answer is {other}.") is None
        assert parse_verdict(f"{two}\n[[{one}]]") == one, two
        assert parse_verdict(_noise(draw)) in (None, "A", "B")


def _words_hold(rounds: int, seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(rounds):
        word = draw.choice(("red", "green", "blue"))
        shown = draw.choice((str.upper, str.lower, str.title))(word)
        assert parse_word(f"{draw.choice(('It is ', '**', '(', ''))}{shown}.", COLOURS) == word
        assert parse_word(f"{shown}dish un{shown} {shown}1", COLOURS) is None
        text = _noise(draw) + draw.choice(("", shown)) + _noise(draw)
        for words in (COLOURS, ("yes", "no")):
            read = parse_word(text, words)
            assert read is None or (read in words and read in text.casefold()), text
        assert parse_yes_no(text) in (None, "yes", "no")
        one, other = draw.sample(("yes", "no"), 2)
        two = (
            draw.choice(WORDS).format(one) + draw.choice(JOINTS) + draw.choice(WORDS).format(other)
        )
        assert parse_yes_no(draw.choice(WORDS).format(one)) == one
        assert parse_yes_no(two) is None, two
        assert parse_word(two, ("no", "yes")) is None, two
        assert parse_yes_no(f"<think>{two}</think>{one}") == one


WORDS = ("{}", "{}.", "**{}**", "({})", '"{}"', "Answer: {}", "The answer is {}", "I say {}!")
HOLD = {"letters": _letters_hold, "verdicts": _verdicts_hold, "words": _words_hold}


@pytest.mark.parametrize("parser", HOLD)
def test_generated_answers(parser: str) -> None:
    HOLD[parser](500, seed=0)


@pytest.mark.exhaustive
@pytest.mark.parametrize("parser", HOLD)
def test_a_hundred_thousand_generated_answers(parser: str) -> None:
    HOLD[parser](25_000, seed=1)  # four to five texts each


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "piece",
    [
        *("A ", "A or ", "A,", "Answer: ", "yes ", "x", "<think>", "</think>", "é", "答案", " "),
        *("(", "([{<", "[[", "\u0301\u0327", "\uff9e\u0301", "not A ", "A is ", "option ", "A\n"),
        *("_", "\n", "<think>A</think>", "final answer ", "first thought ", "A: the ", "no "),
    ],
)
def test_a_megabyte_of_one_thing(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    assert parse_letter(text, OPTIONS) in (None, "A")
    assert parse_verdict(text) in (None, "A")
    assert parse_yes_no(text) == ({"yes ": "yes", "no ": "no"}.get(piece))
    assert parse_word(text, ("yes", "no")) == {"yes ": "yes", "no ": "no"}.get(piece)
