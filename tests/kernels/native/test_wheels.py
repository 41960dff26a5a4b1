"""What a wheel is called and holds, with a compiler and without. Nothing is compiled here."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from setuptools import Distribution

from lmms_causal.kernels.native import build as building

pytestmark = pytest.mark.filterwarnings("ignore:setup.py install is deprecated")
LIB = "lmms_causal/kernels/native/lib/"


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The commands, loaded by their place as setuptools does, with a compiler that writes names."""
    path = Path(building.__file__).with_name("commands.py")
    spec = importlib.util.spec_from_file_location("native_commands", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def write(target: Path, *_: object) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(target.name)

    def build(target: Path, level: int, threads: bool = True) -> None:
        if level == 2:
            raise module._build.CannotCompile("unrecognized command-line option")
        write(target)

    monkeypatch.setattr(module._build, "levels_here", lambda: range(4))
    monkeypatch.setattr(module._build, "build_probe", write)
    monkeypatch.setattr(module._build, "build", build)
    monkeypatch.delenv("LMMS_CAUSAL_NATIVE", raising=False)
    return module


def _wheel(commands: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch) -> zipfile.ZipFile:
    """Build a wheel of a small project in a folder, which keeps what earlier builds left."""
    (folder / "p").mkdir(parents=True, exist_ok=True)
    (folder / "p" / "__init__.py").write_text("")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["setup.py"])
    project = Distribution(
        {
            "name": "small",
            "version": "1",
            "script_name": "setup.py",
            "packages": ["p"],
            "cmdclass": {"build_py": commands.BuildPy, "bdist_wheel": commands.BuildWheel},
        }
    )
    command = project.get_command_obj("bdist_wheel")
    command.dist_dir = str(folder / "dist")
    command.bdist_dir = tempfile.mkdtemp(dir=folder)  # distutils believes that old ones are there
    project.run_command("bdist_wheel")
    (wheel,) = (folder / "dist").iterdir()
    opened = zipfile.ZipFile(wheel.rename(folder / wheel.name))
    assert (
        f"Tag: {wheel.stem.removeprefix('small-1-')}"
        in opened.read("small-1.dist-info/WHEEL").decode()
    )
    return opened


def test_a_wheel_with_a_compiler_is_for_the_platform_and_any_python(
    commands, tmp_path: Path, monkeypatch
) -> None:
    wheel = _wheel(commands, tmp_path, monkeypatch)
    tag = Path(str(wheel.filename)).stem.split("-", 2)[2]
    assert tag.startswith("py3-none-")
    assert tag != "py3-none-any"
    assert b"Root-Is-Purelib: false" in wheel.read("small-1.dist-info/WHEEL")
    libraries = {it.removeprefix(LIB) for it in wheel.namelist() if it.startswith(LIB)}
    known = [building.name(level, threads) for level in (0, 1, 3) for threads in (True, False)]
    assert libraries == {*known, building.PROBE}


def test_a_wheel_without_is_for_any_and_keeps_nothing_of_an_earlier_build(
    commands, tmp_path: Path, monkeypatch
) -> None:
    _wheel(commands, tmp_path, monkeypatch)
    monkeypatch.setenv("LMMS_CAUSAL_NATIVE", "0")
    off = _wheel(commands, tmp_path, monkeypatch)
    monkeypatch.delenv("LMMS_CAUSAL_NATIVE")
    monkeypatch.setattr(commands._build, "build_probe", building.build_probe)
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(commands._build, "CannotCompile", building.CannotCompile)
    none = _wheel(commands, tmp_path, monkeypatch)
    for wheel in (off, none):
        assert str(wheel.filename).endswith("py3-none-any.whl")
        assert not [it for it in wheel.namelist() if it.startswith(LIB)]


def test_an_editable_installation_compiles_nothing(commands, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(commands, "compile_all", lambda folder: pytest.fail("compiled"))
    project = Distribution({"name": "small", "packages": []})
    command = commands.BuildPy(project)
    command.build_lib = str(tmp_path)
    command.ensure_finalized()
    command.editable_mode = True
    command.run()
    assert not command.get_outputs()
