"""The exported folder as such: what is in it, what its README says, what is refused."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

from lmms_causal.cli import main
from lmms_causal.errors import UserError
from lmms_causal.export import export, task_files
from lmms_causal.export.readme import page
from lmms_causal.tasks import HARNESSES, catalogue, roots

WHOLE = [
    (harness, folder.name)
    for harness in HARNESSES
    for folder in sorted(roots(harness).iterdir())
    # A folder of groups alone, over several benchmarks, is refused.
    if any(re.search(r"^task: \w", path.read_text(), re.M) for path in folder.glob("*.yaml"))
]


@pytest.mark.parametrize(("harness", "benchmark"), WHOLE)
def test_every_benchmark_becomes_a_folder_that_needs_nothing_of_ours(
    harness: str, benchmark: str, tmp_path: Path
) -> None:
    """That the code loads and has every function the task files name, the export sees to."""
    source = roots(harness) / benchmark
    names = {path.stem for path in source.glob("*.yaml") if path.stem[0] != "_"}
    done = export(sorted(names)[0], harness, tmp_path / benchmark, everything=True)
    assert {*done.tasks, *done.groups} == names
    assert {path.name for path in source.glob("*.yaml")} == {
        path.name for path in done.folder.glob("*.yaml")
    }
    tree = ast.parse((done.folder / "utils.py").read_text(encoding="utf-8"))
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name) or ""
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    assert imported and not any(name.startswith(("lmms_causal", ".")) for name in imported)
    assert not any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(tree))
    for path in done.folder.glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        assert "lmms_causal" not in text and "../" not in text
        assert set(re.findall(r"!function (\w+)\.", text)) <= {"utils"}
        assert _shape(text) == _shape((source / path.name).read_text(encoding="utf-8"))
    readme = (done.folder / "README.md").read_text(encoding="utf-8")
    assert "lmms-causal" not in readme and "--model causal" not in readme
    assert all(f"`{name}`" in readme for name in names)


def _shape(text: str) -> str:
    """A task file without comments, and without what an export has to change."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    text = re.sub(r"!function \S+", "!function", "\n".join(lines))
    return re.sub(r"(test: )\S*?(\w+\.jsonl)", r"\1\2", text)


def test_one_task_takes_its_own_files_and_functions_only(tmp_path: Path) -> None:
    done = export("vqa_causal_mc", "lmms-eval", tmp_path / "one" / "deeper")
    assert {path.name for path in done.folder.glob("*.yaml")} == {
        *("_default.yaml", "_letters.yaml", "vqa_causal_mc.yaml"),
    }
    source = (done.folder / "utils.py").read_text(encoding="utf-8")
    assert "def score_letter" in source and "def score_yes_no" not in source
    assert (done.tasks, done.groups) == (("vqa_causal_mc",), ())
    assert {"manifest.jsonl", "utils.py", "README.md"} < set(done.files)
    assert (done.folder / "prompts/causal_vqa/letters.j2").is_file()
    keys = yaml.compose((done.folder / "_default.yaml").read_text(encoding="utf-8"))
    assert "manifest.jsonl" in [value.value for value in _values(keys)]


def _values(node: yaml.Node) -> list[yaml.ScalarNode]:
    if isinstance(node, yaml.ScalarNode):
        return [node]
    return [leaf for _, value in node.value for leaf in _values(value)]


def test_packages_are_named_as_pip_calls_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    assert main(["export", "causal_vqa_mini", "--to", "lmms-eval", str(folder)]) == 0
    assert "\npackages: datasets, numpy, pillow\n" in capsys.readouterr().out
    assert "\nPackages: datasets, numpy, pillow. " in (folder / "README.md").read_text()


def test_a_group_takes_its_members(tmp_path: Path) -> None:
    done = export("causal_vqa_mini", "lm-eval", tmp_path / "mini")
    assert done.groups == ("causal_vqa_mini",)
    assert set(done.tasks) == set(catalogue.members("causal_vqa_mini"))


def test_the_command_reports_what_it_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()  # an empty folder will do
    assert main(["export", "multi_doc_qa", "--to", "lm-eval", str(folder), "--all"]) == 0
    shown = capsys.readouterr().out
    assert "3 tasks and 1 groups" in shown and "utils.py" in shown
    assert sorted(path.name for path in folder.glob("*.yaml")) == sorted(
        path.name for path in (roots("lm-eval") / "multi_doc_qa").glob("*.yaml")
    )


@pytest.mark.parametrize(
    ("task", "harness", "message"),
    [
        ("causal_vga", "lm-eval", "no task or group 'causal_vga' in lmms-causal (did you mean"),
        ("multi_doc_qa", "lmms-eval", "multi_doc_qa has no task files for lmms-eval; use --to lm-"),
        ("multi_doc_qa", "lmms-eval", "no task files for lmms-eval; use --to lm-eval"),
    ],
)
def test_a_name_that_cannot_be_exported_is_one_line(
    task: str,
    harness: str,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["export", task, "--to", harness, str(tmp_path / "out")]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ") and message in shown and shown.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_group_over_several_benchmarks_is_to_be_exported_by_benchmark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"one/a.yaml": "task: a\n", "two/b.yaml": "task: b\n"}
    files["all/both.yaml"] = "group: both\ntask:\n  - a\n  - task: b\n  - a_built_in\n"
    for name, text in files.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(task_files, "roots", lambda harness: tmp_path)
    with pytest.raises(UserError, match=r"several benchmarks; export each one: one, two$"):
        task_files.choose("both", "lm-eval")
    assert [file.name for file in task_files.choose("a", "lm-eval")] == ["a"]


@pytest.mark.parametrize("harness", HARNESSES)
@pytest.mark.parametrize("group", ["causal_lmms", "causal_lmms_lite"])
def test_the_groups_over_benchmarks_name_what_can_be_exported(
    group: str, harness: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", group, "--to", harness, str(tmp_path / "out")]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {group} is made of") and shown.count("\n") == 1
    named = shown.strip().rpartition("export each one: ")[2].split(", ")
    files = {file.name: file for name in named for file in task_files.choose(name, harness)}
    assert len(named) > 4 and set(named) <= set(files)
    benchmarks = {roots(harness) / name for name in named}
    stems = {path.stem for folder in benchmarks for path in folder.glob("*.yaml")}
    assert set(catalogue.members(group)) <= stems and not (tmp_path / "out").exists()


def test_nothing_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "kept.txt"
    kept.write_text("mine")
    for place, reason in ((tmp_path, "is not empty"), (kept, "is a file")):
        assert main(["export", "multi_doc_qa", "--to", "lm-eval", str(place)]) == 2
        shown = capsys.readouterr().err
        assert reason in shown and "name a folder that is empty or not there" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
    assert kept.read_text() == "mine"


def test_the_page_loses_what_only_this_package_has() -> None:
    text = (
        "# a: b\n\n"
        "    lmms-eval --model causal --tasks a\n    lmms-causal lm-eval run\n\n"
        "First. Run `lmms-causal fetch-data a` before. Last\nline of `a.py`.\n\n"
        "* one; `lmms-causal compare` uses it.\n* two\n  more\n\n"
        "| x | y |\n|---|---|\n| lmms-causal | 1 |\n| stock | 2 |\n\n"
        "    a formula = 1\n"
    )
    made = page(text, name="a", harness="lm-eval", groups=["a"], tasks=["a_1"], packages=["PIL"])
    assert made.startswith("# a: b\n\n    lm-eval run --model MODEL")
    assert "First. Last line of `a.py`." in made
    assert "* one.\n* two\n  more" in made
    assert "|---|---|\n| stock | 2 |" in made and "    a formula = 1" in made
    assert "lmms-causal" not in made and "* [ ] Is the benchmark in the literature?" in made
