"""The how-to pages, followed to the letter: their blocks run in order in an empty folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from lmms_causal.testing.pages import blocks, checkout, follow, script

ELSEWHERE = {"add-a-pattern.md": "tests/kernels/patterns/test_documents.py"}
"""Pages with code that another test follows."""


def results(folder: Path) -> dict[str, dict[str, float]]:
    """Scores of a harness's run, by task."""
    (file,) = folder.rglob("*results*.json")
    return json.loads(file.read_text(encoding="utf-8"))["results"]


def test_every_how_to_page_with_commands_is_followed(root):
    nav = yaml.safe_load((root / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    (pages,) = (entry["How to"] for entry in nav if "How to" in entry)
    here = Path(__file__).read_text(encoding="utf-8")
    for name in pages:
        run = [block for block in blocks(root / "docs" / name) if block.language != "text"]
        if run and name in ELSEWHERE:
            assert name in (root / ELSEWHERE[name]).read_text(encoding="utf-8")
        elif run:
            assert f'"docs/{name}"' in here, name


@pytest.mark.slow
def test_the_quick_start_and_evaluating_a_model(root, tmp_path):
    quick = follow(root / "docs/index.md", tmp_path)
    assert "noisy/conflict" in quick.stdout and "Verdict: " in quick.stdout
    done = follow(root / "docs/evaluate-my-model.md", tmp_path)
    assert "bit-identical" in done.stdout
    scores = [results(tmp_path / "runs" / name) for name in ("plain", "vcd")]
    plain, vcd = (of["causal_vqa_mini_presence"]["causal_score,none"] for of in scores)
    assert vcd > plain, "as the page says"


@pytest.mark.slow
def test_running_on_a_cluster_as_far_as_it_goes_without_one(root, tmp_path):
    done = follow(root / "docs/run-on-a-cluster.md", tmp_path)
    assert done.stdout.count("# tiny-llava | m3id(alpha=1) | ") == 2, "two tasks"
    assert "[alpha=2]" in done.stdout and "+control0" in done.stdout
    assert not (tmp_path / "runs").exists()


def test_reproducing_a_paper_as_far_as_it_goes_without_the_model(root, tmp_path):
    done = follow(root / "docs/reproduce-a-paper.md", tmp_path)
    assert "no target" in done.stdout and "known differences" in done.stdout
    assert "interventions=vcd(noise_step=999)" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.exhaustive
def test_adding_a_method(root, tmp_path):
    done = follow(root / "docs/add-a-method.md", tmp_path, checkout(root, tmp_path))
    (passed,) = re.findall(r"(\d+) passed", done.stdout)
    assert int(passed) > 20
    assert not (root / "interventions/methods/wiped.py").exists()


@pytest.mark.exhaustive
def test_adding_a_task(root, tmp_path):
    done = follow(root / "docs/add-a-task.md", tmp_path, checkout(root, tmp_path))
    assert re.search(r"\d+ passed", done.stdout)
    for harness in ("lmms-eval", "lm-eval"):
        scores = results(tmp_path / "runs" / harness)
        assert {"switches", "switches_blind"} <= set(scores)
        assert scores["switches"]["switches_score,none"] == 0.5
    golden = json.loads((tmp_path / "tests/tasks/golden_scores.json").read_text(encoding="utf-8"))
    assert golden["switches"] == golden["switches_blind"]


def test_blocks_run_in_order_in_one_shell(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```bash\nX=1\n```\n```python\n# a/b.py\n\nY = '$X'\n```\n```text\nfalse\n```\n"
        "```bash\ncat a/b.py\necho $X\n```\n```python\nprint(open('a/b.py').read()[0])\n```\n"
    )
    (tmp_path / "in").mkdir()
    assert follow(page, tmp_path / "in").stdout == "Y = '$X'\n1\nY\n"
    assert [block.line for block in blocks(page)] == [2, 5, 10, 13, 17]


def test_a_failure_names_its_block(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```bash\ntrue\n```\n\n```bash\nfalse | true\n```\n```bash\ntouch no\n```\n")
    with pytest.raises(AssertionError, match=r"^page\.md:6 ends with code 1"):
        follow(page, tmp_path)
    assert not (tmp_path / "no").exists()


def test_a_block_of_another_language_must_be_a_file(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```yaml\na: 1\n```\n")
    with pytest.raises(ValueError, match=r"page\.md:2: a 'yaml' block must name its file"):
        script(page)
