"""What holds for every method there is; a new one joins by its file being there."""

from __future__ import annotations

import inspect

import pytest
import torch

from lmms_causal.interventions import apply, parse, registry
from lmms_causal.testing import Prompt, encode, names, picture


@pytest.fixture(params=registry.names())
def method(request: pytest.FixtureRequest) -> str:
    return request.param


def test_a_method_explains_itself_and_its_parameters(method):
    cls = registry.get(method)
    assert len((inspect.getdoc(inspect.getmodule(cls)) or "").splitlines()) > 5
    documented = inspect.getdoc(cls) or ""
    assert all(name in documented for name in registry.parameters(cls))


def test_the_canonical_text_of_a_method_reads_back_as_itself(method):
    assert parse(str(parse(method))) == parse(method)


@pytest.mark.parametrize("family", names("vision"))
def test_a_method_runs_on_every_vision_family_and_leaves_nothing(method, family, tiny):
    model, processor = tiny(family)
    plan = parse(method).plan()
    text = plan.rewrite("Is there a red ball?")
    inputs = encode(processor, [Prompt(text, (picture(3),)), Prompt("What?", (picture(4),))])
    plain = model.generate(**inputs, max_new_tokens=2, do_sample=False)
    with apply(model, plan):
        answer = model.generate(**inputs, max_new_tokens=2, do_sample=False)
        scores = model(**inputs).logits
    assert answer.shape == plain.shape
    assert torch.isfinite(scores).all()
    assert torch.equal(model.generate(**inputs, max_new_tokens=2, do_sample=False), plain)


@pytest.mark.parametrize("family", names("text"))
def test_a_method_runs_on_a_text_family_or_says_that_it_needs_an_image(method, family, tiny):
    model, tokenizer = tiny(family)
    plan = parse(method).plan()
    inputs = encode(tokenizer, [Prompt(plan.rewrite("Is there a red ball?"))])
    needs_image = any(branch.without_image == "refuse" for branch in plan.branches)
    with apply(model, plan):
        if needs_image:
            with pytest.raises(ValueError, match="needs an image"):
                model.generate(**inputs, max_new_tokens=2)
        else:
            assert model.generate(**inputs, max_new_tokens=2).shape[0] == 1


def test_a_file_without_a_method_of_its_name_is_named(monkeypatch):
    monkeypatch.setattr(registry, "import_module", lambda name: None)
    monkeypatch.setattr(registry, "names", lambda: ("toy",))
    with pytest.raises(TypeError, match=r"methods/toy\.py must define"):
        registry.get("toy")
