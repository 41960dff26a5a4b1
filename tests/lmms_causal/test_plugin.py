"""What lmms-eval and lm-eval see of an installed lmms_causal, and what it may not do to them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import lmms_eval.models
import pytest
from lmms_eval.tasks import TaskManager

from lmms_causal import lm_eval_plugin, plugin
from lmms_causal.errors import UserError
from lmms_causal.run_checks import elsewhere
from lmms_causal.tasks import roots


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_entry_point_imports_neither_torch_nor_transformers():
    heavy = python(
        "import sys, lmms_causal.plugin, lmms_eval.models\n"
        "assert 'causal' in lmms_eval.models.AVAILABLE_CHAT_TEMPLATE_MODELS\n"
        "print([m for m in ('torch', 'transformers', 'lmms_causal.tasks', 'lmms_eval.tasks', "
        "'decord', 'triton', 'matplotlib') if m in sys.modules])"
    )
    assert heavy.strip() == "[]"


def test_our_models_are_registered_with_both_types():
    for simple, name in ((False, "Causal"), (True, "CausalSimple")):
        cls = lmms_eval.models.get_model("causal", force_simple=simple)
        assert (cls.__name__, cls.is_simple) == (name, simple)
    listed = {
        **lmms_eval.models.AVAILABLE_SIMPLE_MODELS,
        **lmms_eval.models.AVAILABLE_CHAT_TEMPLATE_MODELS,
    }
    assert set(plugin.MODELS) <= set(listed)


def test_no_model_of_ours_has_a_built_in_s_name():
    """The registries as they are in a process that does not load entry points or ours."""
    built_in = python(
        "import importlib.metadata as m\n"
        "m.entry_points = lambda **_: []\n"
        "import lmms_eval.models as l, lm_eval.models\n"
        "from lm_eval.api.registry import model_registry as r\n"
        "print(*l.AVAILABLE_SIMPLE_MODELS, *l.AVAILABLE_CHAT_TEMPLATE_MODELS, '|', *r.keys())"
    )
    lmms, lm = (set(names.split()) for names in built_in.split("|"))
    assert len(lmms) > 50 and len(lm) > 20
    assert not lmms & set(plugin.MODELS)
    assert not lm & set(lm_eval_plugin.MODELS)


@pytest.mark.parametrize("place", ["_list_models", "_extend_task_search"])
def test_a_failure_inside_is_one_warning_and_nothing_else(monkeypatch, place):
    def fail():
        raise RuntimeError("something changed upstream")

    monkeypatch.setattr(plugin, place, fail)
    with pytest.warns(UserWarning) as caught:
        assert plugin.manifests() == []
    (warning,) = caught
    message = str(warning.message)
    assert "something changed upstream" in message and "--include_path" in message
    assert "\n" not in message


def test_wrapping_the_task_search_again_changes_nothing():
    plugin.manifests()
    wrapped = TaskManager.initialize_tasks
    plugin.manifests()
    assert TaskManager.initialize_tasks is wrapped
    assert wrapped.__wrapped__.__name__ == "initialize_tasks"
    assert not hasattr(wrapped.__wrapped__, "__wrapped__")


@pytest.mark.parametrize("form", [str, lambda p: [str(p)], Path], ids=["text", "list", "path"])
def test_a_user_s_own_task_folder_keeps_precedence_in_lmms_eval(tmp_path, form):
    own = tmp_path / "own.yaml"
    own.write_text("task: vqa_causal_mc\ndataset_path: nowhere\n")
    plugin.manifests()
    manager = TaskManager(include_path=form(tmp_path), include_defaults=False)
    index = manager.task_index
    assert Path(index["vqa_causal_mc"]["yaml_path"]) == own
    assert Path(index["causal_vqa"]["yaml_path"]).is_relative_to(roots("lmms-eval"))


def test_a_user_s_own_task_folder_keeps_precedence_in_lm_eval(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("task: vqa_causal_mc\ndataset_path: nowhere\noutput_type: generate_until\n")
    lm_eval_plugin.install()
    from lm_eval.tasks import TaskManager as TextTaskManager

    for given in (str(tmp_path), [str(tmp_path)]):
        manager = TextTaskManager(include_path=given, include_defaults=False)
        assert Path(str(manager.task_index["vqa_causal_mc"].yaml_path)) == own
        assert "causal_vqa" in manager.all_tasks


def test_without_a_folder_of_the_user_ours_is_found():
    plugin.manifests()
    manager = TaskManager(include_defaults=False)
    assert {"causal_vqa", "causal_vqa_all", "causal_vqa_mini"} <= set(manager.all_tasks)


def test_a_misspelt_task_stops_a_run_of_our_model_only():
    plugin.manifests()
    ours = TaskManager(include_defaults=False, model_name="causal")
    with pytest.raises(UserError, match=r"unknown task 'causal_vqa_mni'.*'causal_vqa_mini'"):
        ours.match_tasks(["causal_vqa_mini", "causal_vqa_mni"])
    assert ours.match_tasks(["causal_vqa_mini", "causal_vqa_mini_c*"])
    theirs = TaskManager(include_defaults=False, model_name="llava_hf")
    assert theirs.match_tasks(["causal_vqa_mni"]) == []


def test_a_scoring_task_stops_a_chat_run_of_our_model_and_names_the_flag():
    plugin.manifests()
    ours = TaskManager(include_defaults=False, model_name="causal")
    with pytest.raises(UserError, match=r"presence_choice scores .*--force_simple"):
        ours.load_task_or_group(["causal_vqa_mini_presence_choice"], "chat")
    with pytest.raises(UserError, match="--force_simple"):
        ours.load_task_or_group(["causal_vqa_mini_choice"], "chat")
    assert ours.load_task_or_group(["causal_vqa_mini_presence_choice"], "simple")


def test_a_task_of_the_other_harness_is_named_as_that():
    plugin.manifests()
    ours = TaskManager(include_defaults=False, model_name="causal")
    with pytest.raises(UserError, match=r"'multi_doc_qa' is for lm-eval only; .*lm-eval run"):
        ours.match_tasks(["multi_doc_qa"])
    said = elsewhere("vcrbench_causal", "lm-eval")
    assert said is not None and "is for lmms-eval only (it shows videos" in said
    assert elsewhere("vcrbench_causal", "lmms-eval") is None
    assert elsewhere("causal_vqa_mini", "lm-eval") is None  # both have it
    assert elsewhere("causal_vqa_mni", "lm-eval") is None


@pytest.mark.parametrize(
    "name, said",
    [
        ("causl", "--model causl: lmms-eval has no such model (did you mean 'causal'?)"),
        ("casual", "did you mean 'causal'"),
        ("causal-multimodal", "is for lm-eval; lmms-eval's is --model causal"),
    ],
)
def test_a_model_that_is_ours_misspelt_stops_the_run(name, said):
    plugin.manifests()
    with pytest.raises(UserError) as caught:
        TaskManager(include_defaults=False, model_name=name)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["llava_hf", "async_hf", "nonsense", "hf", None])
def test_other_models_are_left_to_lmms_eval(name):
    plugin.manifests()
    assert TaskManager(include_defaults=False, model_name=name).all_tasks
