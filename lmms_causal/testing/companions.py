"""Miniature releases of the hallucination benchmarks: their schemas, our own content and pictures.

`write_companions` makes all of them below one folder and returns the environment variables that
point there, for tests and for trying a task without its data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

__all__ = ["by_overlap", "write_companions"]

#: (picture number, thing, is it there)
_SEEN = (
    (1, "kettle", True),
    (1, "horse", False),
    (2, "umbrella", False),
    (2, "dog", True),
    (3, "bench", True),
    (3, "boat", False),
)
#: (category, picture, question, answer)
_MME = (
    ("existence", "0001", "Is there a lamp in this image?", "Yes"),
    ("existence", "0001", "Is there a truck in this image?", "No"),
    ("count", "0002", "Are there two cups in this image?", "Yes"),
    ("count", "0002", "Are there five cups in this image?", "No"),
    ("position", "0003", "Is the cup left of the lamp?", "Yes"),
    ("position", "0003", "Is the cup right of the lamp?", "No"),
    ("color", "0004", "Is the door green?", "Yes"),
    ("color", "0004", "Is the door red?", "No"),
    ("OCR", "0005", "Is the word on the sign 'open'?", "Yes"),
    ("OCR", "0005", "Is the word on the sign 'shut'?", "No"),
    ("code_reasoning", "0006", "Does the program print 4?", "Yes"),
    ("code_reasoning", "0006", "Does the program print 5?", "No"),
)
#: (picture, query, type, truth)
_AMBER = (
    (1, "Is the river frozen in this image?", "discriminative-attribute-state", "yes"),
    (1, "Is the river flowing in this image?", "discriminative-attribute-state", "no"),
    (1, "Is there a boat in this image?", "discriminative-hallucination", "no"),
    (2, "Are there two cats in this image?", "discriminative-attribute-number", "yes"),
    (2, "Does the cat sleep in this image?", "discriminative-attribute-action", "no"),
    (2, "Does the cat touch the sofa?", "relation", "no"),
    (2, "Does the cat touch the rug?", "discriminative-relation", "yes"),
)
#: (picture, objects in it, objects one might expect)
_DESCRIBED = ((1, ["river", "snow"], ["boat"]), (2, ["cat", "rug"], ["sofa", "person"]))
_ASSOCIATED = {
    "river": ["stream", "water"],
    "snow": ["ice"],
    "boat": ["ship"],
    "cat": ["kitten"],
    "rug": ["carpet"],
    "sofa": ["couch"],
    "person": ["man", "woman", "people"],
}
_VLIND: tuple[dict[str, Any], ...] = (
    {
        "concept": "color",
        "context_id": 1,
        "context": "In this world, grass is purple.",
        "factual_context": "Grass is green.",
        "true_statement": "The grass is purple.",
        "false_statement": "The grass is green.",
        "existent_noun": "a field",
        "non-existent_noun": "a violin",
        "aggregated_human_label_good_images": {"0": 3, "1": 1, "4": 2},
        "best_img_id": "0",
    },
    {
        "concept": "size",
        "context_id": 2,
        "context": "In this world, ants are larger than dogs.",
        "factual_context": "Ants are smaller than dogs.",
        "true_statement": "The ant is larger than the dog.",
        "false_statement": "The dog is larger than the ant.",
        "existent_noun": "an ant",
        "non-existent_noun": "a train",
        "aggregated_human_label_good_images": {"8": 2},
        "best_img_id": "8",
    },
    {
        "concept": "diet",
        "context_id": 3,
        "context": "In this world, cats eat stones.",
        "factual_context": "Cats eat fish.",
        "true_statement": "The cat eats stones.",
        "false_statement": "The cat eats fish.",
        "existent_noun": "a cat",
        "non-existent_noun": "a ladder",
        "aggregated_human_label_good_images": {"0": 0, "1": 1},
        "best_img_id": "1",
    },
)
#: (type, what is in the picture, question, human answer)
_MMHAL = (
    ("attribute", ["Bus"], "What colour is the bus?", "The bus is red."),
    ("adversarial", ["Bicycle", "Tree"], "What is written on the bus?", "There is no bus."),
    ("counting", ["Plate", "Apple"], "How many apples are there?", "There are three apples."),
    ("relation", ["Dog", "Chair"], "Where is the dog?", "The dog is under the chair."),
)


def write_companions(folder: Path) -> dict[str, str]:
    """Write every miniature below ``folder``; the variables by name, each with its folder."""
    return {
        **_pope(folder / "pope"),
        **_mme(folder / "mme"),
        **_amber(folder / "amber"),
        **_vlind(folder / "vlind"),
        **_mmhal(folder / "mmhal"),
    }


def by_overlap(prompt: str) -> str:
    """A stand-in for the judge of ``mmhal``: it compares words.

    Rating 1 if the answer has a word that no other block has, 5 if it has all of the person's, else
    3.
    """
    blocks = {
        name: set(re.findall(r"\w+", text.casefold()))
        for name, text in re.findall(
            r"<(contents|question|person|answer)>\n(.*?)\n</\1>", prompt, re.DOTALL
        )
    }
    answer = blocks.pop("answer", set())
    unfounded = answer - set().union(*blocks.values()) - {"yes", "no", "there", "is", "are", "a"}
    rating = 1 if unfounded else 5 if blocks.get("person", set()) <= answer else 3
    return f"Compared the words.\nRating: {rating}"


def _pope(folder: Path) -> dict[str, str]:
    for source, pattern in (("coco", "COCO"), ("aokvqa", "COCO"), ("gqa", "GQA")):
        names = {n: f"COCO_val2014_{990000 + n:012d}.jpg" for n in (1, 2, 3)}
        if pattern == "GQA":
            names = {n: f"{990000 + n}.jpg" for n in (1, 2, 3)}
        _pictures(folder / pattern, names.values())
        rows = [
            {
                "question_id": number,
                "image": names[picture],
                "text": f"Is there a {thing} in the image?",
                "label": "yes" if there else "no",
            }
            for number, (picture, thing, there) in enumerate(_SEEN, 1)
        ]
        infix = "pope" if source == "coco" else "pope_seem"
        for split in ("random", "popular", "adversarial"):
            _json(folder / source / f"{source}_{infix}_{split}.json", rows)
    return {
        "POPE_ROOT": str(folder),
        "COCO_VAL2014_DIR": str(folder / "COCO"),
        "GQA_IMAGE_DIR": str(folder / "GQA"),
    }


def _mme(folder: Path) -> dict[str, str]:
    import datasets

    names = [f"{category}/{number}.png" for category, number, *_ in _MME]
    _pictures(folder / "pictures", names)
    rows = [
        {
            "question_id": name,
            "image": {"bytes": (folder / "pictures" / name).read_bytes(), "path": None},
            "question": f"{question} Please answer yes or no.",
            "answer": answer,
            "category": category,
        }
        for name, (category, _, question, answer) in zip(names, _MME, strict=True)
    ]
    table = datasets.Dataset.from_list(rows).cast_column("image", datasets.Image())
    table.to_parquet(str(folder / "test.parquet"))
    return {"MME_DATA": str(folder)}


def _amber(folder: Path) -> dict[str, str]:
    asked = [(picture, "Describe this image.", "generative") for picture, *_ in _DESCRIBED]
    asked += [(picture, query, kind) for picture, query, kind, _ in _AMBER]
    queries = [
        {"id": number, "image": f"AMBER_{picture}.jpg", "query": query}
        for number, (picture, query, _) in enumerate(asked, 1)
    ]
    notes: list[dict[str, Any]] = [
        {"id": number, "type": "generative", "truth": truth, "hallu": imagined}
        for number, (_, truth, imagined) in enumerate(_DESCRIBED, 1)
    ]
    for number, (_, _, kind, truth) in enumerate(_AMBER, len(_DESCRIBED) + 1):
        notes.append({"id": number, "type": kind, "truth": truth})
    _json(folder / "query" / "query_all.json", queries)
    _json(folder / "annotations.json", notes)
    _json(folder / "relation.json", _ASSOCIATED)
    (folder / "safe_words.txt").write_text("light\nsign", encoding="utf-8")
    _pictures(folder / "image", ["AMBER_1.jpg", "AMBER_2.jpg"])
    return {"AMBER_ROOT": str(folder), "AMBER_IMAGE_DIR": str(folder / "image")}


def _vlind(folder: Path) -> dict[str, str]:
    _json(folder / "data.json", list(_VLIND))
    for row in _VLIND:
        images = folder / "images"
        concept, number = row["concept"], row["context_id"]
        numbers = row["aggregated_human_label_good_images"]
        shown = images / "counterfactual" / concept / f"{number}_{row['context']}"
        _pictures(shown, [f"{name}.jpg" for name in numbers])
        _pictures(images / "factual" / concept / f"{number}_{row['factual_context']}", ["0.jpg"])
    return {"VLIND_ROOT": str(folder)}


def _mmhal(folder: Path) -> dict[str, str]:
    rows = [
        {
            "question_type": kind,
            "question_topic": "things",
            "image_id": f"aa{number}",
            "image_src": f"https://example.org/{number}/aa{number}.jpg?size=1",
            "image_content": contents,
            "question": question,
            "gt_answer": answer,
            "model_answer": "",
        }
        for number, (kind, contents, question, answer) in enumerate(_MMHAL)
    ]
    _json(folder / "response_template.json", rows)
    _pictures(folder / "images", [f"aa{number}.jpg" for number in range(len(rows))])
    return {"MMHAL_ROOT": str(folder), "MMHAL_IMAGE_DIR": str(folder / "images")}


def _json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _pictures(folder: Path, names: Iterable[str]) -> None:
    """One drawn picture for each name: a rectangle whose place and colour differ."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.new("RGB", (32, 24), (200, 220, 40 + 30 * number % 200))
        box = (2 + number, 3, 14 + number, 18)
        ImageDraw.Draw(picture).rectangle(box, fill=(20 * number % 256, 90, 160))
        picture.save(path)
