"""Questions of documents: what prompts share, and what is said where there is none."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from lmms_causal.compare import Options, compare
from lmms_causal.report.page import render
from lmms_causal.report.shared_prompt import shared_ends
from lmms_causal.report.task_documents import TaskDocuments
from lmms_causal.tasks.causal_vqa_mini import documents as mini

RULES = "<|im_start|>user\nRead precisely who did what to whom, and give the short answer only.\n"
RULES += "No explanation, no label, no extra punctuation.\n"
END = "<|im_end|>\n<|im_start|>assistant\n"
ASKED = ["The dog barked.\nWhat did the dog do?", "The cat ran.\nWhat did the cat do?", "Who ran?"]


def test_rules_and_turns_are_shared_and_words_of_a_question_are_not() -> None:
    assert shared_ends([RULES + it + END for it in ASKED]) == (RULES, END)
    assert shared_ends([f"Is it {i} ?" for i in range(9)]) == ("", "")
    assert shared_ends(ASKED[:2]) == ("", "") and shared_ends(["", "", ""]) == ("", "")
    assert shared_ends([RULES + END] * 9) == ("", "")  # one prompt says nothing about a task
    for before, after in ((RULES, END), ("", " [/INST]"), (RULES, "")):
        found = shared_ends([before + it + after for it in ASKED])
        whole = [found[0] + it.removeprefix(found[0]).removesuffix(found[1]) + found[1]
                 for it in (before + one + after for one in ASKED)]  # fmt: skip
        assert whole == [before + it + after for it in ASKED]


def test_the_page_holds_what_is_shared_once(make_run: Any) -> None:
    prompts = [RULES + it + END for it in ASKED]
    a = make_run("a", {"acc": [1.0, 0.0, 1.0]}, questions=prompts)
    b = make_run("b", {"acc": [1.0] * 3}, questions=prompts, interventions="vcd")
    page = render(compare(a, [b], Options()))
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert [data["texts"][row[2]] for row in data["documents"]] == ASKED
    assert (data["tasks"][0]["before"], data["tasks"][0]["after"]) == (RULES, END)
    assert page.count("Read precisely") == 1


def _page(make_run: Any, task: str, ids: list[str]) -> str:
    scores = [[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]]
    runs = [make_run(it, {"acc": own}, task=task, ids=ids, questions=[""] * 3, interventions=spec)
            for it, own, spec in (("a", scores[0], ""), ("b", scores[1], "vcd"))]  # fmt: skip
    page = render(compare(runs[0], runs[1:], Options()))
    return re.sub(r"\s+", " ", page[page.index('<section id="notes"') :])


@pytest.mark.parametrize(
    "error", [TypeError("needs 'format'\nof a model"), SystemExit("error: no")]
)
def test_questions_that_cannot_be_made_are_told_with_the_reason(
    make_run: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fails(document: Any) -> str:
        raise error

    monkeypatch.setattr("lmms_causal.report.task_documents._function", lambda path: (
        fails if str(path).endswith("asks") else _loaded(path)))  # fmt: skip
    from lmms_causal.report import task_documents

    loaded = task_documents._configuration
    monkeypatch.setattr(task_documents, "_configuration", lambda file: {
        **loaded(file), "doc_to_text": task_documents._Path("module.asks")})  # fmt: skip
    ids = [it["id"] for it in mini.build("presence")[:3]]
    notes = _page(make_run, "causal_vqa_mini_presence", ids)
    reason = "needs &#39;format&#39;" if isinstance(error, TypeError) else "no"
    assert (
        f"questions of 3 documents of causal_vqa_mini_presence could not be made: {reason}</li>"
        in notes
    )


def _loaded(path: Any) -> Any:
    import importlib

    module, _, name = str(path).rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_questions_that_nobody_knows_are_told(make_run: Any) -> None:
    assert "no questions of toy: not a task of this package" in _page(make_run, "toy", list("abc"))
    strange = _page(make_run, "causal_vqa_mini_presence", list("abc"))
    assert "questions of 3 documents of causal_vqa_mini_presence are not known" in strange


def test_documents_are_not_made_to_learn_that_there_is_no_picture(
    make_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(*_: Any) -> None:
        raise AssertionError("documents were made")

    monkeypatch.setattr(TaskDocuments, "_load", made)
    samples = make_run("a", {"acc": [1.0]}, task="centerbench").tasks["centerbench"].samples
    assert TaskDocuments("centerbench").pictures(samples["none"][0]) == []
