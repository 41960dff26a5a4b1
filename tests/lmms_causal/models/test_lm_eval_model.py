"""The models `causal` and `causal-multimodal` of lm-eval, given requests as lm-eval builds them."""

from __future__ import annotations

import lm_eval
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.registry import model_registry
from lm_eval.models.hf_vlms import HFMultimodalLM
from lm_eval.models.huggingface import HFLM

from lmms_causal import lm_eval_plugin
from lmms_causal.errors import UserError
from lmms_causal.models.for_lm_eval import Causal, CausalMultimodal
from lmms_causal.models.for_lmms_eval import CausalSimple
from lmms_causal.testing import build, picture

QUESTIONS = ("Why did the glass fall?", "Is there a red ball in the image?", "What?")
ANSWERS = (" yes", " no", " because the wind", " the wind caused it", " A", " B")
GREEDY = {"max_gen_toks": 7, "do_sample": False, "until": ["zzz"]}


def generating(doc_id, gen_kwargs=GREEDY, image=False, context=None, repeats=1):
    context = context or QUESTIONS[doc_id]
    media = ({"visual": [picture(doc_id)]},) if image else ()
    context = f"<image>{context}" if image else context
    arguments = (context, gen_kwargs, *media)
    return Instance("generate_until", {}, arguments, 0, ("toy", doc_id, repeats))


def scoring(image=False):
    requests = []
    for doc_id, question in enumerate(QUESTIONS):
        media = ({"visual": [picture(doc_id)]},) if image else ()
        context = f"<image>{question}" if image else question
        for index, answer in enumerate(ANSWERS):
            arguments = (context, answer, *media)
            requests.append(Instance("loglikelihood", {}, arguments, index, ("toy", doc_id, 1)))
    return requests


def made(cls, name_or_path, **arguments):
    return cls.create_from_arg_obj({"pretrained": name_or_path, "device": "cpu", **arguments})


class TestText:
    """`causal` is lm-eval's own `hf` with our generation and interventions."""

    @pytest.mark.parametrize("name", ["llama", "qwen2", "gemma2"])
    @pytest.mark.parametrize("batch_size", [1, 4])
    def test_scores_equal_stock_hf_number_for_number(self, saved, name, batch_size):
        ours = made(Causal, saved(name), batch_size=batch_size).loglikelihood(scoring())
        stock = HFLM(saved(name), device="cpu", batch_size=batch_size).loglikelihood(scoring())
        assert ours == stock

    @pytest.mark.parametrize("name", ["llama", "qwen2"])
    def test_greedy_answers_equal_stock_hf(self, saved, name):
        requests = [generating(i) for i in range(3)]
        for until in (["zzz"], ["e"]):
            kwargs = GREEDY | {"until": until}
            requests = [generating(i, kwargs) for i in range(3)]
            ours = made(Causal, saved(name)).generate_until(requests)
            assert ours == HFLM(saved(name), device="cpu", batch_size=1).generate_until(requests)

    def test_a_given_max_length_cuts_prompts_as_in_stock_hf(self, saved):
        requests = [generating(0, context=" ".join(QUESTIONS))]
        ours = made(Causal, saved("llama"), max_length=12).generate_until(requests)
        stock = HFLM(saved("llama"), device="cpu", batch_size=1, max_length=12)
        assert ours == stock.generate_until(requests)
        assert ours != made(Causal, saved("llama")).generate_until(requests)

    def test_padded_batches_answer_like_single_runs(self, saved):
        requests = [generating(i) for i in range(3)]
        single, batched = (
            made(Causal, saved("llama"), batch_size=n).generate_until(requests) for n in (1, 3)
        )
        assert single == batched

    def test_sampling_does_not_depend_on_the_batch_and_differs_between_repeats(self, saved):
        hot = {"max_gen_toks": 8, "do_sample": True, "temperature": 1.5, "until": []}
        requests = [generating(0, hot, repeats=2)] * 2 + [generating(1, hot, repeats=2)] * 2
        first = made(Causal, saved("llama")).generate_until(requests)
        assert len(set(first)) == 4
        again = made(Causal, saved("llama"), batch_size=4).generate_until(requests[::-1])
        assert sorted(again) == sorted(first)  # repeats count from the other end

    def test_costs_are_exact(self, saved):
        model = made(Causal, saved("llama"), batch_size=2)
        model.loglikelihood(scoring())
        info = model.get_model_info()
        # 3 documents; " because the wind", " the wind caused it" and " A" & co. share nothing but
        # the last token: the four one-token answers are one row
        tokens = [model.tok_encode(answer) for answer in ANSWERS]
        rows = len({tuple(row[:-1]) for row in tokens}) * len(QUESTIONS)
        assert info["lmms_causal_cost"]["forward_passes"] == rows
        assert info["lmms_causal_cost"]["requests"] == len(ANSWERS) * len(QUESTIONS)
        assert info["lmms_causal_interventions"] == "none"
        assert info["lmms_causal_version"]

    def test_finding_the_batch_size_is_no_part_of_the_cost(self, saved):
        sizes = {"batch_size": "auto", "max_batch_size": 8, "max_length": 256}
        automatic, single = made(Causal, saved("llama"), **sizes), made(Causal, saved("llama"))
        for model in (automatic, single):
            model.loglikelihood(scoring())
            model.generate_until([generating(i) for i in range(3)])
        counts = [model.get_model_info()["lmms_causal_cost"] for model in (automatic, single)]
        for name in ("forward_passes", "requests", "generated_tokens"):
            assert counts[0][name] == counts[1][name]
        assert automatic.runner.batch_size == 8

    def test_generation_costs_one_pass_a_row_and_step(self, saved):
        model = made(Causal, saved("llama"))
        model.generate_until([generating(i) for i in range(3)])
        cost = model.get_model_info()["lmms_causal_cost"]
        assert cost["forward_passes"] == cost["generated_tokens"] == 3 * 7
        assert cost["requests"] == 3 and cost["seconds"] > 0 and cost["peak_memory_bytes"] > 0

    def test_re2_repeats_the_question_in_prompts_and_in_chat_turns(self, saved):
        model = made(Causal, saved("llama"), interventions="re2")
        (request,) = model._rewritten([generating(2)])
        twice = "What? \n\nRead the question again: What?"
        assert request.args[0] == twice
        turns = [{"role": "user", "content": "Hm?"}, {"role": "assistant", "content": "."}]
        text = model.apply_chat_template([*turns, {"role": "user", "content": "What?"}])
        assert text.count("What?") == 2 and text.count("Hm?") == 1
        assert model._rewritten([generating(2)])[0].args[0] == "What?"  # done by the template

    def test_a_method_for_images_refuses_prompts_without(self, saved):
        with pytest.raises(UserError, match="without_image=skip"):
            made(Causal, saved("llama"), interventions="vcd").generate_until([generating(0)])
        with pytest.raises(UserError, match="without_image=skip"):
            made(Causal, saved("llama"), interventions="vcd").loglikelihood(scoring())

    def test_skipping_prompts_without_image_leaves_text_scores_as_they_are(self, saved):
        """Up to rounding: a plan with branches is scored by our own loop, not by lm-eval's."""
        plain, skipping = (
            made(Causal, saved("llama"), interventions=spec).loglikelihood(scoring())
            for spec in (None, "vcd(without_image=skip)")
        )
        for (score, greedy), (other, also) in zip(plain, skipping, strict=True):
            assert score == pytest.approx(other, abs=1e-5)
            assert greedy == also

    def test_a_model_object_and_a_text_adapter_are_accepted(self, saved, tmp_path):
        from peft import LoraConfig, get_peft_model

        built, tokenizer = build("llama")
        plain = made(Causal, saved("llama")).loglikelihood(scoring())
        assert made(Causal, built, tokenizer=tokenizer).loglikelihood(scoring()) == plain
        torch.manual_seed(0)
        config = LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
        get_peft_model(built, config).save_pretrained(tmp_path)
        adapted = made(Causal, saved("llama"), peft=str(tmp_path))
        assert adapted.loglikelihood(scoring()) != plain


class TestMultimodal:
    """`causal-multimodal` scores answers about images, which lm-eval's own class refuses."""

    @pytest.mark.parametrize("name", ["llava", "idefics3"])
    def test_greedy_answers_equal_stock_hf_multimodal(self, saved, name):
        requests = [generating(i, image=True) for i in range(3)]
        ours = made(CausalMultimodal, saved(name)).generate_until(requests)
        stock = HFMultimodalLM(saved(name), device="cpu", batch_size=1).generate_until(requests)
        assert ours == stock

    @pytest.mark.parametrize("name", ["llava", "gemma3", "idefics3"])
    def test_image_scores_are_those_of_the_lmms_eval_twin(self, saved, name):
        """lm-eval adds log-probabilities up, lmms-eval averages losses."""
        model = made(CausalMultimodal, saved(name), batch_size=5)
        requests = scoring(image=True)
        for request in requests:
            context = model.apply_chat_template([{"role": "user", "content": request.args[0]}])
            request.arguments = (context, *request.args[1:])
        ours = model.loglikelihood(requests)
        prompts = [model._prompt(request, "") for request in requests]
        twin = CausalSimple.create_from_arg_string(f"pretrained={saved(name)}", {"batch_size": 1})
        pairs = [(p, r.args[1]) for p, r in zip(prompts, requests, strict=True)]
        theirs = twin._ready().score(*zip(*pairs, strict=True))
        for (total, greedy), score in zip(ours, theirs, strict=True):
            assert total == pytest.approx(-score.mean_loss * score.tokens, abs=1e-3)
            assert total < 0 < score.mean_loss
            assert greedy == score.is_greedy

    def test_scores_depend_on_the_picture(self, saved):
        model = made(CausalMultimodal, saved("llava"))
        one, two = (
            model.loglikelihood(
                [
                    Instance(
                        "loglikelihood", {}, ("<image>?", " A", {"visual": [shown]}), 0, ("t", i, 1)
                    )
                ]
            )
            for i, shown in enumerate((picture(1), picture(2)))
        )
        assert one != two

    def test_vcd_doubles_the_passes_and_is_recorded(self, saved):
        requests = scoring(image=True)
        costs = {}
        for spec in ("none", "vcd(alpha=1;beta=0.1)"):
            model = made(CausalMultimodal, saved("llava"), interventions=spec)
            model.loglikelihood(requests)
            info = model.get_model_info()
            costs[spec] = info["lmms_causal_cost"]["forward_passes"]
        rows = len({tuple(model.tok_encode(a)[:-1]) for a in ANSWERS}) * len(QUESTIONS)
        assert costs == {"none": rows, "vcd(alpha=1;beta=0.1)": 2 * rows}
        assert info["lmms_causal_interventions"] == (
            "vcd(alpha=1.0;beta=0.1;noise_step=500;seed=0;without_image=refuse;variant=paper)"
        )

    def test_a_chat_template_places_the_picture(self, saved):
        model = made(CausalMultimodal, saved("qwen2_5_vl"))
        context = model.apply_chat_template([{"role": "user", "content": "<image>What?"}])
        request = generating(0, image=True)
        request.arguments = (context, *request.arguments[1:])
        assert model._pending is not None  # nothing is loaded to render a prompt
        model._ready([request])
        prompt = model._prompt(request, "key")
        assert prompt.text == context and "<image>" not in context
        assert model.generate_until([request])[0]
        again = model.apply_chat_template([{"role": "user", "content": "<image>What?"}])
        assert again == context  # the loaded model renders as its twin without weights did

    def test_a_broken_picture_is_named_before_the_weights_load(self, saved, tmp_path, monkeypatch):
        from PIL import Image

        picture(1, 300, 300).save(tmp_path / "x.jpg")
        (tmp_path / "x.jpg").write_bytes((tmp_path / "x.jpg").read_bytes()[:1500])
        model = made(CausalMultimodal, saved("llava"))
        monkeypatch.setattr(HFMultimodalLM, "__init__", lambda *_, **__: pytest.fail("loaded"))
        broken = {"visual": [Image.open(tmp_path / "x.jpg")]}
        requests = [Instance("generate_until", {}, ("<image>?", GREEDY, broken), 0, ("toy", 4, 1))]
        with pytest.raises(UserError, match=r"toy/4/0: cannot read the image .*x\.jpg"):
            model.generate_until(requests)

    def test_re2_repeats_the_words_and_not_the_picture(self, saved):
        plain, twice = (
            made(CausalMultimodal, saved("llava"), interventions=spec) for spec in ("none", "re2")
        )
        words = f"{QUESTIONS[0]} \n\nRead the question again: {QUESTIONS[0]}"
        by_hand = plain.generate_until([generating(0, context=words, image=True)])
        assert twice.generate_until([generating(0, image=True)]) == by_hand
        turn = [{"role": "user", "content": f"<image>\n{QUESTIONS[0]}"}]
        rendered = twice.apply_chat_template(turn)
        assert rendered.count(QUESTIONS[0]) == 2 and rendered.count("<image>") == 1

    def test_re2_refuses_a_turn_with_pictures_inside(self, saved):
        model = made(CausalMultimodal, saved("llava"), interventions="re2")
        shots = "<image>What? A ball.\n\n<image>What?"
        with pytest.raises(UserError, match="fewshot_as_multiturn"):
            model.apply_chat_template([{"role": "user", "content": shots}])

    def test_pictures_in_rgb_are_not_copied(self, saved):
        model = made(CausalMultimodal, saved("llava"))
        request = generating(0, image=True)
        model._ready([request])
        assert model._prompt(request, "toy/0/0").images[0] is request.args[2]["visual"][0]


class TestBeforeLoading:
    """What can be refused without weights is; loading them would fail these tests."""

    @pytest.fixture(autouse=True)
    def _no_weights(self, monkeypatch):
        from transformers import PreTrainedModel

        def explode(*_, **__):
            raise AssertionError("the weights were loaded")

        monkeypatch.setattr(PreTrainedModel, "from_pretrained", explode)

    @pytest.mark.parametrize(
        "cls, name, arguments, message",
        [
            (Causal, "llama", {"interventions": "vdc"}, "did you mean 'vcd'"),
            (Causal, "llama", {"interventions": "vcd(alpha=much)"}, "alpha=much is not a number"),
            (Causal, "llama", {"base": "hf-multimodel"}, "did you mean 'hf-multimodal'"),
            (Causal, "llama", {"base": "openai-completions"}, "no Hugging Face wrapper"),
            (Causal, "/nope", {}, "pretrained=/nope: cannot read"),
            (Causal, None, {}, "pretrained=MODEL is missing"),
            (Causal, "llava", {}, "use --model causal-multimodal"),
            (CausalMultimodal, "llama", {}, "reads text only; use --model causal"),
            (CausalMultimodal, "nobody/nothing", {}, "pretrained=nobody/nothing: cannot read"),
        ],
    )
    def test_a_wrong_argument_is_one_line(self, saved, cls, name, arguments, message):
        known = name in ("llama", "llava")
        with pytest.raises(UserError, match=message) as caught:
            made(cls, saved(name) if known else name, **arguments)
        assert "\n" not in str(caught.value)

    def test_building_requests_does_not_load(self, saved):
        """What lm-eval asks a model for, before it hands over its requests."""
        model = made(Causal, saved("llama"))
        assert not getattr(model, "MULTIMODAL", False)
        assert "[user] What?" in model.apply_chat_template([{"role": "user", "content": "What?"}])
        assert "message" in model.chat_template(True)
        assert saved("llama").replace("/", "__") in model.tokenizer_name
        assert CausalMultimodal.MULTIMODAL

    def test_an_argument_that_nobody_takes_is_one_line(self, saved, monkeypatch):
        monkeypatch.undo()
        with pytest.raises(UserError, match="pretrianed") as caught:
            made(Causal, saved("llama"), pretrianed=1).generate_until([generating(0)])
        assert "\n" not in str(caught.value)


def test_a_whole_run_records_spec_cost_and_version(saved, monkeypatch):
    """Through lm_eval.simple_evaluate with the model's name, as its command line does it."""
    lm_eval_plugin.install()
    from lm_eval.tasks import TaskManager

    from lmms_causal.tasks import roots

    results = lm_eval.simple_evaluate(
        model="causal-multimodal",
        model_args=f"pretrained={saved('llava')},interventions=vcd(alpha=0.5)",
        tasks=["causal_vqa_mini_presence_choice"],
        task_manager=TaskManager(include_path=str(roots("lm-eval")), include_defaults=False),
        limit=5,
        bootstrap_iters=0,
    )
    config = results["config"]
    assert config["lmms_causal_interventions"].startswith("vcd(alpha=0.5;")
    assert config["lmms_causal_cost"]["forward_passes"] == 2 * 5  # yes and no share a row
    assert results["n-samples"]["causal_vqa_mini_presence_choice"]["effective"] == 5


def test_installing_twice_changes_nothing_and_hides_no_built_in():
    before = set(model_registry.keys())
    lm_eval_plugin.install()
    from lm_eval.tasks import TaskManager

    wrapped = TaskManager.__init__
    lm_eval_plugin.install()
    assert TaskManager.__init__ is wrapped
    assert {"hf", "hf-multimodal", "causal", "causal-multimodal"} <= set(model_registry.keys())
    assert before <= set(model_registry.keys())


class TestArguments:
    def test_a_misspelt_one_is_named_before_anything_loads(self, saved):
        for wrong, right in (("interventons", "interventions"), ("pretraned", "pretrained")):
            with pytest.raises(UserError, match=f"{wrong}.*did you mean '{right}'"):
                Causal.create_from_arg_obj({"pretrained": saved("llama"), wrong: "vcd"})

    def test_what_from_pretrained_takes_passes(self, saved):
        assert Causal.create_from_arg_obj(
            {"pretrained": saved("llama"), "torch_dtype": "float32", "token": None}
        )


@pytest.mark.parametrize("cls, name", [(Causal, "llama"), (CausalMultimodal, "llava")])
@pytest.mark.parametrize(
    "argument, said",
    [
        ("adapter", "in lm-eval write peft="),
        ("system_prompt", "--system_instruction"),
        ("chat_template", "--apply_chat_template"),
        ("num_frames", "lm-eval has none like it"),
        ("max_patches", "lm-eval has none like it"),
    ],
)
def test_arguments_of_lmms_eval_are_refused_with_their_counterpart(
    saved, cls, name, argument, said, monkeypatch
):
    monkeypatch.setattr("transformers.PreTrainedModel.from_pretrained", None)
    with pytest.raises(UserError, match=f"'{argument}' is lmms-eval's; .*{said}"):
        made(cls, saved(name), **{argument: "x"})
