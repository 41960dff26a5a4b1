"""The held-out questions as documents, and the picture of a document.

Each kind of question has four cells: clean or noisy picture, truth consistent or in conflict with
the prior. Cells take turns, so a run limited to its first documents still has them all. A noisy
document shows the picture of its clean twin with noise on it; the two documents of an ``order``
pair show the same picture. Pictures are rendered when a document is used; nothing is stored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.causal_vqa_mini.scenes import (
    KINDS,
    NOISE_SD,
    PRIORS,
    Question,
    render,
    sample_question,
    with_noise,
)

if TYPE_CHECKING:
    import datasets
    from PIL import Image

__all__ = ["MANIFEST", "NOISES", "build", "dataset", "picture"]

Document = dict[str, Any]

MANIFEST = Path(__file__).with_name("manifest.jsonl")
NOISES = {"clean": 0.0, "noisy": NOISE_SD}
"""Standard deviation of the noise of each condition, in grey levels."""

_ORDERS = ("cw", "wc")


def build(kind: str) -> list[Document]:
    """All documents of one kind of question.

    Raises:
        UserError: no such kind.
    """
    if kind not in KINDS:
        raise UserError(f"no question kind {kind!r}; there are: {', '.join(KINDS)}")
    per_cell = _questions_per_cell()[kind]
    seeds = per_cell // len(_ORDERS) if kind == "order" else per_cell
    return [
        document
        for seed in range(seeds)
        for noise in NOISES
        for prior in PRIORS
        for document in _documents(kind, prior, noise, seed)
    ]


def dataset(kind: str) -> datasets.Dataset:
    """`build` as a Hugging Face dataset."""
    import datasets

    return datasets.Dataset.from_list(build(kind))


def picture(doc: Mapping[str, Any]) -> Image.Image:
    """The document's picture, 48x48 RGB."""
    scene = sample_question(doc["kind"], doc["prior"], doc["seed"]).scene
    return with_noise(render(scene), doc["noise"], scene.seed)


def _documents(kind: str, prior: str, noise: str, seed: int) -> Iterator[Document]:
    pair = f"{kind}-{prior}-{noise}-{seed}"
    for order in _ORDERS if kind == "order" else (None,):
        question = sample_question(kind, prior, seed, order=order)
        document = {
            "id": f"{pair}-{order}" if order else pair,
            "pair_id": pair,
            "source": "mini",
            "kind": kind,
            "prior": prior,
            "noise": NOISES[noise],
            "seed": seed,
            "image_id": f"{kind}-{prior}-{seed}",
            "stratum": f"{noise}/{prior}",
            "text": question.text,
            "choices": list(question.choices),
            "continuations": [f" {choice}" for choice in question.choices],
            "answer": question.answer,
        }
        yield document if order is None else {**document, **_options(question, order)}


def _options(question: Question, order: str) -> Document:
    correct, wrong = question.correct, question.wrong
    a, b = (correct, wrong) if order == "cw" else (wrong, correct)
    return {
        "order": order,
        "correct": correct,
        "wrong": wrong,
        "option_a": a,
        "option_b": b,
        "segments": [f" A . {a}", f" B . {b}"],
    }


@cache
def _questions_per_cell() -> dict[str, int]:
    lines = MANIFEST.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    return {row["kind"]: row["questions_per_cell"] for row in rows}
