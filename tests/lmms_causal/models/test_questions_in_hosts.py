"""How questions and pictures reach preparations and views in both harnesses."""

from __future__ import annotations

import pytest
from lm_eval.api.instance import Instance as TextInstance
from lmms_eval.api.instance import Instance, unwrap_generation_output
from lmms_eval.models.model_utils.gen_metrics import reset_logged_metrics, summarize_logged_metrics

from lmms_causal.errors import UserError
from lmms_causal.models import for_lm_eval, for_lmms_eval
from lmms_causal.models.asked import Asked
from lmms_causal.models.prompts import Prompt
from lmms_causal.testing import picture

QUESTIONS = ("Why?", "Is there a red ball?", "a")  # the last stands elsewhere in a prompt too
ANSWERS = (" yes", " no", " because the wind")
GREEDY = {"max_gen_toks": 5, "do_sample": False, "until": ["zzz"]}


class Lmms:
    """Requests as lmms-eval builds them, with the question of each document replaced or not."""

    @staticmethod
    def model(cls, folder, spec=None):
        model = cls.create_from_arg_string(
            f"pretrained={folder},interventions={spec}", {"batch_size": 1, "device": "cpu"}
        )
        model.task_dict["toy"] = {"test": list(range(len(QUESTIONS)))}
        return model

    @staticmethod
    def chat(texts):
        def messages(doc):
            shown = {"type": "image", "url": picture(doc)}
            return [{"role": "user", "content": [shown, {"type": "text", "text": texts[doc]}]}]

        settings = {"max_new_tokens": 5, "do_sample": False}
        return [
            Instance(
                "generate_until",
                (texts[i], messages, settings, i, "toy", "test"),
                0,
                {"task": "toy", "doc_id": i, "repeats": 1},
            )
            for i in range(len(texts))
        ]

    @staticmethod
    def choices(texts):
        return [
            Instance(
                "loglikelihood",
                (texts[i], answer, lambda doc: [picture(doc)], i, "toy", "test"),
                index,
                {"task": "toy", "doc_id": i, "repeats": 1},
            )
            for i in range(len(texts))
            for index, answer in enumerate(ANSWERS)
        ]

    @staticmethod
    def texts(results):
        return [unwrap_generation_output(result)[0] for result in results]


class Lm:
    """Requests as lm-eval builds them, with the chat template or without."""

    @staticmethod
    def model(cls, folder, spec=None, **more):
        arguments = {"pretrained": folder, "device": "cpu", "interventions": spec, **more}
        return cls.create_from_arg_obj(arguments)

    @staticmethod
    def contexts(model, texts, chat, images=True):
        written = [f"<image>\n{text}" if images else text for text in texts]
        if not chat:
            return [f"{text}\nAnswer: " for text in written]
        return [model.apply_chat_template([{"role": "user", "content": text}]) for text in written]

    @staticmethod
    def generating(contexts, images=True):
        return [
            TextInstance(
                "generate_until",
                {},
                (context, dict(GREEDY), *([{"visual": [picture(i)]}] if images else [])),
                0,
                ("toy", i, 1),
            )
            for i, context in enumerate(contexts)
        ]

    @staticmethod
    def scoring(contexts, images=True):
        return [
            TextInstance(
                "loglikelihood",
                {},
                (context, answer, *([{"visual": [picture(i)]}] if images else [])),
                index,
                ("toy", i, 1),
            )
            for i, context in enumerate(contexts)
            for index, answer in enumerate(ANSWERS)
        ]


class TestLmmsEval:
    def _with_replies(self, saved, toys, name):
        """The questions as ``described`` should ask them, by the stock model's replies."""
        requests = Lmms.chat([toys.DESCRIBE] * len(QUESTIONS))
        for request in requests:
            request.args[2]["max_new_tokens"] = toys.TOKENS
        plain = Lmms.model(for_lmms_eval.Causal, saved(name))
        replies = Lmms.texts(plain.generate_until(requests))
        return [toys.with_reply(r, text) for r, text in zip(replies, QUESTIONS, strict=True)]

    @pytest.mark.parametrize("name", ["llava", "qwen2_5_vl"])
    def test_a_preparation_changes_the_words_that_are_rendered(self, saved, toys, name):
        texts = self._with_replies(saved, toys, name)
        plain = Lmms.model(for_lmms_eval.Causal, saved(name))
        reset_logged_metrics()
        expected = plain.generate_until(Lmms.chat(texts))
        passes = summarize_logged_metrics()["avg_forward_passes"]
        reset_logged_metrics()
        model = Lmms.model(for_lmms_eval.Causal, saved(name), "described")
        found = model.generate_until(Lmms.chat(QUESTIONS))
        assert Lmms.texts(found) == Lmms.texts(expected)
        assert toys.prepared == [f"toy/{i}/0" for i in range(3)]
        extra = len(QUESTIONS) * toys.TOKENS
        assert summarize_logged_metrics()["avg_forward_passes"] == passes + extra

    def test_all_candidates_are_scored_after_one_preparation(self, saved, toys):
        texts = self._with_replies(saved, toys, "llava")
        plain = Lmms.model(for_lmms_eval.CausalSimple, saved("llava"))
        expected = Lmms.texts(plain.loglikelihood(Lmms.choices(texts)))
        model = Lmms.model(for_lmms_eval.CausalSimple, saved("llava"), "described")
        found = Lmms.texts(model.loglikelihood(Lmms.choices(QUESTIONS)))
        assert toys.prepared == [f"toy/{i}/0" for i in range(3)]
        for (loss, greedy), (other, also) in zip(found, expected, strict=True):
            assert loss == pytest.approx(other, abs=1e-4)
            assert greedy == also

    def test_a_view_is_shown_the_question_and_its_pictures_once(self, saved, toys):
        model = Lmms.model(for_lmms_eval.CausalSimple, saved("llava"), "mirrored")
        model.loglikelihood(Lmms.choices(QUESTIONS))
        assert sorted(toys.viewed) == [(f"toy/{i}/0", text) for i, text in enumerate(QUESTIONS)]

    def test_rewrites_come_before_preparations(self, saved, toys):
        model = Lmms.model(for_lmms_eval.Causal, saved("llava"), "mirrored+re2")
        model.generate_until(Lmms.chat(["Why?"]))
        assert toys.viewed == [("toy/0/0", "Why? \n\nRead the question again: Why?")]


class TestLmEval:
    @pytest.mark.parametrize("chat", [False, True], ids=["raw", "chat"])
    @pytest.mark.parametrize("name", ["llava", "qwen2_5_vl"])
    def test_a_preparation_changes_the_question_inside_the_rendered_text(
        self, saved, toys, name, chat
    ):
        made = {
            spec: Lm.model(for_lm_eval.CausalMultimodal, saved(name), spec)
            for spec in ("none", "described")
        }
        plain, model = made["none"], made["described"]
        contexts = Lm.contexts(model, QUESTIONS, chat)
        raw = [context.replace("<image>", "").strip() for context in contexts]
        questions = QUESTIONS if chat else raw

        def asked(texts):
            """Contexts with the last turn's words replaced by hand."""
            if chat:
                return Lm.contexts(plain, texts, chat)
            return [f"<image>\n{text} " for text in texts]

        first = Lm.generating(asked([toys.DESCRIBE] * 3))
        for request in first:
            request.args[1]["max_gen_toks"] = toys.TOKENS
        replies = plain.generate_until(first)
        texts = [toys.with_reply(r, q) for r, q in zip(replies, questions, strict=True)]
        expected = plain.generate_until(Lm.generating(asked(texts)))
        assert model.generate_until(Lm.generating(contexts)) == expected
        assert toys.prepared == [f"toy/{i}/0" for i in range(3)]
        toys.prepared.clear()
        scores = model.loglikelihood(Lm.scoring(contexts))
        assert toys.prepared == [f"toy/{i}" for i in range(3)]
        wanted = plain.loglikelihood(Lm.scoring(asked(texts)))
        for (score, greedy), (other, also) in zip(scores, wanted, strict=True):
            assert score == pytest.approx(other, abs=1e-3)
            assert greedy == also

    @pytest.mark.parametrize("chat", [False, True], ids=["raw", "chat"])
    def test_a_text_model_is_scored_after_the_prepared_question(self, saved, toys, chat):
        model = Lm.model(for_lm_eval.Causal, saved("llama"), "described")
        plain = Lm.model(for_lm_eval.Causal, saved("llama"))
        contexts = Lm.contexts(model, QUESTIONS, chat, images=False)
        scores = model.loglikelihood(Lm.scoring(contexts, images=False))
        assert toys.prepared == [f"toy/{i}" for i in range(3)]
        cost = model.get_model_info()["lmms_causal_cost"]
        assert cost["requests"] == len(scores) == 9
        assert cost["generated_tokens"] == 3 * toys.TOKENS

        def asked(texts):
            if chat:
                return Lm.contexts(plain, texts, chat, images=False)
            return [f"{text} " for text in texts]

        first = Lm.generating(asked([toys.DESCRIBE] * 3), images=False)
        for request in first:
            request.args[1]["max_gen_toks"] = toys.TOKENS
        replies = plain.generate_until(first)
        questions = QUESTIONS if chat else [context.strip() for context in contexts]
        texts = [toys.with_reply(r, q) for r, q in zip(replies, questions, strict=True)]
        wanted = plain.loglikelihood(Lm.scoring(asked(texts), images=False))
        for (score, greedy), (other, also) in zip(scores, wanted, strict=True):
            assert score == pytest.approx(other, abs=1e-3)
            assert greedy == also

    def test_a_view_is_shown_the_last_turn_of_a_conversation(self, saved, toys):
        model = Lm.model(for_lm_eval.CausalMultimodal, saved("llava"), "mirrored")
        toys.view = lambda images: toys.seen.append(images) or images
        toys.seen = []
        turns = [
            {"role": "user", "content": "<image>\nWhat?"},
            {"role": "assistant", "content": "A ball."},
            {"role": "user", "content": "<image>\nWhy?"},
        ]
        context = model.apply_chat_template(turns)
        (request,) = Lm.generating([context])
        request.args[2]["visual"] = [picture(1), picture(2)]
        model.generate_until([request])
        assert toys.viewed == [("toy/0/0", "Why?")]
        ((shown,),) = toys.seen
        assert shown.tobytes() == picture(2).tobytes()
        assert (
            turns[0]["content"] == "<image>\nWhat?"
        )  # lm-eval's template changes what it is given

    def test_another_number_of_pictures_is_refused(self, saved, toys):
        model = Lm.model(for_lm_eval.CausalMultimodal, saved("llava"), "described(times=2)")
        with pytest.raises(UserError, match=r"toy/0/0: .*how many pictures.*of lmms-eval") as it:
            model.generate_until(Lm.generating(Lm.contexts(model, ["Why?"], False)))
        assert "\n" not in str(it.value)

    def test_words_around_pictures_cannot_be_replaced_but_viewed(self, saved, toys):
        shots = "<image>What? A ball.\n\n<image>What?"
        for spec, refused in (("described", True), ("mirrored", False)):
            model = Lm.model(for_lm_eval.CausalMultimodal, saved("llava"), spec)
            (request,) = Lm.generating([shots])
            request.args[2]["visual"] = [picture(1), picture(2)]
            if refused:
                with pytest.raises(UserError, match=r"pictures stand between them.*fewshot_as"):
                    model.generate_until([request])
            else:
                model.generate_until([request])
        assert toys.viewed == [("toy/0/0", "What? A ball.\n\nWhat?")]

    def test_prompts_from_the_request_cache_are_refused(self, saved, toys):
        """lm-eval then announces the template and never applies it."""
        model = Lm.model(for_lm_eval.Causal, saved("llama"), "described")
        model.chat_template(True)
        with pytest.raises(UserError, match="leave out --cache_requests"):
            model.generate_until(Lm.generating(["user: Why?"], images=False))
        model.apply_chat_template([{"role": "user", "content": "Why?"}])

    def test_rolling_scores_have_no_question_to_prepare(self, saved, toys):
        model = Lm.model(for_lm_eval.Causal, saved("llama"), "described")
        with pytest.raises(UserError, match="rolling"):
            model.loglikelihood_rolling([])

    @pytest.mark.parametrize("name", ["llama", "qwen2", "gemma2"])
    def test_a_plan_with_branches_is_scored_by_our_loop_with_and_without_a_context(
        self, saved, name
    ):
        """And so its answers' beginnings are known; an empty context is lm-eval's prefix token."""
        model = Lm.model(for_lm_eval.Causal, saved(name), "cfg(scale=1.5;negative=prompt)")
        requests = Lm.scoring(["", "Why?"], images=False)
        found = model.loglikelihood(requests)
        prefix = model.tokenizer.decode([model.prefix_token_id])
        prompts = [Prompt(r.args[0] or prefix, key=f"toy/{r.doc_id}") for r in requests]
        expected = model.runner.score(prompts, [r.args[1] for r in requests])
        plain = Lm.model(for_lm_eval.Causal, saved(name)).loglikelihood(requests)
        assert [score for score, _ in found] == pytest.approx(
            [score.log_probability for score in expected], abs=1e-4
        )
        assert found != plain
        off = Lm.model(for_lm_eval.Causal, saved(name), "vcd(without_image=skip)")
        for (score, _), (other, _) in zip(off.loglikelihood(requests), plain, strict=True):
            assert score == pytest.approx(other, abs=1e-4)

    def test_the_batch_size_is_found_on_the_plain_model_and_shared(self, saved):
        sizes = {"batch_size": "auto", "max_batch_size": 8, "max_length": 64}
        spec = "cfg(scale=1.5;negative=prompt)"
        model = Lm.model(for_lm_eval.Causal, saved("llama"), spec, **sizes)
        found = model.loglikelihood(Lm.scoring(["Why?"], images=False))
        single = Lm.model(for_lm_eval.Causal, saved("llama"), spec)
        assert model.runner.batch_size == 4
        for (score, _), (other, _) in zip(
            found, single.loglikelihood(Lm.scoring(["Why?"], images=False)), strict=True
        ):
            assert score == pytest.approx(other, abs=1e-4)


class TestOtherWrappers:
    """``base=``: they turn a question into tensors themselves."""

    @pytest.mark.parametrize("spec", ["described", "mirrored", "vcd+described"])
    def test_preparations_and_views_are_refused_before_anything_loads(
        self, saved, toys, spec, monkeypatch
    ):
        from transformers import PreTrainedModel

        monkeypatch.setattr(
            PreTrainedModel, "from_pretrained", lambda *_, **__: pytest.fail("loaded")
        )
        pytest.importorskip("decord", reason="lmms-eval's own wrappers import decord: decord2")
        folder = saved("llava")
        makers = (
            lambda: for_lmms_eval.Causal.create_from_arg_string(
                f"pretrained={folder},base=llava_hf,interventions={spec}"
            ),
            lambda: Lm.model(for_lm_eval.CausalMultimodal, folder, spec, base="hf-multimodal"),
        )
        for make in makers:
            with pytest.raises(UserError, match="leave out base= and use the model causal") as it:
                make()
            assert "\n" not in str(it.value)

    def test_a_method_that_writes_words_finds_the_wrapper_s_tokenizer(self, saved):
        pytest.importorskip("decord", reason="lmms-eval's own wrappers import decord: decord2")
        folder, spec = saved("llava"), "icd(role=confused)"
        base = for_lmms_eval.Causal.create_from_arg_string(
            f"pretrained={folder},base=llava_hf,device_map=cpu,interventions={spec}",
            {"batch_size": 1, "device": "cpu"},
        )
        base.task_dict["toy"] = {"test": list(range(3))}
        own = Lmms.model(for_lmms_eval.Causal, folder, spec)
        requests = Lmms.chat(QUESTIONS)
        for request in requests:
            request.args[2]["until"] = ["zzz"]
        assert Lmms.texts(base.generate_until(requests)) == Lmms.texts(own.generate_until(requests))
        text = Lm.model(for_lm_eval.Causal, saved("llama"), spec, base="hf")
        mine = Lm.model(for_lm_eval.Causal, saved("llama"), spec)
        asked = Lm.generating(QUESTIONS, images=False)
        assert text.generate_until(asked) == mine.generate_until(asked)


class TestLocating:
    """Where a turn's words stand in the prompt that it has become."""

    def _rendered(self, content):
        return f"<s>user: {content.replace('<image>', '<im> <im>')} assistant:"

    @pytest.mark.parametrize(
        "content, words, pictures",
        [
            ("Why?", "Why?", 0),
            ("<image>\nWhy?", "Why?", 1),
            ("<image><image> Why?\n", "Why?", 2),
            ("Why?\n<image>", "Why?", 1),
            ("<image>a", "a", 1),
            ("<image>image", "image", 1),
            ("<image>assistant:", "assistant:", 1),
        ],
    )
    def test_words_in_one_piece_are_found_exactly(self, content, words, pictures):
        asked = Asked.locate(content, self._rendered, "<image>")
        assert (asked.question, asked.pictures) == (words, pictures)
        assert asked.text == self._rendered(content)
        before, after = asked.around
        assert before + "New" + after == self._rendered(content.replace(words, "New", 1)) or (
            words in "<image>" and before + "New" + after == self._rendered("<image>New")
        )

    @pytest.mark.parametrize("content", ["", " ", "<image>", "<image>Look:<image>Why?"])
    def test_no_words_or_several_pieces_have_no_place(self, content):
        assert Asked.locate(content, self._rendered, "<image>").around is None

    def test_a_template_that_changes_with_its_words_is_searched_from_the_end(self):
        def render(content):
            return f"{len(content)} Why? {content} assistant:"

        assert Asked.locate("Why?", render, None).around == ("4 Why? ", " assistant:")

    def test_pictures_of_earlier_turns_come_before(self):
        asked = Asked.locate("<image>Why?", self._rendered, "<image>")
        shown = [picture(1), picture(2), picture(3)]
        assert asked.prompt(shown, "t/0").earlier == 2
        assert asked.prompt([], "t/0").earlier == 0
