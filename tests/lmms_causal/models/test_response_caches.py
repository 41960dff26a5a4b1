"""Both harnesses' response caches serve what this model with this intervention has said."""

from __future__ import annotations

import lm_eval
import lmms_eval.evaluator
import pytest
from lm_eval.api.model import CachingLM
from lm_eval.models.hf_vlms import HFMultimodalLM
from lmms_eval.tasks import TaskManager

from lmms_causal import lm_eval_plugin
from lmms_causal.errors import UserError
from lmms_causal.models.for_lm_eval import CausalMultimodal
from lmms_causal.models.runner import Runner
from lmms_causal.tasks import roots

TASK = "causal_vqa_mini_presence_choice"


@pytest.fixture
def asked(monkeypatch):
    """How many requests reach the model."""
    counts = []
    score, generate = Runner.score, Runner.generate
    monkeypatch.setattr(
        Runner, "score", lambda self, p, c: counts.append(len(p)) or score(self, p, c)
    )
    monkeypatch.setattr(
        Runner, "generate", lambda self, p, *a: counts.append(len(p)) or generate(self, p, *a)
    )
    return counts


@pytest.fixture(scope="module")
def lmms_tasks():
    return TaskManager(include_path=str(roots("lmms-eval")), include_defaults=False)


def run_lmms(saved, tasks, cache, spec, task, simple):
    return lmms_eval.evaluator.simple_evaluate(
        model="causal",
        model_args=f"pretrained={saved('llava')},interventions={spec}",
        tasks=[task],
        task_manager=tasks,
        force_simple=simple,
        use_cache=str(cache),
        limit=4,
        batch_size=1,
        device="cpu",
        bootstrap_iters=0,
        cli_args=None,
    )


def stripped(results, task):
    metrics = results["results"][task]
    return {name: value for name, value in metrics.items() if "stderr" not in name}


@pytest.mark.parametrize("task, simple", [(TASK, True), ("causal_vqa_mini_presence", False)])
def test_lmms_eval_hits_for_the_same_run_and_misses_for_another_strength(
    saved, lmms_tasks, tmp_path, asked, task, simple
):
    """Losses come back from the cache as text; the scores must not change."""
    per_document = 2 if simple else 1
    first = run_lmms(saved, lmms_tasks, tmp_path, "vcd(alpha=0.5)", task, simple)
    assert sum(asked) == 4 * per_document
    again = run_lmms(saved, lmms_tasks, tmp_path, "vcd(alpha=0.5)", task, simple)
    assert sum(asked) == 4 * per_document
    assert stripped(again, task) == stripped(first, task)
    run_lmms(saved, lmms_tasks, tmp_path, "vcd(alpha=0.6)", task, simple)
    assert sum(asked) == 2 * 4 * per_document


def run_lm(saved, cache, spec, batch_size=1):
    lm_eval_plugin.install()
    from lm_eval.tasks import TaskManager

    return lm_eval.simple_evaluate(
        model="causal-multimodal",
        model_args=f"pretrained={saved('llava')},interventions={spec}",
        batch_size=batch_size,
        tasks=[TASK],
        task_manager=TaskManager(include_defaults=False),
        use_cache=str(cache),
        limit=4,
        device="cpu",
        bootstrap_iters=0,
    )


def test_lm_eval_hits_for_the_same_run_and_refuses_another(saved, tmp_path, asked):
    cache = tmp_path / "answers"
    first = run_lm(saved, cache, "vcd(alpha=0.5)")
    assert sum(asked) == 8
    again = run_lm(saved, cache, "vcd(alpha=0.5;beta=0.1)", 3)  # the same, spelled out
    assert sum(asked) == 8
    assert stripped(again, TASK) == stripped(first, TASK)
    for spec in ("vcd(alpha=0.6)", "none"):
        with pytest.raises(UserError, match=r"--use_cache.*alpha=0\.5") as caught:
            run_lm(saved, cache, spec)
        assert "\n" not in str(caught.value)
    assert sum(asked) == 8


def test_lm_eval_refuses_a_cache_that_another_model_wrote(saved, tmp_path):
    from lm_eval.api.instance import Instance

    path = str(tmp_path / "stock.db")
    stock = CachingLM(HFMultimodalLM(saved("llava"), device="cpu"), path)
    request = Instance(
        "generate_until", {}, ("Why?", {"max_gen_toks": 2, "until": []}), 0, ("toy", 0, 1)
    )
    stock.lm.generate_until = lambda requests, **_: ["stock" for _ in requests]
    stock.generate_until([request])
    ours = CausalMultimodal.create_from_arg_obj({"pretrained": saved("llava"), "device": "cpu"})
    with pytest.raises(UserError, match="another model"):
        CachingLM(ours, path)


def test_a_seed_is_part_of_what_lm_eval_s_cache_belongs_to(saved):
    """It caches what is sampled by a temperature alone, without ``do_sample``."""
    first, other = (
        CausalMultimodal.create_from_arg_obj({"pretrained": saved("llava"), "seed": seed})
        for seed in (0, 1)
    )
    assert first.identity != other.identity
