"""The model `causal` of lmms-eval, given requests as lmms-eval builds them."""

from __future__ import annotations

import pytest
import torch
from lmms_eval.api.instance import Instance, unwrap_generation_output
from lmms_eval.models.model_utils.gen_metrics import reset_logged_metrics, summarize_logged_metrics

from lmms_causal.errors import UserError
from lmms_causal.interventions import parse
from lmms_causal.models import loading
from lmms_causal.models.for_lmms_eval import Causal, CausalSimple
from lmms_causal.models.questions import last_user_text_rewritten
from lmms_causal.testing import Prompt, build, encode, picture

DOCS = [{"text": t, "seed": n} for n, t in enumerate(("Why?", "Is there a red ball?", "What now?"))]
GREEDY = {"max_new_tokens": 6, "do_sample": False, "until": []}


def to_messages(doc):
    content = [
        {"type": "image", "url": picture(doc["seed"])},
        {"type": "text", "text": doc["text"]},
    ]
    return [{"role": "user", "content": content}]


def chat(doc_id, gen_kwargs=GREEDY, messages=to_messages, repeats=1):
    return Instance(
        "generate_until",
        (DOCS[doc_id]["text"], messages, gen_kwargs, doc_id, "toy", "test"),
        0,
        {"task": "toy", "doc_id": doc_id, "repeats": repeats},
    )


def choice(doc_id, index, continuation):
    def visual(doc):
        return [picture(doc["seed"])]

    text = DOCS[doc_id]["text"]
    return Instance(
        "loglikelihood",
        (text, continuation, visual, doc_id, "toy", "test"),
        index,
        {"task": "toy", "doc_id": doc_id, "repeats": 1},
    )


def made(cls, arguments, batch_size=1):
    harness = {"batch_size": batch_size, "device": "cpu"}
    model = cls.create_from_arg_string(arguments, harness)
    model.task_dict["toy"] = {"test": DOCS}
    return model


def texts(results):
    return [unwrap_generation_output(result)[0] for result in results]


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl"])
def test_chat_answers_are_plain_transformers_answers(saved, name):
    model, processor = build(name)
    results = made(Causal, f"pretrained={saved(name)}").generate_until([chat(i) for i in range(3)])
    for doc, result in zip(DOCS, results, strict=True):
        inputs = encode(processor, [Prompt(doc["text"], (picture(doc["seed"]),))])
        plain = model.generate(**inputs, max_new_tokens=6, do_sample=False)
        answer = plain[0, inputs["input_ids"].shape[1] :]
        assert result.text == processor.tokenizer.decode(answer, skip_special_tokens=True)
        counts = result.token_counts
        assert (counts.input_tokens, counts.output_tokens) == (
            inputs["input_ids"].shape[1],
            len(answer),
        )


def test_the_simple_twin_asks_with_pictures_first_and_answers_alike(saved):
    arguments = f"pretrained={saved('llava')}"
    request = Instance(
        "generate_until",
        ("Why?", GREEDY, lambda doc: [picture(doc["seed"])], 0, "toy", "test"),
        0,
        {"task": "toy", "doc_id": 0, "repeats": 1},
    )
    simple = made(CausalSimple, arguments).generate_until([request])
    assert texts(simple) == texts(made(Causal, arguments).generate_until([chat(0)]))


def test_visuals_are_told_apart_as_lmms_eval_does(tmp_path):
    from lmms_eval.api.task import ConfigurableMessagesTask

    from lmms_causal.models.lmms_eval_forms import visual_part

    span = {"url": "c.mp4", "video_start": 1.0, "video_end": 2.0}
    for visual in (picture(1), "a.JPG", "b.mp4", "d.wav", {"url": "e.webm"}, "noextension", span):
        theirs, ours = ConfigurableMessagesTask._visual_to_content(visual), visual_part(visual)
        assert ours["type"] == theirs["type"]
        if visual is not span:
            assert ours["url"] == theirs["url"]
    assert visual_part(span) == {
        "type": "video",
        "url": "c.mp4",
        "start_time": 1.0,
        "end_time": 2.0,
    }


def test_repeats_of_a_document_are_sampled_apart_and_reproducibly(saved):
    hot = {"max_new_tokens": 8, "do_sample": True, "temperature": 1.5}
    requests = [chat(0, hot, repeats=2)] * 2 + [chat(1, hot, repeats=2)] * 2
    arguments = f"pretrained={saved('llava')}"
    first = texts(made(Causal, arguments).generate_until(requests))
    assert len(set(first)) == 4
    batched = made(Causal, arguments, batch_size=4)
    reordered = texts(batched.generate_until(requests[2:] + requests[:2]))
    assert reordered == first[2:] + first[:2]
    assert texts(made(Causal, f"{arguments},seed=1").generate_until(requests)) != first


def test_a_system_prompt_is_text_or_a_file_and_reaches_the_model(saved, tmp_path):
    file = tmp_path / "system.txt"
    file.write_text("Be brief and honest.\n")
    arguments = f"pretrained={saved('qwen2_5_vl')}"
    plain, text, same = (
        made(Causal, arguments + extra).generate_until([chat(0)])[0]
        for extra in ("", ",system_prompt=Be brief and honest.", f",system_prompt={file}")
    )
    assert (text.text, text.token_counts) == (same.text, same.token_counts)
    assert text.token_counts.input_tokens > plain.token_counts.input_tokens
    long = made(Causal, f"{arguments},system_prompt={'Be kind. ' * 100}")  # no file can be named so
    assert long.generate_until([chat(0)])[0].token_counts.input_tokens > 300


def test_rounds_go_on_until_the_task_ends_them(saved):
    seen = []

    def rounds(doc, round_idx=0, previous_output=None, previous_round_info=None):
        if not round_idx:
            return to_messages(doc)
        seen.append((doc["seed"], round_idx, list(previous_output), previous_round_info))
        done = round_idx > doc["seed"]  # document 0 has one round, document 2 three
        info = {"told": round_idx}
        reply = [{"role": "assistant", "content": [{"type": "text", "text": previous_output[-1]}]}]
        again = [{"role": "user", "content": [{"type": "text", "text": "Sure?"}]}]
        return (None if done else to_messages(doc) + reply + again, done, previous_output, info)

    model = made(Causal, f"pretrained={saved('llava')}")
    outputs = model.generate_until_multi_round([chat(i, messages=rounds) for i in range(3)])
    assert [len(output) for output in outputs] == [1, 2, 3]
    assert [output[0] for output in outputs] == texts(
        model.generate_until([chat(i) for i in range(3)])
    )
    assert (2, 2, outputs[2][:2], {"told": 1}) in seen
    assert {info for *_, info in ((s[1], str(s[3])) for s in seen if s[1] == 1)} == {"None"}


def test_losses_are_means_and_survive_as_pairs_and_as_text(saved):
    """lmms-eval takes the least loss; its evaluator passes a pair or, from its cache, its text."""
    from lmms_causal.tasks.loglikelihoods import from_lmms_eval

    model = made(CausalSimple, f"pretrained={saved('llava')}")
    requests = [choice(0, i, text) for i, text in enumerate((" yes", " no", " the wind"))]
    results = model.loglikelihood(requests)
    pairs = [unwrap_generation_output(result)[0] for result in results]
    built, processor = build("llava")
    for request, (loss, greedy) in zip(requests, pairs, strict=True):
        inputs = encode(processor, [Prompt("Why?", (picture(0),))])
        added = processor.tokenizer(request.args[1], add_special_tokens=False)["input_ids"]
        ids = torch.cat([inputs["input_ids"], torch.tensor([added])], dim=1)
        with torch.no_grad():
            logits = built(input_ids=ids, pixel_values=inputs["pixel_values"]).logits[0].double()
        steps = logits[-len(added) - 1 : -1].log_softmax(dim=-1)
        expected = -steps[torch.arange(len(added)), added].mean().item()
        assert loss == pytest.approx(expected, abs=1e-4)
        assert greedy == (steps.argmax(dim=-1).tolist() == added)
    as_text = [str(tuple(pair)) for pair in pairs]
    assert from_lmms_eval(pairs) == from_lmms_eval(as_text)
    assert [pair.strip() for pair in pairs] == pairs


def test_chat_type_refuses_likelihoods_and_simple_type_refuses_rounds(saved):
    with pytest.raises(UserError, match="--force_simple"):
        made(Causal, f"pretrained={saved('llava')}").loglikelihood([])
    with pytest.raises(UserError, match="--force_simple"):
        made(CausalSimple, f"pretrained={saved('llava')}").generate_until_multi_round([])


def test_lost_messages_are_explained(saved):
    with pytest.raises(UserError, match="--cache_requests"):
        made(Causal, f"pretrained={saved('llava')}").generate_until([chat(0, messages=None)])


def test_weights_load_only_when_every_prompt_has_been_rendered(saved, monkeypatch):
    def explode(self):
        raise AssertionError("the weights were loaded")

    monkeypatch.setattr(loading.Checkpoint, "load_model", explode)
    model = made(Causal, f"pretrained={saved('llava')}")

    def broken(doc):
        if doc["seed"] == 2:
            raise OSError("cannot identify image file")
        return to_messages(doc)

    with pytest.raises(UserError, match=r"toy/2/0: cannot be prepared: cannot identify image"):
        model.generate_until([chat(i, messages=broken) for i in range(3)])
    with pytest.raises(AssertionError, match="weights were loaded"):
        model.generate_until([chat(0)])


def test_nothing_is_left_on_the_model_after_clean(saved):
    model = made(Causal, f"pretrained={saved('llava')},interventions=vcd(alpha=1)")
    plain = made(Causal, f"pretrained={saved('llava')}").generate_until([chat(0)])
    changed = model.generate_until([chat(0)])
    inner = model.model
    assert {"forward", "generate"} <= inner.__dict__.keys()
    assert texts(changed) != texts(plain)
    model.clean()
    assert not {"forward", "generate"} & inner.__dict__.keys()


def test_throughput_reports_forward_passes_of_every_branch(saved):
    for spec, factor in (("none", 1), ("vcd(alpha=1;beta=0.1)", 2)):
        reset_logged_metrics()
        model = made(Causal, f"pretrained={saved('llava')},interventions={spec}")
        results = model.generate_until([chat(i, GREEDY | {"num_beams": 1}) for i in range(3)])
        steps = sum(result.token_counts.output_tokens for result in results)
        reported = summarize_logged_metrics()
        assert reported["avg_forward_passes"] == factor * steps
        assert reported["avg_requests"] == 3
        assert reported["total_gen_tokens"] == steps
        assert reported["avg_prompt_tokens"] == sum(r.token_counts.input_tokens for r in results)


def test_the_class_is_named_after_the_canonical_spec(saved):
    model = made(Causal, f"pretrained={saved('llava')},interventions=vcd")
    canonical = "vcd(alpha=1.0;beta=0.1;noise_step=500;seed=0;without_image=refuse;variant=paper)"
    assert type(model).__name__ == f"Causal[{canonical}]"


def test_a_rewrite_leaves_pictures_between_texts_where_they_are():
    reread = parse("re2(format_from=Answer)").plan().rewrite
    (turn,) = last_user_text_rewritten(
        [
            {
                "role": "user",
                "content": [
                    {"type": "image", "image": "first"},
                    {"type": "text", "text": "Compare"},
                    {"type": "image", "image": "second"},
                    {"type": "text", "text": "with"},
                    {"type": "image", "image": "third"},
                    {"type": "text", "text": "Which came first?\nAnswer like"},
                    {"type": "image", "image": "fourth"},
                    {"type": "text", "text": "this."},
                ],
            }
        ],
        reread,
    )
    shown = [part.get("image") or part["text"] for part in turn["content"]]
    again = "Which came first? \n\nRead the question again: Compare\nwith\nWhich came first?"
    assert shown == [
        "first",
        "Compare",
        "second",
        "with",
        "third",
        f"{again}\nAnswer like",
        "fourth",
        "this.",
    ]


def test_re2_rewrites_the_last_user_turn_only(saved):
    plain, twice = (
        made(Causal, f"pretrained={saved('qwen2_5_vl')},interventions={spec}")
        for spec in ("none", "re2")
    )
    prompts = [model._checked([chat(1)])[0].text for model in (plain, twice)]
    question = "Is there a red ball?"
    assert prompts[1] == prompts[0].replace(
        question, f"{question} \n\nRead the question again: {question}"
    )


class TestLoading:
    """Checkpoint arguments do what they say."""

    def test_dtype_placement_and_attention(self, saved):
        model = made(
            Causal,
            f"pretrained={saved('llava')},dtype=bfloat16,attn_implementation=eager,device_map=cpu",
        )
        assert model.model.dtype == torch.bfloat16
        assert model.model.config._attn_implementation == "eager"
        assert len(texts(model.generate_until([chat(0)]))) == 1

    def test_a_text_model_runs_too(self, saved):
        def text_only(doc):
            return [{"role": "user", "content": [{"type": "text", "text": doc["text"]}]}]

        model = made(Causal, f"pretrained={saved('llama')}")
        (result,) = model.generate_until([chat(0, messages=text_only)])
        assert result.token_counts.output_tokens > 0

    def test_an_adapter_is_put_on_and_changes_answers(self, saved, tmp_path):
        from peft import LoraConfig, get_peft_model

        built, _ = build("llava")
        torch.manual_seed(0)
        lora = get_peft_model(
            built, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
        )
        lora.save_pretrained(tmp_path / "adapter")
        plain = made(Causal, f"pretrained={saved('llava')}")
        adapted = made(Causal, f"pretrained={saved('llava')},adapter={tmp_path / 'adapter'}")
        requests = [chat(i) for i in range(3)]
        assert texts(adapted.generate_until(requests)) != texts(plain.generate_until(requests))
        ids = torch.arange(3, 9)[None]
        with torch.no_grad():
            merged, expected = (
                adapted.model(input_ids=ids).logits,
                lora.eval()(input_ids=ids).logits,
            )
        assert torch.allclose(merged, expected, atol=1e-3)

    def test_a_chat_template_file_replaces_the_model_s_own(self, saved, tmp_path):
        file = tmp_path / "template.jinja"
        file.write_text("{% for m in messages %}Q: {{ m['content'] }}{% endfor %}")
        model = made(Causal, f"pretrained={saved('llama')},chat_template={file}")

        def text_only(doc):
            return [{"role": "user", "content": [{"type": "text", "text": doc["text"]}]}]

        assert model._checked([chat(0, messages=text_only)])[0].text == "Q: Why?"
