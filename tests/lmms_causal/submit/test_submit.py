"""Bundles of runs in the harnesses' own file formats; what is refused, and what is always said."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import parse_eval_result_entries

from lmms_causal.cli import main
from lmms_causal.errors import UserError
from lmms_causal.submit.bundle import check_bundle, write_bundle
from lmms_causal.submit.every_eval_ever import Evaluator, record, record_path
from lmms_causal.submit.evidence import read_evidence
from lmms_causal.submit.hub import read_benchmark

SPEC = "vcd(alpha=1.0;beta=0.1;noise_step=999;seed=0;without_image=refuse;variant=paper)"
BENCHMARK = "toy_order=org/data:toy"


def bundle(folder: Path, output: Path, **options: Any) -> Path:
    settings: dict[str, Any] = {
        "now": 1_800_000_000.0,
        "benchmarks": [read_benchmark(BENCHMARK)],
        "by": Evaluator("Our group"),
        "with_samples": True,
    }
    write_bundle(read_evidence(folder), output, **(settings | options))
    return output


def parts(output: Path) -> tuple[dict[str, Any], list[dict[str, Any]], Any]:
    """Aggregate record, rows, entry for the Hub."""
    (log,) = output.rglob("data/**/*.json")
    (rows,) = output.rglob("*_samples.jsonl")
    (hub,) = output.rglob(".eval_results/*.yaml")
    (entry,) = parse_eval_result_entries(yaml.safe_load(hub.read_text()))
    return (
        json.loads(log.read_text()),
        [json.loads(row) for row in rows.read_text().splitlines()],
        entry,
    )


def test_a_plain_run_is_the_models_own(run, tmp_path):
    folder = run("none")
    output = bundle(folder, tmp_path / "b")
    log, rows, entry = parts(output)
    results = json.loads(next(folder.glob("*_results.json")).read_text())["results"]["toy_order"]
    metric = next(key for key in results if key.endswith(",none") and "stderr" not in key)
    assert entry.value == results[metric]
    assert (entry.dataset_id, entry.task_id) == ("org/data", "toy")
    assert entry.notes.startswith("plain model, no intervention; ")
    assert log["model_info"]["name"] == log["model_info"]["id"] == "org/toy"
    assert {one["evaluation_name"] for one in log["evaluation_results"]} == {
        "toy_order",
        "toy_filters",
    }
    by_id = {one["evaluation_result_id"]: one for one in log["evaluation_results"]}
    assert by_id[f"toy_order/{metric.partition(',')[0]}"]["score_details"]["score"] == entry.value
    linked = [row for row in rows if row["evaluation_name"] == "toy_order"]
    assert len(linked) == 12
    mean = sum(row["evaluation"]["score"] for row in linked) / 12
    linked_to = by_id[linked[0]["evaluation_result_id"]]
    assert mean == pytest.approx(linked_to["score_details"]["score"])


def test_an_intervention_is_named_wherever_a_number_stands(run, tmp_path):
    log, rows, entry = parts(bundle(run(SPEC), tmp_path / "b"))
    assert entry.notes.startswith(f"with intervention {SPEC}; ")
    assert log["model_info"]["name"] == f"org/toy with {SPEC}"
    assert log["model_info"]["additional_details"]["intervention"] == SPEC
    for one in log["evaluation_results"]:
        assert one["evaluation_name"].startswith("lmms_causal.intervened.")
        assert one["metric_config"]["metric_id"].startswith("lmms_causal.intervened.")
        assert SPEC in one["metric_config"]["evaluation_description"]
        assert one["generation_config"]["additional_details"]["intervention"] == SPEC
    for row in rows:
        assert row["evaluation_name"].startswith("lmms_causal.intervened.")
        assert row["metadata"]["intervention"] == SPEC
    assert SPEC in (tmp_path / "b" / "README.md").read_text()
    assert SPEC in (tmp_path / "b" / "rerun" / "run.sh").read_text()


def test_the_two_settings_never_land_in_one_place(run, tmp_path):
    plain, other = run("none", name="p"), run(SPEC, name="o")
    a, b = (bundle(one, tmp_path / f"b{one.name}") for one in (plain, other))
    (left, _, _), (right, _, _) = parts(a), parts(b)
    assert left["evaluation_id"] != right["evaluation_id"]
    names = [{one["evaluation_name"] for one in log["evaluation_results"]} for log in (left, right)]
    assert not names[0] & names[1]
    files = [{str(f.relative_to(x)) for f in x.rglob("*") if f.is_file()} for x in (a, b)]
    assert files[0] & files[1] == {"README.md", "rerun/manifest.json", "rerun/run.sh"}
    pushed = [
        re.search(r"details_repo_name=(\S+?),", (x / "README.md").read_text()) for x in (a, b)
    ]
    assert pushed[0] and pushed[1] and pushed[0][1] == "org__toy-plain-details"
    assert pushed[1][1].startswith("org__toy-intervened-")


def _no_notes(file: Path) -> None:
    file.write_text(re.sub(r"with intervention.*?; ", "", file.read_text()))


def _plain_name(file: Path) -> None:
    file.write_text(file.read_text().replace("lmms_causal.intervened.", ""))


def _other_score(file: Path) -> None:
    file.write_text(file.read_text().replace('"score": 1.0', '"score": 0.0', 1))


@pytest.mark.parametrize(
    ("pattern", "tamper", "complaint"),
    [
        (".eval_results/*.yaml", _no_notes, "the notes do not say"),
        ("data/**/*.json", _plain_name, "must be named so"),
        ("data/**/*_samples.jsonl", _other_score, "not the one that was written"),
    ],
)
def test_a_bundle_that_hides_something_is_refused(run, tmp_path, pattern, tamper, complaint):
    output = bundle(run(SPEC), tmp_path / "b")
    check_bundle(output, SPEC)
    with pytest.raises(UserError, match="another intervention"):
        check_bundle(output, "")
    (file,) = output.rglob(pattern)
    tamper(file)
    with pytest.raises(UserError, match=complaint):
        check_bundle(output, SPEC)


def _set(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        data["config"][key] = value

    return change


def _fewer(data: dict[str, Any]) -> None:
    data["n-samples"]["toy_order"] = {"original": 12, "effective": 11}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_set("limit", 4.0), "limit=4.0"),
        (_set("offset", 2), "offset=2"),
        (_fewer, "11 of 12 documents of toy_order"),
        (lambda data: data.update({"n-samples": {}}), "how many documents toy_"),
        (lambda data: data["n-samples"].pop("toy_filters"), "how many documents toy_filters has"),
        (lambda data: data["n-samples"].update(toy_order=12), "how many documents toy_order has"),
        (_set("model_backend", "lmms_causal.models.for_lmms_eval.Causal (chat)"), "which inter"),
        (_set("model_args", "pretrained=./folder,interventions=none"), "no model of the Hub"),
        (
            _set("model_args", "pretrained=lmms-causal/tiny-llava,interventions=none"),
            "bundled with this package",
        ),
        (_set("model_args", "pretrained=org/toy,interventions=vcd"), "different interventions"),
        (_set("lmms_causal_interventions", "re2(times=2)"), "different interventions"),
    ],
)
def test_what_is_no_result_of_a_model_is_refused(run, tmp_path, capsys, change, complaint):
    folder = run("none", change)
    output = tmp_path / "b"
    assert main(["submit", str(folder), "--output", str(output)]) == 2
    error = capsys.readouterr().err.strip()
    assert complaint in error and "\n" not in error
    assert not output.exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--hub-benchmark", "toy_order"], "write TASK"),
        (["--hub-benchmark", "toy_ordr=org/data:toy"], "toy_order"),
        (["--hub-benchmark", "toy_order:nope=org/data:toy"], "no such metric"),
        (["--hub-benchmark", BENCHMARK, "--hub-benchmark", BENCHMARK], "two numbers for"),
        (["--model-id", "toy"], "ORGANISATION/NAME"),
        (["--samples"], "--organization"),
        (["--source-url", "example.org"], "https://"),
        (["--hub-org", "us,public_repo=True"], "a name on the Hub"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(run, tmp_path, capsys, arguments, complaint):
    folder, output = run("none"), tmp_path / "b"
    assert main(["submit", str(folder), "--output", str(output), *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert complaint in error and "\n" not in error
    assert {one.name for one in tmp_path.iterdir()} == {"run"}


def test_a_folder_that_exists_is_not_touched(run, tmp_path, capsys):
    (tmp_path / "b").mkdir()
    assert main(["submit", str(run("none")), "--output", str(tmp_path / "b")]) == 2
    assert not list((tmp_path / "b").iterdir())


def test_other_ways_to_change_a_model_are_named_too(run, tmp_path):
    adapted = read_evidence(run("none", _set("model_args", "pretrained=org/toy,adapter=org/lora")))
    assert adapted.intervention == "adapter=org/lora"

    def steered(data: dict[str, Any]) -> None:
        data["config"] |= {"model": "steered", "model_args": "pretrained=org/toy,steer_path=s.pt"}

    assert read_evidence(run(None, steered, name="s")).intervention == "steer_path=s.pt"


def test_a_run_of_lm_eval(run, tmp_path):
    evidence = read_evidence(run(None, golden="lm_eval_seed1"))
    log, _ = record(evidence, Evaluator("Our group"), 0.0)
    assert log["eval_library"]["name"] == "lm_eval"
    assert log["eval_library"]["version"] == "0.4.13"
    assert evidence.command[:3] == ("lmms-causal", "lm-eval", "run")


def test_a_number_is_filed_under_no_other_model(run, tmp_path, monkeypatch):
    folder = run("none")
    with pytest.raises(UserError, match="--model-id meta/llama: the run is of pretrained=org/toy"):
        read_evidence(folder, "meta/llama")
    assert read_evidence(folder, "org/toy").model_id == "org/toy"
    local = _set("model_args", "pretrained=./toy,interventions=none")
    assert read_evidence(run("none", local, name="local"), "org/toy").model_id == "org/toy"
    bundled = _set("model_args", "pretrained=lmms-causal/tiny-llava,interventions=none")
    assert read_evidence(run("none", bundled, name="tiny"), "org/toy").model_id == "org/toy"
    (tmp_path / "org" / "toy").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)  # now it is a folder, though it looks like a name on the Hub
    assert read_evidence(folder, "meta/llama").model_id == "meta/llama"


def test_a_task_that_carries_out_a_method_is_no_plain_number(run, tmp_path):
    """With a plain model: RRD is what these tasks make of any model."""

    def carried_out(keep: tuple[str, ...]) -> Callable[[dict[str, Any]], None]:
        def change(data: dict[str, Any]) -> None:
            for key in ("results", "configs", "n-samples", "task_hashes", "higher_is_better"):
                kept = {name: data[key][name] for name in keep}
                data[key] = {"vcrbench_rrd": data[key]["toy_order"], **kept}
            data["groups"] = {}
            data["configs"]["vcrbench_rrd"]["output_type"] = "generate_until_agentic"

        return change

    folders = run("none", carried_out(())), run("none", carried_out(("toy_filters",)), name="two")
    for folder in folders:
        (samples,) = folder.glob("*_samples_toy_order.jsonl")
        samples.rename(samples.with_name(samples.name.replace("toy_order", "vcrbench_rrd")))
    with pytest.raises(UserError, match="vcrbench_rrd carries out a method"):
        read_evidence(folders[1])
    assert read_evidence(folders[0]).intervention == "rrd, carried out by task vcrbench_rrd"
    output = tmp_path / "b"
    bundle(folders[0], output, benchmarks=[read_benchmark("vcrbench_rrd=org/data:order")])
    (hub,) = output.rglob(".eval_results/*.yaml")
    assert "with intervention rrd" in hub.read_text()
    assert "its samples" in (output / "README.md").read_text(), "one reply is no conversation"
    assert not list(output.rglob("*_samples.jsonl"))


def test_a_control_without_pictures_is_no_number_of_the_benchmark(run, tmp_path, capsys):
    def blind(data: dict[str, Any]) -> None:
        data["groups"] = {"toy_blind": {"toy_exact,none": 0.5}}
        data["results"]["toy_blind"] = data["groups"]["toy_blind"]

    arguments = ["submit", str(run("none", blind)), "--output", str(tmp_path / "b")]
    assert main([*arguments, "--hub-benchmark", "toy_blind=org/data:toy"]) == 2
    assert "withholds the pictures" in capsys.readouterr().err


def test_a_group_has_its_number_on_the_hub(run, tmp_path):
    output = tmp_path / "b"
    bundle(run("none"), output, benchmarks=[read_benchmark("toy_group:toy_exact=org/data:all")])
    _, _, entry = parts(output)
    assert (entry.value, entry.task_id) == (0.5, "all")


def test_names_with_hyphens_and_dots_are_read():
    one = read_benchmark("wmt16-ro.en:f1-score,strict-match=org/data.set:a.b-c@v1.0")
    assert (one.task, one.metric, one.filter) == ("wmt16-ro.en", "f1-score", "strict-match")
    assert (one.dataset_id, one.task_id, one.revision) == ("org/data.set", "a.b-c", "v1.0")


def test_what_a_file_says_never_becomes_a_command(run, tmp_path):
    """A spec with a line break would leave the comment of the script."""
    evil = "vcd(alpha=1.0)\ntouch owned\n#`touch owned`$(touch owned)"

    def change(data: dict[str, Any]) -> None:
        arguments = f"pretrained=org/toy,system_prompt='$(touch owned)',interventions={evil}"
        data["config"] |= {"model": "causal", "model_args": arguments}
        data["config"]["resolved_cli_args"] |= {"model": "causal", "model_args": arguments}
        data["config"]["lmms_causal_interventions"] = evil

    output = bundle(run(None, change), tmp_path / "b")
    script = (output / "rerun" / "run.sh").read_text()
    assert script.splitlines()[1].startswith("# Model: ") and "touch" in script.splitlines()[1]
    harmless = "#!/bin/sh\nprintf '%s\\n' \"$@\"\n"
    (tmp_path / "lmms-eval").write_text(harmless)
    (tmp_path / "lmms-eval").chmod(0o755)
    done = subprocess.run(
        ["sh", str(output / "rerun" / "run.sh")],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--model_args" in done.stdout and not (tmp_path / "owned").exists()


def test_a_long_name_still_fits_the_hub(run, tmp_path):
    def long(data: dict[str, Any]) -> None:
        data["config"]["model_args"] = f"pretrained=org/{'m' * 90},interventions=vcd"

    output = bundle(run(SPEC, long), tmp_path / "b")
    names = re.findall(r"_repo_name=([^,\s]+)", (output / "README.md").read_text())
    assert len(names) == 2 and all(len(f"{name}-private") <= 96 for name in names)


def test_numbers_that_did_not_come_out_are_left_out_by_name(run, tmp_path):
    def undefined(data: dict[str, Any]) -> None:
        data["results"]["toy_order"]["toy_f1,none"] = float("nan")
        data["higher_is_better"]["toy_order"]["toy_f1"] = True

    output = bundle(run("none", undefined), tmp_path / "b")
    assert "toy_order: toy_f1,none (no finite number)" in (output / "README.md").read_text()
    with pytest.raises(UserError, match="no such metric"):
        bundle(
            tmp_path / "run",
            tmp_path / "c",
            benchmarks=[read_benchmark("toy_order:toy_f1=org/data:toy")],
        )


def test_an_error_rate_is_right_where_it_is_zero(run, tmp_path):
    def errors(data: dict[str, Any]) -> None:
        data["higher_is_better"]["toy_order"] = dict.fromkeys(
            data["higher_is_better"]["toy_order"], False
        )

    _, rows, _ = parts(bundle(run("none", errors), tmp_path / "b"))
    marks = {
        (row["evaluation"]["score"], row["evaluation"]["is_correct"])
        for row in rows
        if row["evaluation_name"] == "toy_order"
    }
    assert marks == {(0.0, True), (1.0, False)}


def test_the_engine_is_named_only_where_it_is_known(run):
    def served(data: dict[str, Any]) -> None:
        data["config"] |= {"model": "vllm", "model_args": "pretrained=org/toy"}

    engines = [
        record(read_evidence(one), Evaluator("Our group"), 0.0)[0]["model_info"].get(
            "inference_engine"
        )
        for one in (run("none"), run(None, served, name="v"), run(None, name="d"))
    ]
    assert engines == [{"name": "transformers"}, {"name": "vllm"}, None]


def test_the_manifest_has_the_hashes_and_the_script_the_command(run, tmp_path):
    folder = run(SPEC)
    output = bundle(folder, tmp_path / "b")
    manifest = json.loads((output / "rerun" / "manifest.json").read_text())
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert len(manifest["files"]) == 3
    script = output / "rerun" / "run.sh"
    assert subprocess.run(["sh", "-n", str(script)]).returncode == 0
    for word in ("--batch_size 4", "--force_simple", "--seed", "--output_path results"):
        assert word in script.read_text()


def test_the_same_run_gives_the_same_record(run, tmp_path):
    evidence = read_evidence(run(SPEC))
    path = record_path(evidence)
    assert path == record_path(evidence)
    assert re.fullmatch(
        r"data/lmms-causal/org/toy/[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
        path,
    )


def test_bounds_are_claimed_only_where_documents_prove_them(run):
    def change(data: dict[str, Any]) -> None:
        results = data["results"]["toy_order"]
        results["unproven,none"] = 0.5
        results["undirected,none"] = 0.5
        data["higher_is_better"]["toy_order"] |= {"unproven": True, "undirected": None}

    log, left_out = record(read_evidence(run("none", change)), Evaluator("Our group"), 0.0)
    by_id = {one["evaluation_result_id"]: one["metric_config"] for one in log["evaluation_results"]}
    unproven = by_id["toy_order/unproven"]
    assert (unproven["min_score"], unproven["max_score"]) == ("-Infinity", "Infinity")
    assert "toy_order/undirected" not in by_id
    assert [one for one in left_out if "undirected" in one]
    proven = [one for one in by_id.values() if one["max_score"] == 1]
    assert proven and all(one["metric_unit"] == "proportion" for one in proven)


def test_the_command_says_what_it_wrote(run, tmp_path, capsys):
    arguments = ["submit", str(run(SPEC)), "--output", str(tmp_path / "b")]
    arguments += ["--hub-benchmark", BENCHMARK, "--organization", "Our group", "--samples"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert SPEC in printed and ".eval_results/" in printed and "every_eval_ever/" in printed
    # which number was taken is said, as the command named none
    assert re.search(r"org/data:toy 0\.5 \(with intervention .*metric toy_score, 12 doc", printed)
    check_bundle(tmp_path / "b", SPEC)
