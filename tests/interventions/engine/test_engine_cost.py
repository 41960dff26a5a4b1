"""What an intervention costs: calls of the vision tower and rows through the decoder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from lmms_causal.interventions import apply
from lmms_causal.testing import Prompt, encode, names, picture

PROMPTS = [Prompt("Is it red?", (picture(1),)), Prompt("Which fell first?", (picture(2),))]
STEPS = 4


@contextmanager
def calls_of(module: Any) -> Iterator[list[int]]:
    calls: list[int] = []
    hook = module.register_forward_hook(lambda *_: calls.append(1))
    yield calls
    hook.remove()


@contextmanager
def rows_through(module: Any) -> Iterator[list[int]]:
    rows: list[int] = []
    hook = module.register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
    yield rows
    hook.remove()


def tower(model: Any) -> Any:
    parts = dict(model.base_model.named_children())
    return next(parts[key] for key in ("vision_tower", "visual", "vision_model") if key in parts)


@pytest.mark.parametrize("name", names("vision"))
@pytest.mark.parametrize(
    "decoding",
    [{}, {"num_beams": 3}, {"use_cache": False}, {"do_sample": True, "num_return_sequences": 2}],
    ids=["greedy", "beams", "uncached", "samples"],
)
def test_each_branch_encodes_the_pictures_once(tiny, name, decoding):
    model, processor = tiny(name)
    inputs = encode(processor, PROMPTS)
    arguments = {"max_new_tokens": STEPS, "do_sample": False, **decoding}
    with calls_of(tower(model)) as plain:
        model.generate(**inputs, **arguments)
    with calls_of(tower(model)) as contrasted, apply(model, "vcd"):
        model.generate(**inputs, **arguments)
    assert len(contrasted) == 2 * len(plain) == 2


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl"])
def test_scoring_encodes_the_pictures_once_a_branch(tiny, name):
    model, processor = tiny(name)
    inputs = encode(processor, PROMPTS)
    with calls_of(tower(model)) as calls, apply(model, "vcd"), torch.no_grad():
        model(**inputs)
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("decoding", "rows"), [({}, 2), ({"num_beams": 3}, 6), ({"use_cache": False}, 2)]
)
def test_forward_passes_counts_the_rows_of_all_branches(tiny, decoding, rows):
    model, processor = tiny("llava")
    inputs = encode(processor, PROMPTS)
    for execution in ("stacked", "paired"):
        with (
            rows_through(model.base_model.language_model.layers[0]) as seen,
            apply(model, "vcd", execution=execution) as handle,
        ):
            model.generate(**inputs, max_new_tokens=STEPS, do_sample=False, **decoding)
        assert handle.forward_passes == rows * 2 * STEPS == sum(seen)
        together = execution == "stacked" and decoding.get("use_cache", True)
        assert len(seen) == (STEPS + 1 if together else 2 * STEPS)


def test_branches_that_did_not_run_are_not_counted(tiny):
    model, processor = tiny("llava")
    inputs = encode(processor, [Prompt("Is it red?"), Prompt("Why?")])
    with apply(model, "vcd(without_image=skip)") as handle:
        model.generate(**inputs, max_new_tokens=STEPS)
        assert handle.forward_passes == 2 * STEPS
        model(**inputs)
        assert handle.forward_passes == 2 * STEPS + 2


def test_cutoff_alone_costs_no_second_pass(tiny):
    model, processor = tiny("llava")
    with apply(model, "vcd(alpha=0;beta=0.1)") as handle, torch.no_grad():
        model(**encode(processor, PROMPTS))
    assert handle.forward_passes == 2
