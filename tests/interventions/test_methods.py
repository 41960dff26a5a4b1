"""What holds for every method on every model family; a new one joins by its file being there."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions import Plan, parse, registry
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.engine.guards import obstacle
from lmms_causal.models.generation import Settings
from lmms_causal.models.prompts import Encoder, Prompt
from lmms_causal.models.runner import Runner
from lmms_causal.segments import mark
from lmms_causal.testing import family as family_of
from lmms_causal.testing import names, picture, video

QUESTIONS = ("Is it red?", "Which of the two was first, and why?", "Did the wind move the cup?")
ANSWERS = (" yes", " no, it is")
STATEMENTS = ("A cup fell.\n", "The wind blew, and the door shut.\n", "It rained.\n")
TOKENS = 3
VIDEO = {"rrd"}  # what needs a video is shown one
SHORT = {  # what asks the model on the way is content with a few tokens
    "carve": "carve(steps=3)",
    "leaf_prune": "leaf_prune(max_new_tokens=3)",
    "rrd": "rrd(max_new_tokens=4)",
}


@pytest.fixture(params=registry.names())
def method(request: pytest.FixtureRequest) -> str:
    return request.param


def test_a_method_explains_itself_and_its_parameters(method):
    cls = registry.get(method)
    assert len((inspect.getdoc(inspect.getmodule(cls)) or "").splitlines()) > 5
    documented = inspect.getdoc(cls) or ""
    assert all(name in documented for name in registry.parameters(cls))


def test_the_canonical_text_of_a_method_reads_back_as_itself(method):
    spec = parse(registry.example(method))
    assert parse(str(spec)) == spec


def test_a_bare_name_is_refused_with_a_remedy_or_does_something(method):
    """A run whose plan is empty would be recorded as one with the intervention."""
    try:
        plan = parse(method).plan()
    except UserError as error:
        said = str(error)
        assert method in said and "\n" not in said
        shown = parse(registry.example(method)).plan()  # and a page says what to write
        assert shown != Plan() and ("write" in said or "is required" in said)
    else:
        assert plan != Plan()


class Bench:
    """One method on one tiny model: three prompts that differ in length, answered and scored."""

    def __init__(self, method: str, family: str, model: Any, processor: Any) -> None:
        tokenizer = getattr(processor, "tokenizer", processor)
        self.plan = parse(SHORT.get(method, registry.example(method))).plan()
        self.model = model
        self.processor = processor
        self.encoder = Encoder(tokenizer, None if tokenizer is processor else processor, None, 4)
        self._shows_video = method in VIDEO
        self._sees = family_of(family).kind == "vision"

    def prompts(self) -> list[Prompt]:
        made = []
        for number, question in enumerate(QUESTIONS):
            shown: list[dict[str, Any]] = []
            if self._sees and self._shows_video:
                frames = [Image.fromarray(frame) for frame in video(number, frames=2)]
                shown = [{"type": "video", "video": frames}]
            elif self._sees:
                shown = [{"type": "image", "image": picture(number, 40 + 8 * number, 44)}]
            words = self.plan.rewrite(question)
            if self.plan.reads_segments:
                words = mark(STATEMENTS[: 2 + number % 2]) + words
            text = {"type": "text", "text": words}
            turn = {"role": "user", "content": [*shown, text]}
            made.append(self.encoder.render([turn], f"task/{number}/0"))
        return made

    def run(self, batch_size: int, use: Callable[[Runner], Any]) -> Any:
        runner = Runner(self.model, self.encoder, self.plan, batch_size=batch_size, quiet=True)
        try:
            return use(runner)
        finally:
            runner.close()

    def generate(self, batch_size: int, **options: Any) -> list[str]:
        settings = Settings(max_new_tokens=TOKENS, options=options)
        prompts = self.prompts()
        answers = self.run(batch_size, lambda r: r.generate(prompts, [settings] * len(prompts)))
        return [answer.text for answer in answers]

    def score(self, batch_size: int) -> Tensor:
        """Log-likelihoods ``[3, 2]`` of two answers to each prompt."""
        pairs = [(prompt, answer) for prompt in self.prompts() for answer in ANSWERS]
        prompts, answers = zip(*pairs, strict=True)
        scores = self.run(batch_size, lambda r: r.score(prompts, answers))
        return torch.tensor([score.log_probability for score in scores]).reshape(-1, len(ANSWERS))

    def stock(self) -> list[Tensor]:
        """What the model without an intervention answers, bit for bit."""
        inputs = self.encoder.encode(self.prompts()[:2])
        with torch.no_grad():
            return [
                self.model(**inputs).logits,
                self.model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False),
            ]


@pytest.fixture
def bench(method: str, tiny: Callable[[str], tuple[Any, Any]]) -> Callable[[str], Bench]:
    return lambda family: Bench(method, family, *tiny(family))


@pytest.mark.parametrize("family", names())
def test_a_method_runs_on_a_family_or_says_why_not(method, family, bench):
    case = bench(family)
    reason = obstacle(case.plan, ModelAdapter.of(case.model, case.processor))
    if reason is not None:
        with pytest.raises(UserError, match=re.escape(reason)):
            case.generate(1)
        return
    before = case.stock()
    configured = case.model.config.to_dict()
    one_by_one = case.generate(1)
    assert case.generate(3) == one_by_one, "a batch equals its rows"
    assert case.generate(3, use_cache=False) == one_by_one, "the cache changes nothing"
    if case.plan.selection is None:
        beams = case.generate(3, num_beams=2)
        assert case.generate(3, num_beams=2, use_cache=False) == beams
    scores = case.score(1)
    assert scores.isfinite().all()
    torch.testing.assert_close(case.score(3), scores, atol=1e-3, rtol=1e-4)
    after = case.stock()
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True)), "off is absent"
    assert case.model.config.to_dict() == configured


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "llama"])
def test_an_exception_inside_leaves_nothing_behind(method, family, bench):
    case = bench(family)
    if obstacle(case.plan, ModelAdapter.of(case.model, case.processor)) is not None:
        return  # it never gets inside, as the test above shows
    before = case.stock()
    hooks = len(list(all_hooks(case.model)))
    calls = iter(range(100))

    def fail(*_: Any) -> None:
        if next(calls) == 1:
            raise RuntimeError("in the second pass")

    broken = case.model.get_decoder().layers[-1].register_forward_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="in the second pass"):
            case.generate(3)
    finally:
        broken.remove()
    assert len(list(all_hooks(case.model))) == hooks
    assert all(torch.equal(a, b) for a, b in zip(case.stock(), before, strict=True))


def all_hooks(model: Any) -> Any:
    for module in model.modules():
        yield from module._forward_hooks
        yield from module._forward_pre_hooks


def test_a_file_without_a_method_of_its_name_is_named(monkeypatch):
    monkeypatch.setattr(registry, "import_module", lambda name: None)
    monkeypatch.setattr(registry, "names", lambda: ("toy",))
    with pytest.raises(TypeError, match=r"methods/toy\.py must define"):
        registry.get("toy")
