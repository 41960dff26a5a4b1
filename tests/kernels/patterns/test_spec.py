"""Patterns as text: what is written, what it means, and what is refused."""

from __future__ import annotations

import pytest

from lmms_causal.errors import UserError
from lmms_causal.interventions.spec import parse as parse_intervention
from lmms_causal.kernels.patterns import (
    S2,
    Causal,
    Full,
    Neighborhood,
    PerLayer,
    PowerOfTwo,
    Prefix,
    Rectangle,
    Segments,
    SlidingWindow,
    parse_pattern,
    pattern_text,
)
from lmms_causal.kernels.patterns.registry import entry, names, pattern


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("power(window=5)", PowerOfTwo(window=5)),
        ("dense", Causal()),
        ("s2(block=64,local=4,stride=8)", S2(64, 4, 8)),
        ("s2[64/4/8/step=none/same=true]", S2(64, 4, 8, same=True)),
        ("window(256; sink = 4)", SlidingWindow(256, 4)),
        ("neighborhood(7x5,stride=2,causal=1x0)", Neighborhood((7, 5), (2,), causal=(True, False))),
        ("gna(3,grid=8x8,inside=film)", Neighborhood((3,), grid=(8, 8), inside="film")),
        ("segments(own)", Segments("own")),
        (
            "causal - rectangle(rows=3:9|12:20,heads=0:1)",
            Causal() - Rectangle(((3, 9), (12, 20)), None, ((0, 1),)),
        ),
        ("causal|full&prefix(3)", Causal() | (Full() & Prefix(3))),
        ("[causal|full]&prefix(3)", (Causal() | Full()) & Prefix(3)),
        ("full-causal-prefix(3)", (Full() - Causal()) - Prefix(3)),
        ("full-(causal-prefix(3))", Full() - (Causal() - Prefix(3))),
        ("window(9)+dense@0,-1", PerLayer(SlidingWindow(9), ((0, Causal()), (-1, Causal())))),
        (
            "power+dense@0/2-3+full-causal@-1",
            PerLayer(
                PowerOfTwo(),
                ((0, Causal()), (2, Causal()), (3, Causal()), (-1, Full() - Causal())),
            ),
        ),
    ],
)
def test_text_and_meaning(text, means) -> None:
    assert parse_pattern(text) == means
    assert parse_pattern(str(means)) == means
    assert parse_pattern(pattern_text(means, nested=True)) == means


def test_text_is_short() -> None:
    assert str(S2(64, 4)) == "s2(local=4)"
    assert str(parse_pattern("power+dense@0,1")) == "power+causal@0,1"
    assert pattern_text(parse_pattern("(dense|full)&window(9)"), True) == (
        "[causal|full]&window[window=9]"
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("powr", "did you mean 'power'"),
        ("", "cannot read the end; expected a name"),
        ("power(", "expected ) behind"),
        ("power(windw=3)", "did you mean 'window'"),
        ("power(window=3,window=4)", "given twice"),
        ("power(window=three)", "not a whole number"),
        ("power(1,2,3,4)", "'4' has no name; it takes block, window, sink"),
        ("power(window=3,4)", "'4' has no name"),
        ("window", "'window' is required"),
        ("s2(same=yes)", "not true or false"),
        ("rectangle(rows=3-4)", "not START:STOP"),
        ("segments(own+all)", "not a word"),
        ("causal causal", "expected | & - + or the end"),
        ("causal@0", "for all layers that others do not name"),
        ("causal+full", "name its layers"),
        ("causal+full@", "expected layers"),
        ("causal+full@5-3", "layers 5-3 are none"),
        ("causal+full@1+dense@1", "layer 1 is named twice"),
        ("(causal", "expected )"),
        ("window(0)", "must be 1 or more"),
        ("custom", "none of that name"),
    ],
)
def test_mistakes_are_one_line_that_names_them(text, says) -> None:
    with pytest.raises(UserError) as error:
        parse_pattern(text)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_patterns_per_layer() -> None:
    found = parse_pattern("window(9)+dense@0,2+full@-1")
    assert isinstance(found, PerLayer)
    window = SlidingWindow(9)
    assert found.layers(5) == (Causal(), window, Causal(), window, Full())
    with pytest.raises(UserError, match="layer 2 of 2"):
        found.layers(2)
    with pytest.raises(UserError, match="layer 2 of 3 is named as -1 too"):
        found.layers(3)


@pytest.mark.parametrize(
    "text", ["power[window=5/sink=1]+dense@0/1", "window[64]&causal-rectangle[keys=0:2]"]
)
def test_texts_fit_into_specs_of_interventions(text) -> None:
    """As an argument, to the end: only the name of the parameter is not known to this method."""
    assert parse_pattern(pattern_text(parse_pattern(text), nested=True)) == parse_pattern(text)
    with pytest.raises(UserError, match="unknown parameter 'pattern'"):
        parse_intervention(f"vcd(alpha=1;pattern={text};beta=0.1)+re2")


def test_names_are_unique() -> None:
    assert entry("gna") is entry("neighborhood")
    assert "dense" not in names()
    with pytest.raises(TypeError, match="there is a pattern 'dense' already"):
        pattern("fresh", "dense")(PowerOfTwo)
    with pytest.raises(TypeError, match="must be a dataclass"):
        pattern("fresh")(type("Plain", (Causal.__mro__[1],), {}))
