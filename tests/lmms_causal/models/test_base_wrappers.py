"""``base=``: our interventions on the harnesses' own Hugging Face wrappers."""

from __future__ import annotations

import sys
from functools import partial

import pytest
import torch
from lm_eval.api.instance import Instance as TextInstance
from lm_eval.models.hf_vlms import HFMultimodalLM
from lm_eval.models.huggingface import HFLM
from lmms_eval.api.instance import Instance, unwrap_generation_output

from lmms_causal.errors import UserError
from lmms_causal.interventions.methods.vcd import VCD
from lmms_causal.models.for_lm_eval import Causal as TextCausal
from lmms_causal.models.for_lm_eval import CausalMultimodal
from lmms_causal.models.for_lmms_eval import Causal
from lmms_causal.testing import picture

DOCS = [{"text": "Why?", "seed": 1}, {"text": "Is there a red ball?", "seed": 2}]
VCD_SPEC = "vcd(alpha=1.0;beta=0.1)"
GREEDY = {"max_new_tokens": 6, "do_sample": False, "temperature": 0, "until": ["zzz"]}


def to_messages(doc):
    parts = [{"type": "image", "url": picture(doc["seed"])}, {"type": "text", "text": doc["text"]}]
    return [{"role": "user", "content": parts}]


def chat(doc_id):
    arguments = (DOCS[doc_id]["text"], to_messages, dict(GREEDY), doc_id, "toy", "test")
    metadata = {"task": "toy", "doc_id": doc_id, "repeats": 1}
    return Instance("generate_until", arguments, 0, metadata)


def lmms(cls, folder, base=None, spec="none", **more):
    arguments = {"pretrained": folder, "interventions": spec, "device_map": "cpu", **more}
    if base:
        arguments["base"] = base
    text = ",".join(f"{k}={v}" for k, v in arguments.items())
    model = cls.create_from_arg_string(text, {"batch_size": 1, "device": "cpu"})
    model.task_dict["toy"] = {"test": DOCS}
    return model


def answers(model):
    results = model.generate_until([chat(0), chat(1)])
    return [unwrap_generation_output(result)[0] for result in results]


def stock(name, folder):
    import lmms_eval.models

    cls = lmms_eval.models.get_model(name)
    model = cls.create_from_arg_string(
        f"pretrained={folder},device_map=cpu", {"batch_size": 1, "device": "cpu"}
    )
    model.task_dict["toy"] = {"test": DOCS}
    return model


@pytest.fixture(params=[("llava_hf", "llava"), ("qwen2_5_vl", "qwen2_5_vl")], ids=lambda p: p[0])
def wrapper(request, saved):
    """``(registered name, folder of a tiny checkpoint)`` of a wrapper of lmms-eval."""
    pytest.importorskip("decord", reason="lmms-eval's own wrappers import decord: decord2")
    return request.param[0], saved(request.param[1])


class TestLmmsEval:
    """llava_hf and qwen2_5_vl."""

    def test_without_intervention_it_answers_like_the_stock_wrapper(self, wrapper):
        name, folder = wrapper
        assert answers(lmms(Causal, folder, name)) == answers(stock(name, folder))

    def test_an_intervention_changes_answers_as_on_our_own_model(self, wrapper):
        """llava_hf prepares its prompts as our model does; Qwen's resizes pictures its own way."""
        name, folder = wrapper
        model = lmms(Causal, folder, name, VCD_SPEC)
        changed = answers(model)
        assert changed != answers(lmms(Causal, folder, name))
        if name == "llava_hf":
            assert changed == answers(lmms(Causal, folder, spec=VCD_SPEC))
            assert answers(lmms(Causal, folder, name)) == answers(lmms(Causal, folder))
        assert "vcd(alpha=1.0" in type(model).__name__

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there its own defaults may work")
    def test_it_finds_its_device_without_being_told(self, wrapper):
        name, folder = wrapper
        model = Causal.create_from_arg_string(f"pretrained={folder},base={name}")
        model.task_dict["toy"] = {"test": DOCS}
        assert answers(model) == answers(lmms(Causal, folder, name))

    def test_conversations_it_cannot_hold_are_one_error(self, wrapper):
        """llava_hf defines none; Qwen's chat class inherits the loop of the simple one."""
        name, folder = wrapper
        with pytest.raises(UserError, match=r"no conversations of several .*leave out base="):
            lmms(Causal, folder, name).generate_until_multi_round([chat(0)])

    def test_clean_gives_the_model_back(self, wrapper):
        name, folder = wrapper
        model = lmms(Causal, folder, name, VCD_SPEC)
        answers(model)
        inner = model.model
        model.clean()
        assert not {"forward", "generate"} & inner.__dict__.keys()

    def test_an_exception_inside_an_intervention_is_no_empty_answer(self, wrapper, monkeypatch):
        """llava_hf turns exceptions of generate into empty answers; this one must come out."""
        name, folder = wrapper

        def fault(*_):
            raise RuntimeError("fault inside the intervention")

        monkeypatch.setattr(VCD, "increment", fault)
        with pytest.raises(RuntimeError, match="fault inside the intervention"):
            answers(lmms(Causal, folder, name, VCD_SPEC))

    def test_re2_reaches_the_wrapper_s_prompt(self, wrapper, monkeypatch):
        name, folder = wrapper
        model = lmms(Causal, folder, name, "re2")
        seen = []
        generate = model.model.generate
        monkeypatch.setattr(
            model.model, "generate", lambda **kw: seen.append(kw["input_ids"]) or generate(**kw)
        )
        answers(model)
        texts = [model.tokenizer.decode(ids[0]) for ids in seen]
        assert all("Read the question again:" in text for text in texts)

    def test_an_unknown_base_and_a_missing_decord_are_one_line(self, saved, monkeypatch):
        with pytest.raises(UserError, match="did you mean 'llava_hf'"):
            lmms(Causal, saved("llava"), "lava_hf")
        with pytest.raises(UserError, match="leave base out"):
            lmms(Causal, saved("llava"), "causal")
        for module in [
            m for m in sys.modules if m.startswith("lmms_eval.models.") and "llava_hf" in m
        ]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setitem(sys.modules, "decord", None)
        with pytest.raises(UserError, match="decord") as caught:
            lmms(Causal, saved("llava"), "llava_hf")
        assert "\n" not in str(caught.value)
        assert "pip install 'lmms-causal[wrappers]'" in str(caught.value)

    def test_what_its_constructor_refuses_is_one_line(self, wrapper):
        name, folder = wrapper
        with pytest.raises(UserError, match="foo") as caught:
            answers(lmms(Causal, folder, name, foo=3))
        assert "\n" not in str(caught.value)


class TestLmEval:
    """hf and hf-multimodal."""

    KWARGS = {"max_gen_toks": 6, "do_sample": False, "until": ["zzz"]}  # noqa: RUF012

    def _text(self):
        return [
            TextInstance("generate_until", {}, (d["text"], dict(self.KWARGS)), 0, ("toy", i, 1))
            for i, d in enumerate(DOCS)
        ]

    def _image(self):
        return [
            TextInstance(
                "generate_until",
                {},
                (f"<image>{d['text']}", dict(self.KWARGS), {"visual": [picture(d["seed"])]}),
                0,
                ("toy", i, 1),
            )
            for i, d in enumerate(DOCS)
        ]

    def _made(self, cls, folder, **more):
        return cls.create_from_arg_obj({"pretrained": folder, "device": "cpu", **more})

    def test_off_equals_the_stock_wrappers(self, saved):
        text = self._made(TextCausal, saved("llama"), base="hf")
        assert text.generate_until(self._text()) == HFLM(
            saved("llama"), device="cpu", batch_size=1
        ).generate_until(self._text())
        image = self._made(CausalMultimodal, saved("llava"), base="hf-multimodal")
        assert image.generate_until(self._image()) == HFMultimodalLM(
            saved("llava"), device="cpu", batch_size=1
        ).generate_until(self._image())

    def test_an_intervention_acts_as_on_our_own_model_and_its_passes_are_recorded(self, saved):
        made = partial(self._made, CausalMultimodal, saved("llava"), interventions=VCD_SPEC)
        base, own = made(base="hf-multimodal"), made()
        assert base.generate_until(self._image()) == own.generate_until(self._image())
        info = base.get_model_info()
        assert info["lmms_causal_interventions"].startswith("vcd(alpha=1.0;")
        assert (
            info["lmms_causal_cost"]["forward_passes"]
            == own.get_model_info()["lmms_causal_cost"]["forward_passes"]
        )

    def test_an_exception_inside_an_intervention_comes_out(self, saved, monkeypatch):
        def fault(*_):
            raise RuntimeError("fault inside the intervention")

        monkeypatch.setattr(VCD, "increment", fault)
        model = self._made(
            CausalMultimodal, saved("llava"), base="hf-multimodal", interventions=VCD_SPEC
        )
        with pytest.raises(RuntimeError, match="fault inside"):
            model.generate_until(self._image())

    def test_re2_rewrites_contexts(self, saved):
        model = self._made(TextCausal, saved("llama"), base="hf", interventions="re2")
        plain = HFLM(saved("llama"), device="cpu", batch_size=1)
        twice = self._text()
        for request, doc in zip(twice, DOCS, strict=True):
            text = f"{doc['text']} \n\nRead the question again: {doc['text']}"
            request.arguments = (text, request.arguments[1])
        assert model.generate_until(self._text()) == plain.generate_until(twice)

    def test_rolling_scores_have_no_question_to_reread(self, saved):
        model = self._made(TextCausal, saved("llama"), interventions="re2")
        with pytest.raises(UserError, match="rolling"):
            model.loglikelihood_rolling([])
