"""From items to the documents of each task: what is asked (question) in which form.

Documents hold text and say which pictures they show; these are opened when a document is used
(`images`). The documents of a family are adjacent. The options of a question stand in one and the
same order in all its forms.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.mucr.families import Family, families, rank
from lmms_causal.tasks.mucr.images import check_pictures
from lmms_causal.tasks.mucr.items import Item, id_order, read_items
from lmms_causal.tasks.options import ORDERS, in_order
from lmms_causal.tasks.prompts import template

if TYPE_CHECKING:
    import datasets

__all__ = ["LETTERS", "VARIANTS", "Variant", "build", "dataset"]

Document = dict[str, Any]

LETTERS = "ABCDEFGH"
ROLES = {"c2e": ("cause", "effect"), "e2c": ("effect", "cause")}
"""What is given and what is sought in the questions whose options are pictures."""


@dataclass(frozen=True)
class Variant:
    """One task.

    Attributes:
        name: the task's name.
        question: ``c2e``, ``e2c`` (which picture), ``cue`` (which phrase), ``cue_options`` (which
            phrase, without letters) or ``exp`` (explain).
        form: ``pictures``, ``composite`` (all on one sheet), ``vccot`` (steps before the answer) or
            ``text`` (descriptions in place of pictures).
        blind: the same prompt without its pictures.
        judged: a language model scores the answers.
    """

    name: str
    question: str
    form: str = "pictures"
    blind: bool = False
    judged: bool = False

    @property
    def shows_pictures(self) -> bool:
        """Whether its documents show any."""
        return not self.blind and self.form != "text"


def build(name: str) -> list[Document]:
    """All documents of a task.

    Raises:
        UserError: unknown task, data that cannot be had, or pictures that are missing.
    """
    if name not in VARIANTS:
        raise UserError(f"no mucr task {name!r}; there are: {', '.join(VARIANTS)}")
    variant = VARIANTS[name]
    items = read_items()
    built = [
        document
        for item, family in _by_family(items)
        for document in _documents(variant, item, family)
    ]
    if variant.shows_pictures:
        check_pictures([item.row for item in items])
    return built


def dataset(name: str) -> datasets.Dataset:
    """`build` as a Hugging Face dataset."""
    import datasets

    return datasets.Dataset.from_list(build(name))


def _by_family(items: Sequence[Item]) -> Iterator[tuple[Item, Family]]:
    """Items with their families, family by family."""
    found = families(items)
    ordered = sorted(items, key=lambda item: (id_order(found[item.key].key), id_order(item.key)))
    return ((item, found[item.key]) for item in ordered)


def _documents(variant: Variant, item: Item, family: Family) -> Iterator[Document]:
    shared: Document = {
        "id": item.key,
        "family": family.key,
        "family_complete": family.complete,
        "source": "mucr",
        "question": variant.question,
        "form": variant.form,
        "category": item.category,
        "style": item.style,
        "cause_text": item.texts["cause"],
        "effect_text": item.texts["effect"],
        "cue": item.cue,
        "false_cue": list(item.false_cues),
        "references": list(item.references),
    }
    if variant.question in ROLES:
        yield {**shared, **_which_scene(variant, item, family)}
    elif variant.question == "cue":
        yield {**shared, **_which_phrase(variant, item)}
    elif variant.question == "cue_options":
        yield from ({**shared, **asked} for asked in _phrases_without_letters(variant, item))
    else:
        yield {**shared, **_explain(variant, item)}


def _which_scene(variant: Variant, item: Item, family: Family) -> Document:
    """One scene given, four candidates of the other role."""
    given, sought = ROLES[variant.question]
    candidates = sorted(
        family.candidates, key=lambda other: rank(variant.question, item.key, other.key)
    )
    letters = LETTERS[: len(candidates)]
    fields: Document = {
        "option_ids": [other.key for other in candidates],
        "answer": letters[[other.key for other in candidates].index(item.key)],
    }
    words = {"form": variant.form, "given": given, "sought": sought, "letters": _either(letters)}
    if variant.form == "text":
        options = [other.texts[sought] for other in candidates]
        lettered = list(zip(letters, options, strict=True))
        fields["options"] = options
        fields["distinct"] = len({" ".join(option.lower().split()) for option in options}) == len(
            options
        )
        fields["segments"] = _lines(lettered)
        fields["text"] = _prompt("choose_text", **words, told=item.texts[given], lettered=lettered)
        return {**fields, **_shown(variant, ())}
    fields["text"] = _prompt("choose_picture", **words)
    shown = [(given.capitalize(), item.row, given)]
    shown += [
        (letter, other.row, sought) for letter, other in zip(letters, candidates, strict=True)
    ]
    return {**fields, **_shown(variant, shown)}


def _which_phrase(variant: Variant, item: Item) -> Document:
    """Cause and effect given, the right cue among its rivals, with letters."""
    options = _phrases(item)
    letters = LETTERS[: len(options)]
    lettered = list(zip(letters, options, strict=True))
    return {
        "options": options,
        "answer": letters[options.index(item.cue)],
        "text": _about_both(variant, item, "cue", lettered=lettered, letters=_either(letters)),
        "segments": _lines(lettered),
        **_shown(variant, _cause_and_effect(item)),
    }


def _phrases_without_letters(variant: Variant, item: Item) -> Iterator[Document]:
    """The same phrases without letters, in that order and reversed; the phrases are the choices."""
    for order in ORDERS:
        lettered = [("", phrase) for phrase in in_order(_phrases(item), order)]
        yield {
            "id": f"{item.key}-{order}",
            "pair_id": item.key,
            "order": order,
            "choices": [item.cue, *item.false_cues],
            "answer": 0,
            "text": _about_both(variant, item, "cue", lettered=lettered, letters=""),
            "segments": _lines(lettered),
            **_shown(variant, _cause_and_effect(item)),
        }


def _explain(variant: Variant, item: Item) -> Document:
    if not item.references:
        raise UserError(
            f"MuCR item {item.key} has no causal_reason to compare explanations with; replace the "
            "data by the released one, or leave the mucr_exp tasks out"
        )
    return {
        "answer": item.references[0],
        "text": _about_both(variant, item, "explain"),
        **_shown(variant, _cause_and_effect(item)),
    }


def _phrases(item: Item) -> list[str]:
    return sorted((item.cue, *item.false_cues), key=lambda phrase: rank("cue", item.key, phrase))


def _about_both(variant: Variant, item: Item, prompt: str, **words: Any) -> str:
    return _prompt(
        prompt,
        form=variant.form,
        cause=item.texts["cause"],
        effect=item.texts["effect"],
        **words,
    )


def _prompt(name: str, **words: Any) -> str:
    return template("mucr", name).render(**words).rstrip("\n")


def _lines(lettered: Iterable[tuple[str, str]]) -> list[str]:
    """The options' lines as they stand in the prompt."""
    return [f"{letter}. {option}\n" if letter else f"{option}\n" for letter, option in lettered]


def _either(letters: str) -> str:
    return f"{', '.join(letters[:-1])} or {letters[-1]}"


def _cause_and_effect(item: Item) -> list[tuple[str, int, str]]:
    return [("Cause", item.row, "cause"), ("Effect", item.row, "effect")]


def _shown(variant: Variant, shown: Iterable[tuple[str, int, str]]) -> Document:
    """Which pictures, with captions; ``labels`` are the texts that stand before each."""
    pictures = list(shown) if variant.shows_pictures else []
    captions = [caption for caption, _, _ in pictures]
    return {
        "captions": captions,
        "labels": [] if variant.form == "composite" else _labels(captions),
        "picture_rows": [row for _, row, _ in pictures],
        "picture_roles": [role for _, _, role in pictures],
    }


def _labels(captions: Sequence[str]) -> list[str]:
    return [
        f"{caption}: " if not number else f"\n{caption}: "
        for number, caption in enumerate(captions)
    ]


def _variants() -> Iterator[Variant]:
    seen = [Variant(f"mucr_{question}", question) for question in ("c2e", "e2c", "cue", "exp")]
    seen += [Variant(f"mucr_{q}_composite", q, "composite") for q in ("c2e", "cue", "exp")]
    seen += [Variant(f"mucr_{question}_vccot", question, "vccot") for question in ("c2e", "cue")]
    seen += [Variant("mucr_cue_options", "cue_options")]
    seen += [Variant("mucr_exp_judge", "exp", judged=True)]
    for variant in seen:
        yield variant
        yield replace(variant, name=f"{variant.name}_blind", blind=True)
    for question in ("c2e", "e2c", "cue", "exp"):
        yield Variant(f"mucr_{question}_text", question, "text")


VARIANTS = {variant.name: variant for variant in _variants()}
"""Every task of this benchmark by name."""
