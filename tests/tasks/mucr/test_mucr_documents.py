"""Families, the order of options, what the prompts say and show, and the sheet of pictures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml
from PIL import Image

from lmms_causal.tasks import roots
from lmms_causal.tasks.mucr import documents, sheets
from lmms_causal.tasks.mucr.families import families
from lmms_causal.tasks.mucr.images import pictures
from lmms_causal.tasks.mucr.items import Item
from lmms_causal.tasks.mucr.lmms_eval_task import messages

WITH_SEGMENTS = [
    name
    for name, variant in documents.VARIANTS.items()
    if variant.question.startswith("cue")
    or (variant.form == "text" and variant.question in documents.ROLES)
]


def _item(
    number: int, cue: str = "spill", links: tuple[str, ...] | None = None, category: str = "Human"
) -> Item:
    texts = {"cause": f"Cause {number}.", "effect": f"Effect {number}."}
    false = ("floor", "cap", "sun")
    return Item(str(number), number, texts, cue, false, ("r",), category, "Comic", links)


def test_named_siblings_are_a_family_and_anything_less_is_filled_up() -> None:
    named = [_item(n, links=tuple(str(m) for m in (1, 2, 3, 4) if m != n)) for n in (1, 2, 3, 4)]
    broken = _item(5, links=("5", "1", "99"))
    found = families([*named, broken])
    assert {found[str(n)].key for n in (1, 2, 3, 4)} == {"1"}
    assert found["3"].complete and [i.key for i in found["3"].candidates] == ["1", "2", "3", "4"]
    assert not found["5"].complete and len({i.key for i in found["5"].candidates}) == 4
    assert found["5"].key == "1" and "5" in [i.key for i in found["5"].candidates]


def test_without_names_runs_of_one_cue_are_cut_into_fours() -> None:
    items = [_item(n) for n in (10, 9, 8, 11, 12, 13)] + [_item(14, cue="heat")]
    items += [_item(n, cue="cold", category="Plant") for n in (15, 16)]
    found = families(items)
    assert [found[str(n)].key for n in range(8, 17)] == ["8"] * 4 + ["12"] * 2 + ["14"] + ["15"] * 2
    assert [found[str(n)].complete for n in (8, 12, 14)] == [True, False, False]
    filled = found["12"].candidates
    assert filled == found["13"].candidates and len(set(map(id, filled))) == 4
    # Strangers of the same category come first.
    assert {item.category for item in filled} == {"Human"}


def test_right_answers_stand_everywhere_equally_often_and_never_move(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    items = tuple(_item(number) for number in range(400))
    monkeypatch.setattr(documents, "read_items", lambda: items)
    for name in ("mucr_c2e_blind", "mucr_e2c_blind", "mucr_cue_blind"):
        docs = documents.build(name)
        counts = Counter(doc["answer"] for doc in docs)
        # 3 degrees of freedom: 16.3 is exceeded with probability 0.001.
        assert sum((counts[letter] - 100) ** 2 / 100 for letter in "ABCD") < 16.3
        assert docs == documents.build(name)
    assert [doc["answer"] for doc in documents.build("mucr_c2e_blind")[:8]] == list("BDBDDADA")


@pytest.mark.parametrize("name", WITH_SEGMENTS)
def test_segments_are_the_options_lines_and_stand_once(name: str, tiny_mucr: Path) -> None:
    for doc in documents.build(name):
        assert doc["text"].count("".join(doc["segments"])) == 1
        assert len(doc["segments"]) == 4
        if documents.VARIANTS[name].question == "cue_options":
            phrases = [segment.rstrip("\n") for segment in doc["segments"]]
            assert sorted(phrases) == sorted(doc["choices"])
        else:
            for letter, option, segment in zip(
                "ABCD", doc["options"], doc["segments"], strict=True
            ):
                assert segment == f"{letter}. {option}\n"


def test_without_letters_the_two_orders_differ_in_the_order_of_lines_only(tiny_mucr: Path) -> None:
    docs = documents.build("mucr_cue_options")
    for first, second in zip(docs[::2], docs[1::2], strict=True):
        assert first["segments"] == second["segments"][::-1]
        assert first["choices"] == second["choices"] and first["choices"][0] == first["cue"]
        block, turned = "".join(first["segments"]), "".join(second["segments"])
        assert first["text"].replace(block, turned) == second["text"]


def test_all_forms_of_a_question_have_the_same_options_in_the_same_order(tiny_mucr: Path) -> None:
    for question in ("c2e", "e2c", "cue"):
        names = [n for n, variant in documents.VARIANTS.items() if variant.question == question]
        orders = [
            [(doc["id"], doc["answer"], doc.get("option_ids")) for doc in documents.build(name)]
            for name in names
        ]
        assert len(names) >= 3 and all(order == orders[0] for order in orders)


def test_every_task_with_pictures_has_a_blind_twin_with_its_prompts(tiny_mucr: Path) -> None:
    for name, variant in documents.VARIANTS.items():
        if variant.shows_pictures:
            texts = [doc["text"] for doc in documents.build(name)]
            blind = documents.build(f"{name}_blind")
            assert texts == [doc["text"] for doc in blind]
            assert not any(doc["picture_rows"] or doc["labels"] for doc in blind)


def test_the_right_picture_is_the_one_of_the_item_itself(tiny_mucr: Path) -> None:
    colours = {}
    for doc in documents.build("mucr_exp"):
        cause, effect = (picture.getpixel((0, 0)) for picture in pictures(doc))
        colours[doc["id"]] = {"c2e": (cause, effect), "e2c": (effect, cause)}
    for question in ("c2e", "e2c"):
        for doc in documents.build(f"mucr_{question}"):
            given, *candidates = (picture.getpixel((0, 0)) for picture in pictures(doc))
            right = candidates["ABCD".index(doc["answer"])]
            assert (given, right) == colours[doc["id"]][question]
            assert len(set(candidates)) == 4


def test_chat_models_get_each_picture_after_its_label(tiny_mucr: Path) -> None:
    (message,) = messages(documents.build("mucr_c2e")[0])
    kinds = [part["type"] for part in message["content"]]
    assert kinds == ["text", "image"] * 5 + ["text"]
    labels = [part["text"] for part in message["content"] if part["type"] == "text"][:-1]
    assert labels == ["Cause: ", "\nA: ", "\nB: ", "\nC: ", "\nD: "]
    (message,) = messages(documents.build("mucr_c2e_composite")[0])
    assert [part["type"] for part in message["content"]] == ["image", "text"]


def test_the_sheet_puts_five_pictures_where_the_captions_say() -> None:
    colours = ["red", "green", "blue", "yellow", "black"]
    shapes = [(100, 100), (100, 50), (50, 100), (1, 1), (700, 700)]
    shown = [Image.new("RGB", shape, name) for shape, name in zip(shapes, colours, strict=True)]
    canvas = sheets.sheet(shown, ["Cause", "A", "B", "C", "D"])
    assert canvas.size == (2048, 1120)
    middles = [(1024, 304)] + [(256 + 512 * n, 864) for n in range(4)]
    for middle, picture in zip(middles, shown, strict=True):
        assert canvas.getpixel(middle) == picture.getpixel((0, 0))
    # The wide picture leaves white above and below, the tall one left and right.
    assert canvas.getpixel((256, 615)) == canvas.getpixel((520, 864)) == (255, 255, 255)
    strip = canvas.crop((768, 0, 1280, sheets.STRIP)).convert("L")
    assert strip.getextrema() == (0, 255)
    assert sheets.sheet(shown[:2], ["Cause", "Effect"]).size == (512, 1120)
    with pytest.raises(ValueError, match="1 pictures"):
        sheets.sheet(shown[:1], ["Cause"])


@pytest.mark.parametrize("harness", ["lmms-eval", "lm-eval"])
def test_task_files_tell_the_layout_that_is_drawn(harness: str) -> None:
    file = roots(harness) / "mucr" / "_composite.yaml"
    told = yaml.safe_load(file.read_text(encoding="utf-8"))["metadata"]
    drawn = {"cell_pixels": sheets.CELL, "caption_pixels": sheets.STRIP, "font_size": sheets.FONT}
    assert {name: told[name] for name in drawn} == drawn
