"""Tables as files: means against the model's own outputs, and files that are not what they were."""

from __future__ import annotations

import re

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.spans import IMAGE, LAST, PREDICTING
from lmms_causal.interventions.attention.tables import (
    HeadTable,
    head_means,
    load_table,
    save_table,
)
from lmms_causal.testing import Prompt, encode, picture

TEXTS = ("Is it red?", "Which of the two was first, and why?", "Why?")


def inputs_of(processor, *texts, sees=False):
    shown = (picture(3),) if sees else ()
    return dict(encode(processor, [Prompt(text, shown) for text in texts]))


def projected(model, inputs):
    """What each layer's output projection is given, ``[B, L, H d]``: what outputs are."""
    found, handles = {}, []
    for layer, block in enumerate(model.get_decoder().layers):

        def keep(module, given, layer=layer):
            found[layer] = given[0]

        handles.append(block.self_attn.o_proj.register_forward_pre_hook(keep))
    with torch.no_grad():
        model(**inputs)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("span", [None, LAST])
def test_means_are_those_of_what_the_output_projection_is_given(span, tiny):
    model, processor = tiny("llama")
    batches = [inputs_of(processor, *TEXTS[:2]), inputs_of(processor, TEXTS[2])]
    table = head_means(model, processor, batches, *([] if span is None else [span]))
    rows = {layer: [] for layer in table.values}
    for inputs in batches:
        for layer, states in projected(model, inputs).items():
            chosen = inputs["attention_mask"].bool()
            rows[layer].append(states[:, -1] if span is LAST else states[chosen])
    for layer, values in table.values.items():
        expected = torch.cat(rows[layer]).double().mean(dim=0)
        torch.testing.assert_close(values.double().flatten(), expected, atol=1e-6, rtol=1e-6)
    assert table.facts["prompts"] == "3"
    assert int(table.facts["tokens"]) == sum(map(len, rows[0]))


def test_a_table_reads_back_as_it_was_and_equal_tables_have_equal_digests(tiny, tmp_path):
    model, processor = tiny("llava")
    batches = [inputs_of(processor, *TEXTS, sees=True)]
    table = head_means(model, processor, batches, IMAGE)
    reference = table.save(tmp_path / "one.safetensors")
    read = HeadTable.load(reference, "toy")
    assert read.facts == {**table.facts, "kind": "head outputs"}
    assert read.values.keys() == table.values.keys()
    assert all(torch.equal(read.values[layer], it) for layer, it in table.values.items())
    digests = {table.save(tmp_path / f"{n}.safetensors").partition("#")[2] for n in range(5)}
    assert digests == {reference.partition("#")[2]}


def test_a_file_that_changed_is_unpinned_or_is_no_table_is_refused(tmp_path):
    path = tmp_path / "table.safetensors"
    reference = save_table(path, "head outputs", {"layer.0": torch.ones(2, 3)}, {})
    where = f"intervention toy: table={path}"
    with pytest.raises(
        UserError, match=rf"{re.escape(where)}: the table must be pinned; write tab"
    ):
        load_table(str(path), "head outputs", "toy")
    with pytest.raises(UserError, match=f"{re.escape(where)} holds head outputs; name a table of"):
        load_table(reference, "means of states", "toy")
    save_table(path, "head outputs", {"layer.0": torch.zeros(2, 3)}, {})
    with pytest.raises(UserError, match=f"has content #[0-9a-f]{{8}}, not {reference[-9:]}"):
        load_table(reference, "head outputs", "toy")
    path.write_text("layer,head,value\n")
    with pytest.raises(UserError) as unpinned:
        load_table(str(path), "head outputs", "toy")
    pinned = re.search(r"write table=(\S+),", str(unpinned.value))[1]
    with pytest.raises(UserError, match=f"{re.escape(where)} is no table"):
        load_table(pinned, "head outputs", "toy")
    with pytest.raises(UserError, match="cannot read the table"):
        load_table(str(tmp_path / "none#12345678"), "head outputs", "toy")


def test_a_table_of_another_model_says_what_does_not_fit(tiny):
    adapter = ModelAdapter.of(*tiny("llama"))
    table = HeadTable({0: torch.zeros(4, 8), 1: torch.zeros(6, 8)}, {})
    assert table.unfit(adapter, [0]) is None
    assert "6 heads of 8 numbers in layer 1, and the model has 4 of 8" in table.unfit(adapter, [1])
    assert "no layer 2" in table.unfit(adapter, [0, 2])


def test_a_span_without_tokens_has_no_mean(tiny):
    model, processor = tiny("llama")
    with pytest.raises(UserError, match="no token of the 1 prompts is in the span image"):
        head_means(model, processor, [inputs_of(processor, "Why?")], IMAGE)
    assert head_means(model, processor, [inputs_of(processor, "Why?")], PREDICTING).values
