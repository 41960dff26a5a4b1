"""Decoding: what is cut and counted, and that neither batch nor order change an answer."""

from __future__ import annotations

import pytest
import torch

from lmms_causal.errors import UserError
from lmms_causal.models.generation import Settings
from lmms_causal.testing import Prompt as Question
from lmms_causal.testing import encode, names, picture

QUESTIONS = (
    "Is there a red ball?",
    "Which option describes the picture? (A) the cause (B) the effect",
    "Why?",
)


@pytest.mark.parametrize("name", names())
def test_a_greedy_answer_is_that_of_plain_generate(runner, ask, name):
    runner = runner(name)
    text = QUESTIONS[1]
    images = () if runner.encoder.processor is None else (picture(7),)
    inputs = encode(runner.encoder.processor or runner.encoder.tokenizer, [Question(text, images)])
    with torch.no_grad():
        plain = runner.model.generate(**inputs, max_new_tokens=12, do_sample=False)
    expected = plain[0, inputs["input_ids"].shape[1] :]
    (answer,) = runner.generate(
        [ask(runner.encoder, text)], [Settings.from_task({"max_new_tokens": 12})]
    )
    assert answer.text == runner.encoder.tokenizer.decode(expected, skip_special_tokens=True)
    assert (answer.prompt_tokens, answer.generated_tokens) == (
        inputs["input_ids"].shape[1],
        len(expected),
    )


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("options", [{}, {"until": ["e"]}, {"num_beams": 3}], ids=str)
def test_a_left_padded_batch_answers_like_single_runs(runner, ask, name, options):
    alone = runner(name)
    prompts = [ask(alone.encoder, text, key=f"t/{i}/0") for i, text in enumerate(QUESTIONS)]
    settings = [Settings.from_task({"max_new_tokens": 10, **options})] * 3
    expected = alone.generate(prompts, settings)
    alone.close()
    together = runner(name, batch_size=3)
    assert together.generate(prompts, settings) == expected
    assert together.cost.generated_tokens == alone.cost.generated_tokens


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "idefics3"])
def test_prompts_with_no_one_and_two_pictures_run_together(runner, ask, name):
    single = runner(name)
    prompts = [
        ask(single.encoder, QUESTIONS[n // 2], images=n % 3, key=f"t/{n}/0") for n in range(6)
    ]
    settings = [Settings.from_task({"max_new_tokens": 6})] * 6
    expected = [single.generate([p], settings[:1])[0] for p in prompts]
    assert len({answer.text for answer in expected}) == 6  # the pictures are seen
    single.close()
    batched = runner(name, batch_size=4)
    assert batched.generate(prompts, settings) == expected


class TestUntil:
    """Stop texts end an answer wherever they begin, and are cut off with what follows."""

    def _free(self, runner, ask):
        runner = runner("llama")
        prompt = ask(runner.encoder, QUESTIONS[0])
        (answer,) = runner.generate([prompt], [Settings.from_task({"max_new_tokens": 40})])
        assert len(answer.text) > 12
        return runner, prompt, answer

    @pytest.mark.parametrize("start, length", [(0, 1), (5, 1), (5, 4), (7, 11), (1, 2)])
    def test_any_slice_of_the_free_answer_stops_it(self, runner, ask, start, length):
        runner, prompt, free = self._free(runner, ask)
        stop = free.text[start : start + length]
        settings = Settings.from_task({"max_new_tokens": 40, "until": stop})
        (answer,) = runner.generate([prompt], [settings])
        assert answer.text == free.text.split(stop)[0]
        assert answer.generated_tokens <= free.generated_tokens

    def test_the_earliest_of_several_wins(self, runner, ask):
        runner, prompt, free = self._free(runner, ask)
        late, early = free.text[9:11], free.text[4:7]
        settings = Settings.from_task({"max_new_tokens": 40, "until": [late, early]})
        (answer,) = runner.generate([prompt], [settings])
        assert answer.text == min((free.text.split(s)[0] for s in (late, early)), key=len)

    def test_decoding_ends_with_the_token_that_completes_the_stop_text(self, runner, ask):
        runner, prompt, free = self._free(runner, ask)
        stop = free.text[6:8]
        (answer,) = runner.generate(
            [prompt], [Settings.from_task({"max_new_tokens": 40, "until": [stop]})]
        )
        ids = runner.model.generate(
            **runner.encoder.encode([prompt]), max_new_tokens=answer.generated_tokens
        )[0, answer.prompt_tokens :]
        decode = runner.encoder.tokenizer.decode
        assert stop in decode(ids) and stop not in decode(ids[:-1])

    def test_the_prompt_does_not_stop_its_answer(self, runner, ask):
        runner = runner("llama")
        prompt = ask(runner.encoder, "Answer A. Is it A?")
        free, stopped = (
            runner.generate([prompt], [Settings.from_task({"max_new_tokens": 8, "until": until})])
            for until in ([], ["Is it A?"])
        )
        assert free == stopped

    def test_a_special_token_stops_too(self, runner, ask):
        """lm-eval's own wrapper looks for stop texts with special tokens kept; so do we."""
        runner = runner("llama")
        tokenizer = runner.encoder.tokenizer
        prompt = ask(runner.encoder, QUESTIONS[2])
        (free,) = runner.generate([prompt], [Settings.from_task({"max_new_tokens": 12})])
        forced = runner.model.generate(
            **runner.encoder.encode([prompt]), max_new_tokens=4, min_new_tokens=4
        )[0, free.prompt_tokens :]
        head = runner.model.get_output_embeddings().weight
        bos = tokenizer.bos_token_id
        saved = head[bos].clone()
        with torch.no_grad():  # the second token of the answer becomes the special one
            head[bos] = head[int(forced[1])] * 1.01
        try:
            (answer,) = runner.generate(
                [prompt],
                [Settings.from_task({"max_new_tokens": 12, "until": [tokenizer.bos_token]})],
            )
            ids = runner.model.generate(**runner.encoder.encode([prompt]), max_new_tokens=12)
        finally:
            with torch.no_grad():
                head[bos] = saved
        first = ids[0, free.prompt_tokens :].tolist().index(bos)
        assert answer.generated_tokens == first + 1
        assert answer.text == tokenizer.decode(ids[0, free.prompt_tokens :][:first])


class TestSampling:
    """A draw depends on the seed and the document's key, and follows the model's distribution."""

    HOT = {"max_new_tokens": 8, "do_sample": True, "temperature": 1.3, "top_k": 50}  # noqa: RUF012

    def test_neither_batch_size_nor_order_change_a_sampled_answer(self, runner, ask):
        alone = runner("llama")
        prompts = [ask(alone.encoder, text, key=f"t/{i}/0") for i, text in enumerate(QUESTIONS)]
        settings = [Settings.from_task(self.HOT, seed=3)] * 3
        expected = alone.generate(prompts, settings)
        alone.close()
        reordered = runner("llama", batch_size=3).generate(prompts[::-1], settings)
        assert reordered == expected[::-1]

    def test_seed_document_and_repeat_each_change_it(self, runner, ask):
        runner = runner("llama")

        def answer(key: str, seed: int) -> str:
            prompt = ask(runner.encoder, QUESTIONS[0], key=key)
            return runner.generate([prompt], [Settings.from_task(self.HOT, seed)])[0].text

        texts = [answer(key, seed) for key in ("t/0/0", "t/0/1", "t/1/0") for seed in (0, 1)]
        assert len(set(texts)) == 6
        assert answer("t/0/0", 0) == texts[0]

    @pytest.mark.parametrize(
        "warpers",
        [{}, {"temperature": 2.5, "top_k": 12, "top_p": 0.9}, {"temperature": 3.0, "min_p": 0.05}],
        ids=str,
    )
    def test_first_tokens_follow_the_distribution_that_transformers_samples(
        self, runner, ask, warpers
    ):
        """Chi-square of 2,000 draws against transformers' own processed scores; p above 0.001."""
        from scipy.stats import chisquare

        runner = runner("llama", batch_size=1000)
        prompts = [ask(runner.encoder, QUESTIONS[0], key=f"t/{i}/0") for i in range(2000)]
        sampling = {"max_new_tokens": 1, "do_sample": True, **warpers}
        counts = torch.zeros(runner.model.config.vocab_size)
        model, seen = runner.model, []
        inner = model.generate
        model.generate = lambda **kwargs: seen.append(inner(**kwargs)) or seen[-1]
        try:
            runner.generate(prompts, [Settings.from_task(sampling)] * len(prompts))
        finally:
            del model.generate
        for output in seen:
            counts += torch.bincount(output[:, -1], minlength=len(counts))
        plain = model.generate(
            **runner.encoder.encode(prompts[:1]),
            max_new_tokens=1,
            do_sample=True,
            output_scores=True,
            return_dict_in_generate=True,
            **{"top_k": 0, "top_p": 1.0, "temperature": 1.0, **warpers},
        )
        expected = plain.scores[0][0].double().softmax(dim=-1) * len(prompts)
        assert counts[expected == 0].sum() == 0  # nothing outside the warped support
        common = expected >= 5
        observed = torch.cat([counts[common], counts[~common].sum()[None]])
        wanted = torch.cat([expected[common], expected[~common].sum()[None]])
        held = wanted > 0
        assert held.sum() >= 4
        assert chisquare(observed[held].double(), wanted[held]).pvalue > 1e-3

    def test_temperature_zero_is_greedy_whatever_do_sample_says(self, runner, ask):
        runner = runner("llama")
        prompt = ask(runner.encoder, QUESTIONS[0])
        ways = ({}, {"do_sample": False, "temperature": 0.9}, {"do_sample": True, "temperature": 0})
        answers = {
            runner.generate([prompt], [Settings.from_task({"max_new_tokens": 6, **way})])[0]
            for way in ways
        }
        assert len(answers) == 1


@pytest.mark.parametrize("name", ["llama", "llava", "qwen2_5_vl"])
def test_beams_and_penalties_are_those_of_transformers(runner, ask, name):
    runner = runner(name)
    options = {"num_beams": 4, "repetition_penalty": 1.3, "length_penalty": 0.7}
    prompt = ask(runner.encoder, QUESTIONS[0])
    inputs = runner.encoder.encode([prompt])
    plain = runner.model.generate(**inputs, max_new_tokens=9, do_sample=False, **options)
    (answer,) = runner.generate([prompt], [Settings.from_task({"max_new_tokens": 9, **options})])
    decoded = runner.encoder.tokenizer.decode(
        plain[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    assert answer.text == decoded


@pytest.mark.parametrize("alias", ["max_new_tokens", "max_gen_toks", "max_tokens"])
def test_every_harness_s_name_of_the_length_limit_is_understood(alias):
    assert Settings.from_task({alias: 7}).max_new_tokens == 7


def test_a_second_name_for_the_length_is_named_if_it_disagrees():
    """As when --gen_kwargs gives max_gen_toks to a task that sets max_new_tokens."""
    settings = Settings.from_task({"max_new_tokens": 16, "max_gen_toks": 64})
    assert (settings.max_new_tokens, settings.ignored) == (16, ("max_gen_toks",))
    assert not Settings.from_task({"max_new_tokens": 16, "max_gen_toks": 16}).ignored


def test_unknown_arguments_are_ignored_and_named():
    settings = Settings.from_task({"image_aspect_ratio": "pad", "num_beams": 2, "until": "\n"})
    assert settings.ignored == ("image_aspect_ratio",)
    assert (settings.options, settings.until) == ({"num_beams": 2}, ("\n",))


@pytest.mark.parametrize("name", ["num_return_sequences", "eos_token_id", "max_length"])
def test_what_the_harness_decides_cannot_be_set_by_a_task(name):
    with pytest.raises(UserError, match=f"{name}=2 cannot be set"):
        Settings.from_task({name: 2})


def test_sampling_with_beams_is_refused():
    with pytest.raises(UserError, match="num_beams"):
        Settings.from_task({"do_sample": True, "num_beams": 2})


class TestSettingsOutOfRange:
    @pytest.mark.parametrize("given", [{"max_new_tokens": 0}, {"temperature": -1}])
    def test_a_length_or_temperature_out_of_range_is_a_users_mistake(self, given):
        with pytest.raises(UserError, match="one token or more"):
            Settings.from_task(given)

    def test_each_harness_own_length_goes_first(self):
        both = {"max_new_tokens": 3, "max_gen_toks": 5}
        assert Settings.from_task(both).max_new_tokens == 3
        assert Settings.from_task(both, length="max_gen_toks").max_new_tokens == 5

    def test_a_method_of_the_generation_config_is_no_argument(self):
        assert Settings.from_task({"validate": True}).ignored == ("validate",)
