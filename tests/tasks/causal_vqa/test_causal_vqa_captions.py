"""Connectors, the direction of the right caption, and which pairs are sound."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmms_causal.tasks.causal_vqa.captions import CONNECTORS, DEFAULT_CONNECTOR, connect
from lmms_causal.tasks.causal_vqa.data import read_captions, read_statements
from lmms_causal.tasks.causal_vqa.unswapped import NOT_SWAPPED, UNDECIDED

STATED = "The lamp is lit is due to it is dark."
REVERSED = "It is dark is caused by the lamp is lit."


def test_the_twelve_connectors_are_the_authors_and_the_last_five_point_forward() -> None:
    """Strings and order: ``causaltest`` scripts of limenlp/CausalVLM at 8bd20d0."""
    assert [connector.text for connector in CONNECTORS] == [
        "is due to",
        "is caused by",
        "is a result of",
        "is the effect of",
        "is the consequence of",
        "because",
        "owe to",
        "result in",
        "cause",
        "lead to",
        "give rise to",
        "bring about to",
    ]
    assert [connector.forward for connector in CONNECTORS] == [False] * 7 + [True] * 5
    assert DEFAULT_CONNECTOR.text == "because"


@pytest.mark.parametrize("connector", CONNECTORS, ids=lambda connector: connector.slug)
def test_the_right_caption_states_effect_first_only_with_a_backward_connector(connector) -> None:
    pair = connect(STATED, REVERSED, connector)
    effect_first = f"The lamp is lit {connector.text} it is dark."
    cause_first = f"It is dark {connector.text} the lamp is lit."
    if connector.forward:
        assert (pair.correct, pair.wrong) == (cause_first, effect_first)
    else:
        assert (pair.correct, pair.wrong) == (effect_first, cause_first)
    assert pair.clean


def test_an_unsound_pair_is_not_clean() -> None:
    same = connect(STATED, "The lamp is lit is caused by it is dark.", DEFAULT_CONNECTOR)
    assert same.degenerate and not same.clean
    off = connect("Rain are due to clouds.", STATED, DEFAULT_CONNECTOR)
    assert off.correct == "Rain are due to clouds." and not off.template_ok and not off.clean
    paraphrase = connect(STATED, REVERSED, DEFAULT_CONNECTOR, swapped=False)
    assert not paraphrase.degenerate and not paraphrase.clean


@pytest.mark.data
def test_sizes_of_the_released_files_and_their_clean_subsets(real_release: Path) -> None:
    """Counts: measured on the released files when the benchmark was ported."""
    counts = {}
    off_template = {}
    for source in ("vqa", "vcr"):
        unsound = NOT_SWAPPED | UNDECIDED if source == "vqa" else ()
        pairs = [
            connect(
                row.sentence,
                row.reverse_sentence,
                DEFAULT_CONNECTOR,
                swapped=row.row not in unsound,
            )
            for row in read_captions(source)
        ]
        clean, same = sum(pair.clean for pair in pairs), sum(pair.degenerate for pair in pairs)
        counts[source] = (len(pairs), clean, same)
        off_template[source] = [row for row, pair in enumerate(pairs) if not pair.template_ok]
        if source == "vqa":
            degenerate = {row for row, pair in enumerate(pairs) if pair.degenerate}
            assert degenerate <= NOT_SWAPPED and len(NOT_SWAPPED) == 113
    assert counts == {"vqa": (1947, 1828, 48), "vcr": (3511, 3501, 0)}
    assert off_template["vqa"] == [879, 903, 1886]
    assert off_template["vcr"] == [37, 625, 771, 1342, 1438, 2069, 2249, 2555, 3198, 3502]


@pytest.mark.data
def test_statements_belong_to_the_captions_of_the_same_row(real_release: Path) -> None:
    captions, statements = read_captions("vqa"), read_statements()
    assert [row.image_id for row in captions] == [row.image_id for row in statements]


PRONOUNS = ("it", "they", "he", "she", "its", "their", "his", "her")


def _starts_with_pronoun(caption: str) -> bool:
    first = caption.split()[0].lower().strip(".,;:")
    return first.split("'")[0] in PRONOUNS


@pytest.mark.data
@pytest.mark.parametrize(
    "source, only_clean, percent",
    [("vqa", False, 80.3), ("vqa", True, 82.0), ("vcr", False, 72.9), ("vcr", True, 73.0)],
)
def test_a_blind_pronoun_rule_already_scores_this_much(
    real_release: Path, source: str, only_clean: bool, percent: float
) -> None:
    """Why the blind control matters: never choose a caption that starts with a pronoun.

    No picture, no model, a tie counts one half. Expected: the benchmark's README, measured on the
    released files.
    """
    unsound = NOT_SWAPPED | UNDECIDED if source == "vqa" else ()
    scores = []
    for row in read_captions(source):
        pair = connect(
            row.sentence, row.reverse_sentence, DEFAULT_CONNECTOR, swapped=row.row not in unsound
        )
        if only_clean and not pair.clean:
            continue
        right, wrong = _starts_with_pronoun(pair.correct), _starts_with_pronoun(pair.wrong)
        scores.append(0.5 if right == wrong else float(wrong))
    assert 100 * sum(scores) / len(scores) == pytest.approx(percent, abs=0.1)


def test_stray_blanks_do_not_tell_which_caption_is_right() -> None:
    pair = connect(
        "It melts is due to it is  hot.  ", "It is hot is due to it melts.", CONNECTORS[0]
    )
    assert pair.correct == "It melts is due to it is hot."
