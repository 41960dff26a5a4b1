"""Center-embedded sentences in miniature."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

#: Center-embedded sentences of our own, the outermost clause first: who, and the verb three times.
CENTERS = {
    "plausible": (
        (("gardener", "sneeze", "sneezed", "sneezing"), ("wasp", "sting", "stung", "stinging")),
        (
            ("kettle", "boil over", "boiled over", "boiling over"),
            ("cook", "heat", "heated", "heating"),
        ),
        (
            ("letter", "arrive", "arrived", "arriving"),
            ("clerk", "stamp", "stamped", "stamping"),
            ("night nurse", "wave at", "waved at", "waving at"),
        ),
    ),
    "implausible": (
        (
            ("gardener", "boil over", "boiled over", "boiling over"),
            ("kettle", "sting", "stung", "stinging"),
        ),
        (("wasp", "arrive", "arrived", "arriving"), ("letter", "heat", "heated", "heating")),
        (
            ("cook", "sneeze", "sneezed", "sneezing"),
            ("night nurse", "stamp", "stamped", "stamping"),
            ("clerk", "wave at", "waved at", "waving at"),
        ),
    ),
}


@pytest.fixture
def tiny_centers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CenterBench's two files with three sentences each, of one and two embedded clauses."""
    folder = tmp_path / "centerbench"
    folder.mkdir()
    for subset, sentences in CENTERS.items():
        levels: dict[str, dict] = {}
        for clauses in sentences:
            name = f"complexity_{len(clauses) - 1}"
            block = levels.setdefault(name, {"sentences": [], "total_questions": 7})
            made = _center_sentence(clauses)
            made["id"] = f"{name}_sentence_{len(block['sentences']) + 1}"
            block["sentences"].append(made)
        (folder / f"{subset}_subset.json").write_text(json.dumps(levels), encoding="utf-8")
    monkeypatch.setenv("CENTERBENCH_DIR", str(folder))
    monkeypatch.setenv("CENTERBENCH_CHECKSUMS", "off")
    monkeypatch.setenv("CENTERBENCH_OFFICIAL", "0")
    return folder


def _center_sentence(clauses: tuple[tuple[str, str, str, str], ...]) -> dict:
    who = [clause[0] for clause in clauses]
    last = len(who) - 1

    def phrase(clause: int, form: int) -> str:
        return clauses[clause][form] + (f" the {who[clause - 1]}" if clause else "")

    def questions(j: int) -> list[dict]:
        chain = [f"the {who[m]} {phrase(m, 3)}" for m in range(last, j, -1)]
        inner, told = j == last, min(j, last - 1)
        kinds = (
            ("action_performed", f"What did the {who[j]} do?", phrase(j, 1)),
            (
                "agent_identification",
                f"What was affected by the {who[j]}?" if inner else f"What {clauses[j + 1][2]} it?",
                f"the {who[j - 1 if inner else j + 1]}",
            ),
            ("entity_count", "How many distinct entities are there?", str(len(who))),
            ("nested_dependency", f"What did that of {who[j]} do?", phrase(told, 2)),
            (
                "causal_sequence",
                f"What led to what the {who[j]} did?",
                " which led to ".join(chain) or "no prior events",
            ),
            (
                "chain_consequence",
                f"What follows from the {who[j]}?",
                f"the {who[j - 1]}  {phrase(j - 1, 2)}" if j else "none",
            ),
        )
        return [{"type": kind, "question": text, "answer": gold} for kind, text, gold in kinds]

    return {
        "sentence": " that ".join(f"the {name}" for name in who).capitalize()
        + " "
        + " ".join(clause[2] for clause in reversed(clauses))
        + ".",
        "structure": [{"subject": name, "action": "?", "object": None} for name in who],
        "middle_entity": who[last // 2],
        "questions_by_entity": {who[j]: questions(j) for j in reversed(range(len(who)))},
    }
