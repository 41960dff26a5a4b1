"""Every edit of attention runs in every layer it names, in the prompt's pass and at each step."""

from __future__ import annotations

import copy
from collections import Counter

import pytest
import torch

from lmms_causal.interventions import apply, parse
from lmms_causal.interventions.attention import running
from lmms_causal.testing import Prompt, encode, picture

SPECS = {  # and the layers named
    "act(threshold=0.1)": (0, 1),
    "act(layers=1;heads=0|2)": (1,),
    "pasta": (0, 1),
    "pasta(heads=1.0)": (1,),
    "suppress(sentence=1)": (0, 1),
    "knockout(layers=0)": (0,),
    "head_ablate(heads=0.1|1.2)": (0, 1),
    "head_ablate(heads=0.1;ablation=uniform;queries=generated)": (0,),
    "retrieval_heads(heads=1.0)": (1,),
}
STEPS = 4


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("family", ["llama", "qwen2_5_vl"])
@pytest.mark.parametrize("use_cache", [True, False])
def test_an_edit_is_run_in_every_layer_of_every_pass(spec, family, use_cache, tiny, monkeypatch):
    model, processor = tiny(family)
    runs: Counter[int] = Counter()
    attend = running.compiled.attend

    def counted(call, part, layer):
        assert len(part.edits[layer]) == 1
        runs[layer] += 1
        return attend(call, part, layer)

    monkeypatch.setattr(running.compiled, "attend", counted)
    shown = () if family == "llama" else (picture(1),)
    inputs = encode(processor, [Prompt("Is it red? Why is that?", shown)])
    with apply(model, spec, processor):
        model.generate(**inputs, max_new_tokens=STEPS, do_sample=False, use_cache=use_cache)
    assert runs == dict.fromkeys(SPECS[spec], STEPS)  # the prompt's pass, then one a token
    assert set(parse(spec).plan().attention[0].where.of(2)) == set(SPECS[spec])


@pytest.mark.parametrize("spec", SPECS)
def test_half_precision_and_beams(spec, tiny):
    """Finite numbers in bfloat16, and beams of a prompt that agree with and without a cache."""
    model, processor = tiny("llama")
    inputs = dict(encode(processor, [Prompt("Is it red? Why?"), Prompt("Which was first?")]))
    options = {"max_new_tokens": STEPS, "num_beams": 3, "do_sample": False}
    with apply(model, spec, processor):
        cached = model.generate(**inputs, **options)
        assert torch.equal(cached, model.generate(**inputs, **options, use_cache=False))
    half = copy.deepcopy(model).to(torch.bfloat16)
    with apply(half, spec, processor):
        made = half.generate(
            **inputs,
            max_new_tokens=STEPS,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
    assert all(it.isfinite().all() for it in made.logits)
