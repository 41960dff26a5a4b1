"""The table of documents: what it says of each, its pictures, and attention laid over them."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lmms_causal.compare import Comparison, Options, compare, read_run
from lmms_causal.compare.command import run_command
from lmms_causal.errors import UserError
from lmms_causal.report.attention import overlay, place_overlays
from lmms_causal.report.documents import collect, to_data
from lmms_causal.report.names import name_runs
from lmms_causal.report.page import Material, render
from lmms_causal.report.pictures import Album, from_folder, illustrate
from lmms_causal.tasks.causal_vqa_mini import documents as mini

GOLDEN = Path(__file__).parent.parent / "compare" / "data"


def _decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_each_document_has_every_run_s_answer_and_score(comparisons: list[Comparison]) -> None:
    runs = name_runs(comparisons)
    data, left_out = to_data(collect(comparisons, runs), runs, 10**6)
    assert left_out == 0 and len(data["documents"]) == 40
    by_id = {row[1]: row for row in data["documents"]}
    # The reference is right on the first 20; B1 is wrong on the first two and right up to 31.
    assert [by_id[f"doc-{i}"][5] for i in (0, 5, 25, 39)] == [["101"], ["111"], ["010"], ["000"]]
    answers = [data["texts"][index] for index in by_id["doc-25"][4]]
    assert answers == ["no", "yes", "no"]
    (task,) = data["tasks"]
    assert task["fields"] == [{"name": "kind", "values": ["even", "odd"]}]
    assert [data["texts"][index] for index in by_id["doc-1"][6]] == ["even"]


def test_documents_of_one_run_only_stay_and_the_other_has_a_dash(make_run: Any) -> None:
    a = make_run("a", {"acc": [1.0, 0.0, 1.0]})
    b = make_run("b", {"acc": [0.0, 0.0]}, interventions="vcd")
    runs = compare(a, [b], Options(intersect=True))
    data, _ = to_data(collect(runs, name_runs(runs)), name_runs(runs), 10**6)
    assert [row[5] for row in data["documents"]] == [["10"], ["00"], ["1-"]]
    assert [row[4][1] for row in data["documents"]][2] == -1


def test_scores_that_are_not_0_or_1_are_kept_as_numbers(make_run: Any) -> None:
    a = make_run("a", {"f1": [0.25, 1.0, 0.5]})
    b = make_run("b", {"f1": [0.123456789, 1.0, 0.0]}, interventions="vcd")
    runs = compare(a, [b], Options())
    data, _ = to_data(collect(runs, name_runs(runs)), name_runs(runs), 10**6)
    assert [row[5][0] for row in data["documents"]] == [[0.25, 0.12346], "11", [0.5, 0.0]]
    assert not data["tasks"][0]["metrics"][0]["binary"]


def test_a_picture_is_stored_once_and_documents_that_flipped_come_first(
    comparisons: list[Comparison],
) -> None:
    table = collect(comparisons, name_runs(comparisons))
    noise = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)
    source = lambda sample: [Image.fromarray(noise[sample.doc_id % 20])]  # noqa: E731
    album = Album(10**7)
    assert illustrate(table.documents, album, source) == (40, 40)
    assert len(album.uris) == 20
    assert np.array_equal(
        np.asarray(_decoded(album.uris[table.documents[3].pictures[0]])), noise[3]
    )
    size = album.size // 20
    small = Album(8 * size + size // 2)
    for document in table.documents:
        document.pictures = []
    shown, having = illustrate(table.documents, small, source)
    assert small.size <= small.budget and shown < having
    assert {d.sample.doc_id for d in table.documents if d.pictures} <= {
        d.sample.doc_id for d in table.documents if d.flipped
    }


def test_large_pictures_become_thumbnails() -> None:
    album = Album(10**6)
    ramp = np.linspace(0, 255, 1200 * 800).reshape(800, 1200).astype(np.uint8)
    assert album.add(Image.fromarray(ramp)) == 0
    assert _decoded(album.uris[0]).size == (320, 213)
    assert len(album.uris[0]) < 20_000


def test_pictures_are_found_by_id_and_by_recorded_name(make_run: Any, tmp_path: Path) -> None:
    for name, colour in (("doc-0.png", "red"), ("b.jpg", "blue")):
        Image.new("RGB", (8, 8), colour).save(tmp_path / name)
    run = make_run("a", {"acc": [1.0, 0.0]}, attributes={"image": ["x", "some/where/b.jpg"]})
    source = from_folder(tmp_path)
    first, second = run.tasks["toy"].samples["none"]
    assert source(first)[0].getpixel((0, 0)) == (255, 0, 0)
    assert source(second)[0].getpixel((0, 0))[2] > 200
    with pytest.raises(UserError, match=r"--images .*no such folder"):
        from_folder(tmp_path / "nowhere")


def test_the_installed_task_gives_pictures_and_questions(make_run: Any) -> None:
    """Samples of lmms-eval's chat models hold neither."""
    documents = mini.build("presence")[:6]
    runs = [
        make_run(name, {"acc": scores}, task="causal_vqa_mini_presence", interventions=spec,
                 ids=[d["id"] for d in documents], questions=[""] * 6)
        for name, spec, scores in (("a", "", [1.0, 0.0] * 3), ("b", "vcd", [1.0] * 6))
    ]  # fmt: skip
    page = render(compare(runs[0], runs[1:], Options()))
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    pictures = json.loads(page.split('id="pictures">')[1].split("</script>")[0])
    for document, row in zip(documents, data["documents"], strict=True):
        assert data["texts"][row[2]] == document["text"]
        shown = np.asarray(_decoded(pictures[row[7][0]]))
        assert np.array_equal(shown, np.asarray(mini.picture(document)))


def _attend_folder(folder: Path, spec: str, maps: dict[str, np.ndarray]) -> Path:
    (folder / "arrays").mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps({"model": "org/toy", "interventions": spec}))
    lines = []
    for name, weights in maps.items():
        np.savez(folder / "arrays" / f"{name}.npz", heat=weights)
        lines.append(json.dumps({"trace_id": name, "heat": {"grid": [2, 3], "cropped": True}}))
    (folder / "traces.jsonl").write_text("\n".join(lines))
    return folder


def test_attention_lies_over_the_document_and_run_it_is_of(
    comparisons: list[Comparison], tmp_path: Path
) -> None:
    weights = np.zeros((4, 2, 3))  # [L, h, w]
    weights[:, 1, 2] = 0.5
    folder = _attend_folder(tmp_path / "vcd", "vcd(alpha=1.0;beta=0.1)", {"doc-3": weights})
    runs = name_runs(comparisons)
    table = collect(comparisons, runs)
    album = Album(10**6)
    assert place_overlays([folder], table, runs, album) == []
    (found,) = [document for document in table.documents if document.heat]
    assert found.sample.key == "doc-3" and list(found.heat) == [1]
    index, cropped, said = found.heat[1]
    assert cropped and "row 2 of 2, column 3 of 3" in said
    pixels = np.asarray(_decoded(album.uris[index]))
    assert pixels.shape == (2, 3, 4)
    brightness = pixels[..., :3].sum(-1)
    assert brightness.argmax() == 5 and pixels[1, 2, 3] == 255 and pixels[0, 0, 3] < 100
    other = _attend_folder(tmp_path / "other", "pai(alpha=1.0)", {"doc-3": weights})
    with pytest.raises(UserError, match="none of the runs compared"):
        place_overlays([other], table, runs, album)
    strange = _attend_folder(tmp_path / "strange", "none", {"elsewhere": weights})
    with pytest.raises(UserError, match="no map of a document compared"):
        place_overlays([strange], table, runs, album)


def test_a_folder_of_maps_that_is_cut_off_is_one_line(
    comparisons: list[Comparison], tmp_path: Path
) -> None:
    runs = name_runs(comparisons)
    for name, damage in (
        ("traces.jsonl", b'{"trace_id": "doc-3", "he'),
        ("arrays/doc-3.npz", b"PK\x03\x04"),
    ):
        folder = _attend_folder(
            tmp_path / name.replace("/", "_"),
            "vcd(alpha=1.0;beta=0.1)",
            {"doc-3": np.ones((1, 2, 3))},
        )
        (folder / name).write_bytes(damage)
        with pytest.raises(UserError, match="cannot be read"):
            place_overlays([folder], collect(comparisons, runs), runs, Album(10**6))


def test_more_attention_is_brighter_and_hides_more() -> None:
    pixels = np.asarray(overlay(np.arange(24.0).reshape(4, 6))).reshape(24, 4).astype(int)
    luminance = pixels[:, :3] @ np.array([0.2126, 0.7152, 0.0722])
    assert np.all(np.diff(luminance) > 0) and np.all(np.diff(pixels[:, 3]) > 0)


def test_the_command_writes_page_and_plots(tmp_path: Path, capsys: Any) -> None:
    runs = [str(GOLDEN / "lmms_eval_a"), str(GOLDEN / "lmms_eval_b")]
    page, plots = tmp_path / "report.html", tmp_path / "plots"
    assert run_command([*runs, "--tasks", "toy_order", "--report", str(page),
                        "--figures", str(plots)]) == 0  # fmt: skip
    text = page.read_text()
    assert "spill-cw" in text and "Which is right?" in text
    assert text == render(
        compare(read_run(runs[0]), [read_run(runs[1])], Options(tasks=("toy_order",))), Material()
    )
    assert {file.suffix for file in plots.iterdir()} == {".png", ".svg"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", "x"], "add --report"),
        (["--report", "no/such/folder/x.html"], "name a file in a folder that exists"),
        (["--report", "x.html", "--attention", "."], "holds no summary.json"),
        (["--report", "x.html", "--images", "nowhere"], "no such folder"),
    ],
)
def test_mistakes_are_one_line_before_any_run_is_read(
    words: list[str], message: str, capsys: Any
) -> None:
    assert run_command(["no-run", "nor-this", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
