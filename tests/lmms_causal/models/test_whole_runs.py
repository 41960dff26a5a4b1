"""Whole runs of both harnesses in this process: same answers wherever they must be the same."""

from __future__ import annotations

from functools import cache

import lm_eval
import lmms_eval.evaluator
import pytest
from lmms_eval.tasks import TaskManager as LmmsTasks

from lmms_causal import lm_eval_plugin
from lmms_causal.tasks import roots

TASK = "causal_vqa_mini_presence"
PRETRAINED = "lmms-causal/tiny-llava"
VCD = "vcd(alpha=1.0;beta=0.1)"
LIMIT = 16


@cache
def lmms_tasks():
    return LmmsTasks(include_path=str(roots("lmms-eval")), include_defaults=False)


@cache
def lmms(model="causal", spec=None, base=None, task=TASK, simple=False, pretrained=PRETRAINED):
    arguments = {"pretrained": pretrained, "interventions": spec, "base": base}
    if base or model != "causal":
        arguments["device_map"] = "cpu"
        from lmms_causal.models.loading import resolve

        if model != "causal":
            arguments["pretrained"] = resolve(pretrained)
    return lmms_eval.evaluator.simple_evaluate(
        model=model,
        model_args=",".join(f"{k}={v}" for k, v in arguments.items() if v is not None),
        tasks=[task],
        task_manager=lmms_tasks(),
        force_simple=simple,
        limit=LIMIT,
        batch_size=1,
        device="cpu",
        bootstrap_iters=0,
    )


@cache
def lm(model="causal-multimodal", spec=None, base=None, task=TASK):
    lm_eval_plugin.install()
    from lm_eval.tasks import TaskManager

    arguments = {"pretrained": PRETRAINED, "interventions": spec, "base": base}
    return lm_eval.simple_evaluate(
        model=model,
        model_args=",".join(f"{k}={v}" for k, v in arguments.items() if v is not None),
        tasks=[task],
        task_manager=TaskManager(include_defaults=False),
        limit=LIMIT,
        device="cpu",
        apply_chat_template=True,
        bootstrap_iters=0,
    )


def answers(results, task=TASK):
    samples = sorted(results["samples"][task], key=lambda sample: sample["doc_id"])
    return [str(sample["filtered_resps"][0]).strip() for sample in samples]


@pytest.mark.slow
@pytest.mark.parametrize("spec", [None, VCD], ids=["plain", "vcd"])
def test_both_harnesses_and_their_wrappers_give_the_same_answers(spec):
    pytest.importorskip("decord")
    ours = answers(lmms(spec=spec))
    assert len(ours) == LIMIT and set(ours) <= {"yes", "no", "Yes", "No"}
    assert answers(lmms(spec=spec or "none", base="llava_hf")) == ours
    assert answers(lm(spec=spec)) == ours
    assert answers(lm(spec=spec, base="hf-multimodal")) == ours
    if spec is None:
        assert answers(lmms("llava_hf")) == ours


@pytest.mark.slow
def test_likelihoods_choose_alike_in_both_harnesses():
    task = f"{TASK}_choice"
    ours, theirs = lmms(task=task, simple=True), lm(task=task)
    one, two = (
        {sample["doc_id"]: sample["causal_score"] for sample in results["samples"][task]}
        for results in (ours, theirs)
    )
    assert one == two and len(one) == LIMIT
    metrics = ("causal_score,none", "causal_acc,none")
    assert [ours["results"][task][m] for m in metrics] == [
        theirs["results"][task][m] for m in metrics
    ]


@pytest.mark.slow
def test_the_results_of_lmms_eval_name_the_canonical_spec_and_the_cost():
    results = lmms(spec=VCD)
    backend = results["config"]["model_backend"]
    spec = "vcd(alpha=1.0;beta=0.1;noise_step=500;seed=0;without_image=refuse;variant=paper)"
    assert spec in backend
    cost, plain = results["throughput"], lmms(spec=None)["throughput"]
    assert cost["avg_forward_passes"] == 2 * plain["avg_forward_passes"] > 0
    assert cost["avg_requests"] == LIMIT
    tokens = results["samples"][TASK][0]["token_counts"]
    assert tokens[0]["input_tokens"] > 0 and tokens[0]["output_tokens"] > 0


@pytest.mark.slow
def test_a_preparation_acts_alike_in_both_harnesses(toys):
    """The question reaches it from lmms-eval's messages, and from lm-eval's rendered text."""
    ours = lmms(spec="described")
    assert len(toys.prepared) == LIMIT
    theirs = lm(spec="described")
    assert len(toys.prepared) == 2 * LIMIT
    assert answers(ours) == answers(theirs)
    plain = lmms(spec=None)["throughput"]["avg_forward_passes"]
    assert ours["throughput"]["avg_forward_passes"] > plain
    cost, counted = ours["throughput"], theirs["config"]["lmms_causal_cost"]
    for name in ("requests", "forward_passes", "prompt_tokens"):
        assert cost[f"avg_{name}"] == counted[name]
    likelihoods = lmms(spec="described", task=f"{TASK}_choice", simple=True)
    assert len(toys.prepared) == 3 * LIMIT  # one for all candidates of a document
    assert len(likelihoods["samples"][f"{TASK}_choice"]) == LIMIT


@pytest.mark.slow
def test_a_view_acts_alike_in_both_harnesses(toys):
    ours, theirs = lmms(spec="mirrored(alpha=3)"), lm(spec="mirrored(alpha=3)")
    assert answers(ours) == answers(theirs)
    assert len(toys.viewed) == 2 * LIMIT
    assert sorted(toys.viewed[:LIMIT]) == sorted(toys.viewed[LIMIT:])
    passes = ours["throughput"]["avg_forward_passes"]
    assert passes == theirs["config"]["lmms_causal_cost"]["forward_passes"]


def test_a_text_model_on_an_image_task_is_refused_without_weights(saved, monkeypatch):
    from transformers import PreTrainedModel

    from lmms_causal.errors import UserError

    def explode(*_, **__):
        raise AssertionError("the weights were loaded")

    monkeypatch.setattr(PreTrainedModel, "from_pretrained", explode)
    with pytest.raises(UserError, match=f"{TASK}/0/0: the prompt shows an image"):
        lmms(pretrained=saved("llama"))
    lm_eval_plugin.install()
    from lm_eval.tasks import TaskManager

    with pytest.raises(ValueError, match="require multimodal input"):
        lm_eval.simple_evaluate(
            model="causal",
            model_args=f"pretrained={saved('llama')}",
            tasks=[TASK],
            task_manager=TaskManager(include_defaults=False),
            limit=2,
        )
