"""Segments in texts: markers, places, the field and the regular expression."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmms_causal import segments
from lmms_causal.errors import UserError
from lmms_causal.segments import CLOSE, OPEN, compiled, declared, find, mark, matches, split, strip

TEXTS = st.text(st.sampled_from("ab \n.é"), min_size=1, max_size=6)


@given(st.lists(st.tuples(TEXTS, st.lists(TEXTS, min_size=1, max_size=3)), max_size=4), TEXTS)
def test_splitting_is_the_inverse_of_marking(parts, tail):
    """Groups with text before each; what is found is what was marked, where it stands."""
    text = "".join(before + mark(group) for before, group in parts) + tail
    plain, groups = split(text)
    assert plain == "".join(before + "".join(group) for before, group in parts) + tail
    assert [list(it) for it in segments.texts_of(plain, groups)] == [group for _, group in parts]
    assert all(a[1] == b[0] for group in groups for a, b in pairwise(group))
    assert segments.marked(plain, groups) == text
    assert strip(text) == plain and not segments.is_marked(plain)


def test_segments_that_touch_are_a_group_and_others_are_not():
    assert split(f"{mark(['a', 'bc'])}d") == ("abcd", (((0, 1), (1, 3)),))
    assert split(f"{mark(['a'])}-{mark(['bc'])}") == ("a-bc", (((0, 1),), ((2, 4),)))


@pytest.mark.parametrize(
    "text",
    [
        f"a{CLOSE}",
        f"a{OPEN}b",
        f"{OPEN}{OPEN}a{CLOSE}{CLOSE}",
        f"a{OPEN}{CLOSE}b",
        f"{CLOSE}{OPEN}",
    ],
)
def test_markers_that_are_not_in_pairs_are_refused_in_one_line(text):
    with pytest.raises(UserError, match=r"segments\.mark") as caught:
        split(text)
    assert "\n" not in str(caught.value)
    assert not segments.is_marked(strip(text))


def test_a_group_is_found_at_every_place_also_where_places_overlap():
    assert find("aXabab", ["a", "b"]) == (((2, 3), (3, 4)), ((4, 5), (5, 6)))
    assert [spans[0][0] for spans in find("aaaa", ["a", "a", "a"])] == [0, 1]
    assert find("ab", ["a", "c"]) == ()


def test_lines_match_as_one_group_and_lines_apart_as_two():
    text = "Which?\nA. x\nB. y\nor\nC. z\n"
    groups = matches(text, compiled(r"^[A-Z]\. .*\n"))
    assert segments.texts_of(text, groups) == (("A. x\n", "B. y\n"), ("C. z\n",))
    assert matches("ab", re.compile("c*")) == ()  # an empty match is no segment


@pytest.mark.parametrize("pattern", ["(", "[a", "*"])
def test_a_broken_expression_is_named(pattern):
    with pytest.raises(UserError, match=r"segment_regex=.* is no regular expression"):
        compiled(pattern)


def test_the_field_is_one_group_or_several():
    assert declared(["a", "b"]) == (("a", "b"),)
    assert declared([["a", "b"], ("c",)]) == (("a", "b"), ("c",))


@pytest.mark.parametrize("value", ["ab", 3, ["a", ""], ["a", ["b"]], [[]], [["a", 1]], {"a": 1}])
def test_a_field_of_another_kind_is_refused(value):
    with pytest.raises(UserError, match="field segments is"):
        declared(value)
