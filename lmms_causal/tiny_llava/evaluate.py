"""What the tiny LLaVA sees and where its prior misleads it.

``python -m lmms_causal.tiny_llava.evaluate DIR --json OUT`` asks held-out questions of every kind,
agreeing and conflicting with the prior, clean and under noise; without a picture (the blind
control); and with the first answer token's logits contrasted with a second view of the prompt:
no picture, a picture of nothing but noise, or VCD's diffusion noise (arXiv 2311.16922). Each
contrast is paired with the plain answers by McNemar's exact test.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from lmms_causal.compare.inference.statistics import mcnemar_exact
from lmms_causal.interventions.edits.logits import contrast, keep, plausible
from lmms_causal.interventions.methods.vcd import VCD
from lmms_causal.tasks.causal_vqa_mini.scenes import (
    KINDS,
    PRIORS,
    USUAL,
    Question,
    render,
    sample_question,
    with_noise,
)
from lmms_causal.tiny_llava.curriculum import EXPLAIN, UNREADABLE_SD

NOISE_LEVELS = (0.0, 110.0, 130.0, 160.0, 200.0)
ALPHA, BETA = 1.0, 0.1
_DIFFUSION_STEPS = (500, 800, 999)
_BATCH = 64


class Reader:
    """A checkpoint and its processor, asked for first answer tokens."""

    def __init__(self, directory: Path) -> None:
        self.processor: Any = AutoProcessor.from_pretrained(directory)
        self.model: Any = AutoModelForImageTextToText.from_pretrained(directory).eval()
        self.tokenizer: Any = self.processor.tokenizer

    def log_probabilities(
        self,
        texts: Sequence[str],
        images: Sequence[Image.Image] | None,
        change: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> torch.Tensor:
        """Log-probabilities of the first answer token, float32 of shape (questions, V).

        ``change`` gives what differs in another view of each batch's model inputs.
        """
        rows = []
        for start in range(0, len(texts), _BATCH):
            part = slice(start, start + _BATCH)
            inputs = self._inputs(texts[part], None if images is None else images[part])
            if change is not None:
                inputs |= change(inputs)
            with torch.no_grad():
                rows.append(self.model(**inputs).logits[:, -1].log_softmax(-1))
        return torch.cat(rows)

    def words(self, scores: torch.Tensor) -> list[str]:
        """The best token of each row over the whole vocabulary, as a word."""
        return [self.tokenizer.decode(token).strip() for token in scores.argmax(-1)]

    def reply_log_likelihood(
        self, text: str, image: Image.Image, replies: list[str]
    ) -> list[float]:
        """Sum of the log-probabilities of each whole reply to a question about a picture."""
        full = [
            self.tokenizer.encode(" " + reply + "</s>", add_special_tokens=False)
            for reply in replies
        ]
        inputs = self._inputs([text] * len(replies), [image] * len(replies))
        prompt_length = inputs["input_ids"].shape[1]
        inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor(full)], 1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        with torch.no_grad():
            logits = self.model(**inputs).logits[:, prompt_length - 1 : -1].log_softmax(-1)
        return logits.gather(-1, torch.tensor(full)[..., None]).sum((1, 2)).tolist()

    def _inputs(self, texts: Sequence[str], images: Sequence[Image.Image] | None) -> dict[str, Any]:
        picture = [] if images is None else [{"type": "image"}]
        prompts = [
            self.processor.apply_chat_template(
                [{"role": "user", "content": [*picture, {"type": "text", "text": text}]}],
                add_generation_prompt=True,
            )
            for text in texts
        ]
        listed = None if images is None else list(images)
        return dict(self.processor(text=prompts, images=listed, padding=True, return_tensors="pt"))


def paired(base: Sequence[bool], other: Sequence[bool]) -> dict[str, float]:
    """Accuracy of ``other``, its flips against ``base`` and McNemar's exact two-sided p."""
    test = mcnemar_exact(base, other)
    p = float(f"{test.p:.2g}")
    return {"accuracy": _rate(other), "gained": test.gained, "lost": test.lost, "p": p}


def evaluate_cell(reader: Reader, kind: str, prior: str, sd: float, count: int) -> dict[str, Any]:
    """All measurements on ``count`` held-out questions of one kind, prior and noise."""
    questions = [sample_question(kind, prior, seed) for seed in range(count)]
    images = [with_noise(render(q.scene), sd, seed) for seed, q in enumerate(questions)]
    texts = [q.text for q in questions]
    factual = reader.log_probabilities(texts, images)
    base = _right(reader.words(factual), questions)
    blind = reader.log_probabilities(texts, None)
    noised = [with_noise(image, UNREADABLE_SD, count + i) for i, image in enumerate(images)]
    negatives = {"no_image": blind, "noise_1000": reader.log_probabilities(texts, noised)}
    for step in _DIFFUSION_STEPS:
        negatives[f"vcd_{step}"] = reader.log_probabilities(
            texts, images, VCD(noise_step=step).noised
        )
    cell: dict[str, Any] = {
        "kind": kind,
        "prior": prior,
        "noise_sd": sd,
        "n": count,
        "base": _rate(base),
        "blind": _rate(_right(reader.words(blind), questions)),
    }
    for name, negative in negatives.items():
        combined = factual + contrast(factual, negative, ALPHA)
        scores = keep(combined, plausible(factual, BETA), factual, scoring=False)
        words = reader.words(scores)
        cell[name] = paired(base, _right(words, questions))
    if kind == "order":
        for order in ("cw", "wc"):
            cell[order] = _rate(
                [hit for hit, q in zip(base, questions, strict=True) if q.order == order]
            )
        if sd == 0:
            cell["caption_likelihood"] = _rate(
                [_prefers_correct(reader, *asked) for asked in zip(questions, images, strict=True)]
            )
    return cell


def _prefers_correct(reader: Reader, question: Question, image: Image.Image) -> bool:
    assert question.correct is not None and question.wrong is not None
    correct, wrong = reader.reply_log_likelihood(EXPLAIN, image, [question.correct, question.wrong])
    return correct > wrong


def _right(words: Sequence[str], questions: Sequence[Question]) -> list[bool]:
    return [word == question.answer for word, question in zip(words, questions, strict=True)]


def _rate(hits: Sequence[bool]) -> float:
    return round(sum(hits) / len(hits), 4)


def table(cells: Sequence[dict[str, Any]]) -> str:
    """The cells as a Markdown table: per kind and noise, consistent / conflict / both pooled.

    The last columns weigh the two priors as the training data did (nine to one).
    """
    lines = [
        "| noise sd | question | view | consistent | conflict | pooled | as trained | "
        "conflict: gained-lost, p |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    by_key = {(c["noise_sd"], c["kind"], c["prior"]): c for c in cells}
    views = ["base", "no_image", "noise_1000", *(f"vcd_{step}" for step in _DIFFUSION_STEPS)]
    for sd, kind in sorted({(c["noise_sd"], c["kind"]) for c in cells}):
        agree, against = (by_key[sd, kind, prior] for prior in PRIORS)
        for view in views:
            plain = view == "base"
            yes, no = (c[view] if plain else c[view]["accuracy"] for c in (agree, against))
            flips = "" if plain else "{gained}-{lost}, {p}".format(**against[view])
            numbers = (yes, no, (yes + no) / 2, USUAL * yes + (1 - USUAL) * no)
            row = " | ".join(f"{100 * number:.1f}" for number in numbers)
            lines.append(f"| {sd:g} | {kind} | {view} | {row} | {flips} |")
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="checkpoint to evaluate")
    parser.add_argument("--json", type=Path, required=True, help="where to write the cells")
    parser.add_argument("--count", type=int, default=500, help="questions per cell (default 500)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    reader = Reader(arguments.directory)
    cells = [
        evaluate_cell(reader, kind, prior, sd, arguments.count)
        for sd in NOISE_LEVELS
        for kind in KINDS
        for prior in PRIORS
    ]
    arguments.json.write_text(json.dumps(cells, indent=1) + "\n")
    print(table(cells))


if __name__ == "__main__":
    main()
