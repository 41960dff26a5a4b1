"""Every recipe of the package: its method, spec, tasks, metrics, and where its numbers stand."""

from __future__ import annotations

import importlib
import importlib.util
import math
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

import lmms_causal.tasks
from lmms_causal.errors import UserError
from lmms_causal.interventions import registry
from lmms_causal.interventions.spec import parse
from lmms_causal.reproduce.catalogue import FOLDER, all_recipes, find_recipes
from lmms_causal.reproduce.reading import read_recipe
from lmms_causal.reproduce.recipe import Recipe
from lmms_causal.tasks import roots

ROOT = Path(__file__).resolve().parents[3]
EVERY = pytest.mark.parametrize("recipe", all_recipes(), ids=lambda recipe: recipe.name)

#: Read in the same table as what the method's page quotes; the last in a table of others.
_NOT_ON_A_PAGE = {
    *(f"pine/rewardbench_{model}" for model in ("qwen1_5_1_8b", "qwen1_5_4b", "qwen1_5_32b")),
    "pine/rewardbench_qwen1_5_110b",
    *(
        f"carve/{model}{steps}"
        for model in ("llava_13b", "qwen2_5_vl_3b")
        for steps in ("", "_last")
    ),
    "vcd/pope_aokvqa_gqa",
}


class _Loader(yaml.SafeLoader):
    """Reads a task file with every function left as its name."""


_Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


@cache
def _configs(harness: str) -> dict[str, dict[str, Any]]:
    """Task files of ours and, by name only, of the harness."""
    module = "lmms_eval" if harness == "lmms-eval" else "lm_eval"
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    found: dict[str, dict[str, Any]] = {}
    for file in (Path(spec.origin).parent / "tasks").rglob("*.yaml"):
        text = file.read_text(encoding="utf-8")
        match = re.search(r"^task:\s*['\"]?([\w-]+)['\"]?\s*$", text, re.MULTILINE)
        if match or "include:" in text:  # some have their name from a template, as their file
            name = match[1] if match else file.stem
            found[name] = {"metrics": set(re.findall(r"metric:\s*['\"]?(\w+)", text))}
    for file in roots(harness).rglob("*.yaml"):
        config = _merged(file)
        name = config.get("group") or config.get("task")
        if isinstance(name, str):
            entries = config.get("metric_list") or []
            members = config["task"] if isinstance(config.get("task"), list) else []
            metrics = {entry["metric"] for entry in entries}
            found[name] = {"metrics": metrics, "members": members}
    return found


def _merged(file: Path) -> dict[str, Any]:
    config = yaml.load(file.read_text(encoding="utf-8"), _Loader) or {}
    includes = config.pop("include", [])
    merged: dict[str, Any] = {}
    # of several files the earlier ones win, in both harnesses
    for name in reversed([includes] if isinstance(includes, str) else includes):
        merged |= _merged(file.parent / name)
    return merged | config


def _members(harness: str, task: str) -> set[str]:
    inner = _configs(harness)[task].get("members") or []
    return {task}.union(*(_members(harness, str(one)) for one in inner))


def test_files_are_named_after_what_they_hold() -> None:
    names = {file.stem for file in FOLDER.glob("[!_]*.yaml")}
    assert names == {f"{recipe.method}.{recipe.benchmark}" for recipe in all_recipes()}


@EVERY
def test_method_and_spec_exist(recipe: Recipe) -> None:
    assert recipe.method in registry.names()
    spec = parse(recipe.interventions)
    assert recipe.method in [registry.name_of(method) for method in spec.methods]


@EVERY
def test_tasks_and_metrics_exist_in_the_harness(recipe: Recipe) -> None:
    configs = _configs(recipe.harness)
    run = set().union(*(_members(recipe.harness, task) for task in recipe.tasks))
    for one in recipe.published:
        for task in one.measure.tasks:
            assert task in run, task
            for metric in one.measure.metrics:
                assert not configs[task]["metrics"] or metric in configs[task]["metrics"], metric
        for metric, path in one.measure.aggregations.items():
            assert metric in one.measure.metrics
            module, _, function = path.rpartition(".")
            found = importlib.util.find_spec(module)
            assert found is not None and found.origin is not None
            assert f"def {function}(" in Path(found.origin).read_text(encoding="utf-8")


@EVERY
def test_numbers_stand_where_the_recipe_says(recipe: Recipe) -> None:
    """A number of the method's own paper is on the method's page or its benchmark's; one of another
    paper's table agrees with the plain numbers that this paper's own recipe has."""
    if recipe.name in _NOT_ON_A_PAGE or recipe.source.seen in ("", "measured"):
        return
    if recipe.source.seen == "other paper":
        own = [
            one
            for one in all_recipes()
            if one.source.paper == recipe.source.paper
            and one.source.seen == "table"
            and one.tasks == recipe.tasks
            and one.decoding == recipe.decoding
        ]
        assert own
        for one in own:
            assert [p.plain for p in one.published] == [p.plain for p in recipe.published]
        return
    text = importlib.import_module(f"lmms_causal.interventions.methods.{recipe.method}").__doc__
    assert text is not None
    pages = [Path(base) for base in lmms_causal.tasks.__path__]
    for readme in (file for page in pages for file in page.glob("*/README.md")):
        if any(task.startswith(readme.parent.name) for task in recipe.tasks):
            text += readme.read_text(encoding="utf-8")
    for one in recipe.published:
        for value in (one.plain, one.method):
            forms = {f"{value:g}", f"{value:.1f}", f"{value:.2f}"} if value is not None else {""}
            assert any(form in text for form in forms), (one.name, value)


def test_measured_numbers_are_those_of_the_page() -> None:
    text = (ROOT / "docs" / "methods_on_causal_vqa_mini.md").read_text(encoding="utf-8")
    table = {
        match[1]: [cell.strip().strip("*") for cell in match[2].split("|")]
        for match in re.finditer(r"^\| `?([^`|]+?)`? \|(.+)\|$", text, re.MULTILINE)
    }
    plain = [float(table["plain model"][place].split()[0]) for place in (0, 3, 6)]
    checked = 0
    for recipe in all_recipes():
        if recipe.benchmark != "causal_vqa_mini":
            continue
        cells = table[recipe.interventions]
        gains = [float(cells[place].split()[0]) for place in (0, 3, 6)]
        assert [one.plain for one in recipe.published] == plain
        expected = [a + b for a, b in zip(plain, gains, strict=True)]
        assert [one.method for one in recipe.published] == pytest.approx(expected, abs=1e-9)
        checked += 1
    assert checked >= 20


def test_methods_whose_numbers_were_not_read_have_no_target() -> None:
    for name in ("causalmm/pope_coco", "m3id/pope_coco", "paint/chair", "re2/gsm8k"):
        method, benchmark = name.split("/")
        (recipe,) = find_recipes(method, benchmark)
        assert not recipe.published and recipe.without_target


_GOOD = {
    "method": "vcd",
    "benchmark": "b",
    "about": "a",
    "interventions": "vcd",
    "harness": "lmms-eval",
    "tasks": ["t"],
    "model": {"pretrained": "org/m"},
    "decoding": {"mode": "greedy"},
    "source": {"paper": "p", "place": "table 1", "seen": "table"},
    "tolerance": "why",
    "published": [
        {"name": "n", "measure": {"tasks": ["t"], "metrics": ["m"]}, "plain": 1, "tolerance": 1}
    ],
}


def _sampled(**settings: Any) -> dict[str, Any]:
    return {"decoding": {"mode": "sampled", "settings": settings}}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"metod": "vcd"}, "unknown key 'metod'.*method"),
        ({"tasks": []}, "tasks: name at least one"),
        ({"tasks": "t"}, "tasks: 't' is no tuple"),
        ({"harness": "helm"}, "harness: one of"),
        ({"decoding": {"mode": "greedy", "seeds": [0, 1]}}, "several only if sampled"),
        ({"decoding": {"mode": "sampled"}}, "temperature belongs to mode sampled"),
        ({"decoding": {"mode": "sampled", "seeds": [1, 1]}}, "named twice"),
        ({"decoding": {"mode": "beams"}}, "num_beams belongs to mode beams"),
        ({"decoding": {"mode": "greedy", "settings": {"num_beams": 5}}}, "num_beams belongs"),
        ({"decoding": {"mode": "hot"}}, "mode: one of"),
        (_sampled(temperature="hot"), "temperature: 'hot': a number above 0"),
        (_sampled(temperature=0), "temperature: 0: a number above 0"),
        (_sampled(temperature=math.inf), "temperature: inf: a number above 0"),
        (_sampled(temperature=1.0, top_p=2), "top_p: 2: a number above 0 and up to 1"),
        (_sampled(temperature=1.0, max_new_tokens=1.5), "max_new_tokens: 1.5: a number above 0"),
        (_sampled(temperature=1.0, do_sample=False), "do_sample is what mode says"),
        (_sampled(temperature=1.0, stop="a,b=c"), "stop: 'a,b=c': one value without a comma"),
        ({"decoding": {"mode": "beams", "settings": {"num_beams": 1}}}, "num_beams: 1: a number"),
        ({"decoding": {"mode": "scored", "settings": {"top_k": 1}}}, "generates nothing"),
        ({"model": {"pretrained": "org/m,interventions=re2"}}, "one value without a comma"),
        ({"model": {"pretrained": "m", "arguments": {"interventions": "re2"}}}, "its own place"),
        ({"model": {"pretrained": "m", "arguments": {"a,b": 1}}}, "one value without a comma"),
        ({"wrapper": "hf"}, "wrapper: one of causal"),
        ({"benchmark": "../../elsewhere"}, "letters, digits"),
        ({"published": [{**_GOOD["published"][0], "plain": 10**400}]}, "not finite"),
        ({"documents": {"t": 0}}, "documents: t: 0 is no count"),
        ({"documents": 3}, "documents: 3 is no Mapping"),
        ({"published": {"name": "n"}}, "a list of numbers"),
        ({"published": ["n"]}, "a mapping is expected, not 'n'"),
        ({"published": [{**_GOOD["published"][0], "plain": math.inf}]}, "not finite"),
        (
            {"published": [{**_GOOD["published"][0], "measure": {"tasks": ["t"], "metrics": []}}]},
            "name tasks and metrics",
        ),
        ({"source": {"paper": "p", "place": "x", "seen": "a blog"}}, "seen: one of"),
        ({"source": {"paper": "p", "seen": "table"}}, "place: name the table"),
        ({"published": []}, "exactly one of them"),
        ({"without_target": "unread"}, "exactly one of them"),
        ({"tolerance": ""}, "say why"),
        ({"published": [{**_GOOD["published"][0], "plain": None}]}, "neither plain nor method"),
        ({"published": [{**_GOOD["published"][0], "tolerance": 0}]}, "above 0"),
        ({"published": [{**_GOOD["published"][0], "plain": "83"}]}, "plain: '83' is no float"),
    ],
)
def test_a_wrong_recipe_says_what_is_wrong(
    tmp_path: Path, change: dict[str, Any], complaint: str
) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(yaml.safe_dump(_GOOD))
    assert read_recipe(file).published[0].plain == 1
    file.write_text(yaml.safe_dump(_GOOD | change))
    with pytest.raises(UserError, match=complaint) as caught:
        read_recipe(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_a_base_that_includes_itself_is_named(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.yaml").write_text(f"include: {other}.yaml\nmethod: vcd\n")
    with pytest.raises(UserError, match="includes itself"):
        read_recipe(tmp_path / "a.yaml")


def test_a_file_that_is_no_recipe(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    with pytest.raises(UserError, match="cannot be read"):
        read_recipe(file)
    file.write_text("a: [1")
    with pytest.raises(UserError, match="not YAML"):
        read_recipe(file)
    file.write_text("just text")
    with pytest.raises(UserError, match="mapping"):
        read_recipe(file)


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(UserError, match="vista"):
        find_recipes("vistaa")
    with pytest.raises(UserError, match="pope_coco_greedy"):
        find_recipes("vista", "pope_coco_gredy")


def test_what_is_known_of_a_tasks_size_is_of_tasks_that_are_run() -> None:
    counted = [recipe for recipe in all_recipes() if recipe.documents]
    assert len(counted) > 40
    for recipe in counted:
        known = set().union(*(_members(recipe.harness, task) for task in recipe.tasks))
        assert known & recipe.documents.keys(), recipe.name


def test_published_baselines_of_one_setting_agree() -> None:
    """Recipes of one paper, model, decoding and tasks quote one plain model: typos show here."""
    plain: dict[tuple[Any, ...], set[float]] = {}
    for recipe in all_recipes():
        for one in recipe.published:
            if one.plain is not None and recipe.source.seen != "measured":
                key = (recipe.source.paper, recipe.model.pretrained, str(recipe.decoding))
                plain.setdefault((*key, one.name, one.measure.tasks), set()).add(one.plain)
    shared = [values for values in plain.values() if len(values) > 1]
    assert not shared
