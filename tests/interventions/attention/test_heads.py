"""Heads: texts, layers, and what a model lacks."""

from __future__ import annotations

import pytest

from lmms_causal.errors import UserError
from lmms_causal.interventions.attention.heads import ALL_HEADS, Heads, parse_heads


@pytest.mark.parametrize(
    ("text", "by_layer"),
    [
        ("all", {0: None, 7: None}),
        ("0|3-5", {0: {0, 3, 4, 5}, 7: {0, 3, 4, 5}}),
        ("12.3|14.0-2", {12: {3}, 14: {0, 1, 2}, 0: set()}),
        ("1|2.3", {2: {1, 3}, 0: {1}}),
        ("1,2.3", {2: {1, 3}, 0: {1}}),
    ],
)
def test_a_text_names_heads_by_layer(text, by_layer):
    heads = parse_heads("toy", "heads", text)
    for layer, wanted in by_layer.items():
        assert heads.of(layer) == wanted
    assert parse_heads("toy", "heads", str(heads)) == heads


def test_a_table_by_layer_leaves_other_layers_alone():
    heads = Heads.of_layers({2: [8, 2], 3: range(2)})
    assert heads.of(2) == {2, 8}
    assert heads.of(3) == {0, 1}
    assert heads.of(0) == frozenset()
    assert heads == parse_heads("toy", "heads", "2.2|2.8|3.0-1")


def test_no_heads_are_not_all_heads():
    assert Heads(frozenset()).of(0) == frozenset()
    assert ALL_HEADS.of(0) is None


def test_what_a_model_lacks_is_named():
    heads = parse_heads("toy", "heads", "1|5.7")
    assert heads.beyond(6, 8) is None
    assert "head 7 goes beyond its 4 query heads" in (heads.beyond(6, 4) or "")
    assert "layer 5 goes beyond its 5 layers" in (heads.beyond(5, 8) or "")
    assert ALL_HEADS.beyond(1, 1) is None


@pytest.mark.parametrize("text", ["", "x", "3-1", "1.2.3", "1|", "-1", "2.5-4"])
def test_other_texts_are_refused_by_name(text):
    with pytest.raises(UserError, match="intervention toy: heads="):
        parse_heads("toy", "heads", text)
