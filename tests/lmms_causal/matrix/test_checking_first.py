"""Under the journal a broken input ends a cell before its first answer; kept answers stay."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import lm_eval.api.instance
import lmms_eval.api.instance
import pytest
from PIL import Image

from lmms_causal.errors import UserError
from lmms_causal.matrix.answering.journal import Journal
from lmms_causal.matrix.answering.journaling import put_on
from lmms_causal.models import checking, for_lm_eval, for_lmms_eval
from lmms_causal.models.checking import check_prompts
from lmms_causal.models.runner import Runner
from lmms_causal.models.turns import Prompt
from lmms_causal.testing import picture

COUNT = 6
SETTINGS = {"max_new_tokens": 2, "max_gen_toks": 2, "do_sample": False, "until": []}


class LmmsEval:
    """Requests and a model of lmms-eval, whose tasks open a document's picture when asked."""

    verb = "generate_until"

    def __init__(self, files):
        self.files = files

    def requests(self):
        def messages(file):
            parts = [{"type": "image", "url": str(file)}, {"type": "text", "text": "Why?"}]
            return [{"role": "user", "content": parts}]

        return [
            lmms_eval.api.instance.Instance(
                "generate_until",
                ("Why?", messages, SETTINGS, doc, "toy", "test"),
                0,
                {"task": "toy", "doc_id": doc, "repeats": 1},
            )
            for doc in range(COUNT)
        ]

    def model(self, folder):
        made = for_lmms_eval.Causal.create_from_arg_string(f"pretrained={folder}")
        made.task_dict["toy"] = {"test": self.files}
        return made


class LmEval:
    """The same of lm-eval, whose requests hold opened pictures; these are read when needed."""

    verb = "generate_until"

    def __init__(self, files):
        self.files = files

    def requests(self):
        return [
            lm_eval.api.instance.Instance(
                self.verb, {}, self.arguments(Image.open(file)), 0, ("toy", doc, 1)
            )
            for doc, file in enumerate(self.files)
        ]

    def arguments(self, opened):
        return ("<image>Why?", SETTINGS, {"visual": [opened]})

    def model(self, folder):
        return for_lm_eval.CausalMultimodal.create_from_arg_string(f"pretrained={folder}")


class LmEvalScores(LmEval):
    verb = "loglikelihood"

    def arguments(self, opened):
        return ("<image>Why?", " wind", {"visual": [opened]})


@pytest.mark.parametrize("harness", [LmmsEval, LmEval, LmEvalScores])
def test_the_last_document_s_picture_stops_the_cell_before_it_answers(
    saved, tmp_path, monkeypatch, harness
):
    files = [tmp_path / f"{doc}.png" for doc in range(COUNT)]
    for doc, file in enumerate(files):
        picture(doc, 96, 96).save(file)
    whole = files[-1].read_bytes()
    passes: list[int] = []
    for verb in ("generate", "score"):
        original = getattr(Runner, verb)

        def counted(self, prompts, *rest, original=original, **more):
            passes.append(len(prompts))
            return original(self, prompts, *rest, **more)

        monkeypatch.setattr(Runner, verb, counted)

    def evaluate(limit=COUNT):
        host = harness(files)
        model, journal = host.model(saved("llava")), Journal(tmp_path / "journal")
        put_on(model, journal, 1, lambda: None)
        try:
            return getattr(model, host.verb)(host.requests()[:limit])
        finally:
            journal.close()

    first = evaluate(limit=2)
    assert passes == [1, 1]
    files[-1].write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=rf"^toy/{COUNT - 1}/0: cannot .*{files[-1].name}") as told:
        evaluate()
    assert "\n" not in str(told.value) and passes == [1, 1]
    files[0].write_bytes(b"")  # answered already, and so not looked at
    files[-1].write_bytes(whole)
    if harness is LmmsEval:  # lm-eval opens them all
        assert evaluate()[:2] == first and passes == [1] * COUNT


def test_checking_holds_few_pictures_at_a_time(tmp_path):
    file = tmp_path / "a.png"
    picture(0, 96, 96).save(file)
    opened = Image.open(file)
    for_lm_eval._look_at(opened, "toy/0/0")
    assert opened.fp is not None  # not read, so not in memory

    held: set[int] = set()
    most = 0

    class Held(Prompt):
        def __del__(self):
            held.discard(id(self))

    def render(index):
        nonlocal most
        prompt = Held(str(index))
        held.add(id(prompt))
        most = max(most, len(held))
        return prompt

    check_prompts(500, render, quiet=True)
    assert checking._WORKERS <= most <= checking._AHEAD + checking._WORKERS + 1


def test_a_model_without_a_check_is_asked_as_ever(tmp_path):
    class Plain:
        def generate_until(self, requests):
            return ["yes" for _ in requests]

        def __getattr__(self, name):  # as ours, which load their weights for such a name
            raise AssertionError(name)

    model = Plain()
    journal = Journal(tmp_path)
    put_on(model, journal, 1, partial(dict))
    metadata = {"task": "t", "doc_id": 0, "repeats": 1}
    asked = SimpleNamespace(
        args=("q", {}), task_name="t", doc_id=0, idx=0, repeats=1, metadata=metadata
    )
    assert model.generate_until([asked]) == ["yes"]
    journal.close()
