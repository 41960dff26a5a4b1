"""From rows of the released files to the documents of each task.

Documents hold text only; pictures are resolved when a document is used (`images`). Documents of
one pair are adjacent, so a run limited to an even number of documents holds whole pairs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.causal_vqa.captions import (
    CONNECTORS,
    DEFAULT_CONNECTOR,
    CaptionPair,
    Connector,
    connect,
)
from lmms_causal.tasks.causal_vqa.data import (
    CaptionRow,
    StatementRow,
    read_captions,
    read_statements,
)
from lmms_causal.tasks.causal_vqa.images import check_folder
from lmms_causal.tasks.causal_vqa.unswapped import NOT_SWAPPED, UNDECIDED
from lmms_causal.tasks.options import ORDERS, in_order
from lmms_causal.tasks.prompts import template

if TYPE_CHECKING:
    import datasets

__all__ = ["VARIANTS", "Variant", "build", "dataset"]

Document = dict[str, Any]

OPTION_ORDERS = ("cw", "wc")
"""``cw``: option A is the correct caption; ``wc``: option A is the wrong one."""


@dataclass(frozen=True)
class Variant:
    """One task: where its captions come from, whether pictures are used, how rows expand."""

    name: str
    source: str
    expand: Callable[[], Iterator[Document]]
    blind: bool = False


def build(name: str) -> list[Document]:
    """All documents of a task.

    Raises:
        UserError: unknown task, data that is not there or has the wrong checksum, or a folder of
            pictures that lacks some of them.
    """
    if name not in VARIANTS:
        raise UserError(f"no causal_vqa task {name!r}; there are: {', '.join(VARIANTS)}")
    variant = VARIANTS[name]
    docs = list(variant.expand())
    if not variant.blind:
        check_folder(docs)
    return docs


def dataset(name: str) -> datasets.Dataset:
    """`build` as a Hugging Face dataset."""
    import datasets

    return datasets.Dataset.from_list(build(name))


def _pairs(
    source: str, connectors: tuple[Connector, ...]
) -> Iterator[tuple[CaptionRow, CaptionPair, Document]]:
    """Each row under each connector, with the fields that all its documents share."""
    unsound = NOT_SWAPPED | UNDECIDED if source == "vqa" else frozenset()
    for row in read_captions(source):
        for connector in connectors:
            pair = connect(
                row.sentence, row.reverse_sentence, connector, swapped=row.row not in unsound
            )
            yield (
                row,
                pair,
                {
                    "id": f"{source}-{row.row}-{connector.slug}",
                    "pair_id": f"{source}-{row.row}",
                    "kind": "causal",
                    "source": source,
                    "row": row.row,
                    "image_id": row.image_id,
                    "connector": connector.text,
                    "direction": connector.direction,
                    "correct": pair.correct,
                    "wrong": pair.wrong,
                    "degenerate": pair.degenerate,
                    "template_ok": pair.template_ok,
                    "swapped": pair.swapped,
                    "clean": pair.clean,
                },
            )


def _letters(
    source: str, connectors: tuple[Connector, ...] = (DEFAULT_CONNECTOR,), blind: bool = False
) -> Iterator[Document]:
    """Two documents per pair, one for each order of the options."""
    prompt = template("causal_vqa", "letters")
    for _, pair, shared in _pairs(source, connectors):
        for order in OPTION_ORDERS:
            a, b = (pair.correct, pair.wrong) if order == "cw" else (pair.wrong, pair.correct)
            yield {
                **shared,
                "id": f"{shared['id']}-{order}",
                "order": order,
                "option_a": a,
                "option_b": b,
                "answer": "A" if order == "cw" else "B",
                "text": prompt.render(option_a=a, option_b=b, blind=blind),
                "segments": [f"A. {a}\n", f"B. {b}\n"],
            }


def _options(source: str, blind: bool = False) -> Iterator[Document]:
    """Two documents per pair: the captions without letters in both orders, as choices too."""
    prompt = template("causal_vqa", "options")
    for _, pair, shared in _pairs(source, (DEFAULT_CONNECTOR,)):
        captions = [pair.correct, pair.wrong]
        for order in ORDERS:
            listed = in_order(captions, order)
            yield {
                **shared,
                "id": f"{shared['id']}-{order}",
                "order": order,
                "choices": captions,
                "answer": 0,
                "text": prompt.render(options=listed, blind=blind),
                "segments": [f"{caption}\n" for caption in listed],
            }


def _yes_no(
    source: str, connectors: tuple[Connector, ...] = (DEFAULT_CONNECTOR,), blind: bool = False
) -> Iterator[Document]:
    """Two documents per pair, one for each caption: does it have the right causal order?"""
    prompt = template("causal_vqa", "yes_no")
    for _, pair, shared in _pairs(source, connectors):
        for role, caption in (("correct", pair.correct), ("wrong", pair.wrong)):
            yield {
                **shared,
                "id": f"{shared['id']}-{role}",
                "role": role,
                "caption": caption,
                "choices": ["Yes", "No"],
                "answer": "Yes" if role == "correct" else "No",
                "text": prompt.render(caption=caption, blind=blind),
            }


def _ranking(source: str) -> Iterator[Document]:
    """One document per pair: both captions as choices after an empty prompt.

    Their order is a hash of the document's id, so neither index is always right.
    """
    for _, pair, shared in _pairs(source, (DEFAULT_CONNECTOR,)):
        answer = hashlib.sha256(shared["id"].encode()).digest()[0] % 2
        choices = [pair.wrong, pair.correct] if answer else [pair.correct, pair.wrong]
        yield {**shared, "choices": choices, "answer": answer, "text": ""}


def _shared_by_statements(row: StatementRow) -> Document:
    return {
        "pair_id": f"vqa-{row.row}",
        "kind": "oa",
        "source": "vqa",
        "row": row.row,
        "image_id": row.image_id,
    }


def _statements(blind: bool = False) -> Iterator[Document]:
    """Four yes/no documents per row: is this statement true of the picture?"""
    prompt = template("causal_vqa", "statement")
    for row in read_statements():
        for index, statement in enumerate(row.statements):
            yield {
                "id": f"vqa-{row.row}-oa-{index}",
                **_shared_by_statements(row),
                "index": index,
                "statement": statement,
                "choices": ["Yes", "No"],
                "answer": "Yes" if index < 2 else "No",
                "text": prompt.render(statement=statement, blind=blind),
            }


def _statement_ranking() -> Iterator[Document]:
    """One document per row: the four statements as choices after an empty prompt."""
    for row in read_statements():
        yield {
            "id": f"vqa-{row.row}-oa",
            **_shared_by_statements(row),
            "choices": list(row.statements),
            "answer": 0,
            "text": "",
        }


def _full(blind: bool = False) -> Iterator[Document]:
    """The letter documents of each VQA-Causal row, followed by its four statements."""
    letters, statements = _letters("vqa", blind=blind), _statements(blind)
    columns = [next(_letters("vqa")), next(_statements())]
    empty = dict.fromkeys(name for document in columns for name in document)
    for first in letters:
        yield {**empty, **first}
        yield {**empty, **next(letters)}
        for _ in range(4):
            yield {**empty, **next(statements)}


def _variants() -> Iterator[Variant]:
    for source in ("vqa", "vcr"):
        for blind in (False, True):
            mc, itm, end = ("blind", "blind_itm", "_blind") if blind else ("mc", "itm", "")
            for name, expand in (
                (mc, partial(_letters, source, blind=blind)),
                (f"12{end}", partial(_letters, source, CONNECTORS, blind)),
                (f"yn{end}", partial(_yes_no, source, CONNECTORS, blind)),
                (f"yn_gen{end}", partial(_yes_no, source, blind=blind)),
                (itm, partial(_ranking, source)),
                (f"options{end}", partial(_options, source, blind)),
            ):
                yield Variant(f"{source}_causal_{name}", source, expand, blind)
    for blind in (False, True):
        end = "_blind" if blind else ""
        yield Variant(f"vqa_causal_oa{end}", "vqa", partial(_statements, blind), blind)
        yield Variant(f"vqa_causal_oa_gen{end}", "vqa", partial(_statements, blind), blind)
        yield Variant(f"vqa_causal_oa_itm{end}", "vqa", _statement_ranking, blind)
        yield Variant(f"vqa_causal_full{end}", "vqa", partial(_full, blind), blind)


VARIANTS = {variant.name: variant for variant in _variants()}
"""Every task of this benchmark by name."""
