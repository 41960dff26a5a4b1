"""What is built is what is in the checkout: modules, task files, prompts, the bundled model."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PURE = os.environ | {"LMMS_CAUSAL_NATIVE": "0"}  # kernels in wheels: tests/kernels/native
FOLDERS = {
    "lmms_causal": "lmms_causal",
    "tasks": "lmms_causal.tasks",
    "interventions": "lmms_causal.interventions",
    "kernels": "lmms_causal.kernels",
}


def tracked(*patterns: str) -> set[Path]:
    """Files of the checkout that match, as git sees them."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    return {Path(name) for name in listed if (ROOT / name).is_file()}


def test_every_folder_with_an_init_file_is_a_declared_package() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    declared = set(config["options"]["packages"].split())
    found = {
        ".".join([FOLDERS[init.parts[0]], *init.parts[1:-1]])
        for init in tracked("*__init__.py")
        if init.parts[0] in FOLDERS
    }
    assert declared == found


def test_no_file_names_a_machine_path() -> None:
    needles = ("/" + "work/", "/" + "root/", "file://" + "/")
    for name in tracked("*.py", "*.md", "*.yaml", "*.cfg", "*.toml", "*.json*", "Makefile", ".ci/"):
        text = (ROOT / name).read_text()
        assert not any(needle in text for needle in needles), name


@pytest.mark.slow
def test_wheel_and_sdist_carry_every_module_and_data_file(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
        env=PURE,
    )
    (wheel,) = tmp_path.glob("*.whl")
    (sdist,) = tmp_path.glob("*.tar.gz")
    in_wheel = set(zipfile.ZipFile(wheel).namelist())
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    data = ("*.py", "*.yaml", "*.j2", "*.jsonl", "*README.md", "*checkpoint/*", "*.cpp", "*.h")
    for path in tracked(*data):
        if path.parts[0] not in FOLDERS:
            continue
        installed = Path(FOLDERS[path.parts[0]].replace(".", "/"), *path.parts[1:])
        assert str(installed) in in_wheel, path
        assert str(path) in in_sdist, path


@pytest.mark.slow
def test_the_wheel_alone_offers_tasks_models_and_the_bundled_checkpoint(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip"]
    target = tmp_path / "site"
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
        env=PURE,
    )
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run(
        [*pip, "install", "--no-deps", "-q", "--target", str(target), str(wheel)],
        check=True,
        capture_output=True,
    )
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import lmms_causal, lmms_causal.tasks as t, lmms_causal.tiny_llava as tiny\n"
        "assert lmms_causal.__file__.startswith(sys.argv[1]), lmms_causal.__file__\n"
        "for harness in t.HARNESSES:\n"
        "    assert len(list(t.roots(harness).rglob('*.yaml'))) > 20, harness\n"
        "assert (tiny.path() / 'model.safetensors').stat().st_size > 10**6\n"
        "from lmms_causal.plugin import manifests\n"
        "assert manifests()[0].model_id == 'causal'\n"
        "from lmms_causal.interventions.registry import names\n"
        "assert 'vcd' in names()\n"
    )
    # -S would hide the harnesses; the editable install's finder is shadowed by the path instead
    subprocess.run(
        [sys.executable, "-c", code, str(target)], check=True, capture_output=True, cwd=tmp_path
    )
