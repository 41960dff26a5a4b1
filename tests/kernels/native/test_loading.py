"""Finding, compiling and loading the kernels, and doing without them."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from lmms_causal.errors import UserError
from lmms_causal.kernels.attention import attention, explain
from lmms_causal.kernels.native import build as building
from lmms_causal.kernels.native import loading as loading
from lmms_causal.kernels.native.build import CannotCompile

Q = torch.randn(1, 2, 70, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def afresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """As in a process that has looked for no library yet, with an empty cache; its folder."""
    monkeypatch.setattr(loading, "_found", cache(loading._found.__wrapped__))
    monkeypatch.setattr(loading, "_PACKAGED", tmp_path / "packaged")
    monkeypatch.setenv("LMMS_CAUSAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LMMS_CAUSAL_NATIVE", raising=False)
    return loading._cache()


def _torch_alone(reason: str, warned: bool) -> None:
    """Attention is right without the kernels, says why once at most, and names the reason."""
    want = scaled_dot_product_attention(Q, Q, Q, is_causal=True)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(2):
            torch.testing.assert_close(attention(Q, Q, Q), want)
    said = [str(it.message) for it in said if "compiled attention kernels" in str(it.message)]
    assert len(said) == warned
    assert all(reason in it and "runs through torch" in it for it in said)
    assert reason in explain(Q, Q, Q).passed["cpu"]
    with pytest.raises(UserError, match=r"backend=cpu: .*auto"):
        attention(Q, Q, Q, backend="cpu")


def test_without_a_compiler(afresh, monkeypatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    _torch_alone("CXX=no-such-compiler -O2 is not a command; set CXX", warned=True)
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CannotCompile, match="no C\\+\\+ compiler was found; set CXX"):
        building.build(afresh / "x.so", 0)


@pytest.mark.parametrize("value", ["0", "off"])
def test_switched_off(afresh, monkeypatch, value: str) -> None:
    monkeypatch.setenv("LMMS_CAUSAL_NATIVE", value)
    _torch_alone("switched off by LMMS_CAUSAL_NATIVE", warned=False)
    assert not afresh.exists()


def test_a_compiler_that_fails_is_quoted(afresh, monkeypatch, tmp_path: Path) -> None:
    script = tmp_path / "c++"
    script.write_text("#!/bin/sh\necho 'note: hm' >&2\necho 'x.h:3: error: no luck' >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    _torch_alone(f"{script} failed: x.h:3: error: no luck", warned=True)
    assert not list(afresh.glob("**/*.so")), "nothing is left behind"
    assert not list(afresh.glob(".build-*"))


def test_a_cache_that_cannot_be_written(afresh, monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LMMS_CAUSAL_CACHE", str(tmp_path / "file"))
    _torch_alone("file", warned=True)


def test_without_a_home(afresh, monkeypatch) -> None:
    def refuse(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("LMMS_CAUSAL_CACHE")
    monkeypatch.setattr(Path, "expanduser", refuse)
    _torch_alone("set LMMS_CAUSAL_CACHE", warned=True)


def test_on_a_processor_of_the_other_byte_order(afresh, monkeypatch) -> None:
    monkeypatch.setattr(sys, "byteorder", "big")
    _torch_alone("little-endian", warned=True)


def test_a_lower_level_where_the_compiler_knows_no_higher(afresh, monkeypatch) -> None:
    tried = []

    def loaded(level: int, threads: bool) -> str:
        tried.append((level, threads))
        if level > 1 or threads:
            raise CannotCompile("unrecognized command-line option")
        return "a library"

    monkeypatch.setattr(loading, "_level", lambda: 3)
    monkeypatch.setattr(loading, "_openmp", lambda: True)
    monkeypatch.setattr(loading, "_loaded", loaded)
    assert loading._found() == ("a library", None)
    ways = [(level, threads) for level in (3, 2, 1) for threads in (True, False)]
    assert tried == ways


def _made_of(path: Path, function: str) -> None:
    """A library of one function."""
    source = path.with_suffix(".cpp")
    source.write_text(f'#include "abi.h"\nEXPORT int {function}() {{ return 1; }}\n')
    building._made(path, {source: [*building._FLAGS, f"-I{building._FOLDER}"]}, ())


@pytest.mark.parametrize("wrong", ["garbage", "empty", "another ABI", "no ABI"])
@pytest.mark.parametrize("where", ["cache", "package"])
def test_a_library_that_does_not_fit_is_made_anew(
    own, afresh, monkeypatch, tmp_path: Path, wrong: str, where: str
) -> None:
    folder = afresh if where == "cache" else tmp_path / "packaged"
    folder.mkdir(parents=True)
    file = folder / building.name(own.level, own.threads)
    shutil.copy(own.path.with_name(building.PROBE), folder / building.PROBE)
    if wrong == "another ABI":
        _made_of(file, "lc_abi")
    elif wrong == "no ABI":
        _made_of(file, "other")
    else:
        file.write_bytes(b"not a library" * 1000 if wrong == "garbage" else b"")
    with pytest.raises(OSError):
        loading.Library(file, own.level, own.threads)
    made = []

    def copy(path: Path, level: int, threads: bool) -> None:
        made.append((level, threads))
        shutil.copy(own.path, path.with_suffix(".new"))
        os.replace(path.with_suffix(".new"), path)

    monkeypatch.setattr(loading, "build", copy)
    found = loading.library()
    assert found is not None
    assert made == [(own.level, own.threads)]
    assert found.path == afresh / file.name
    assert found.path.read_bytes() == own.path.read_bytes()
    assert found.peak(0) > 1e6


def test_a_packaged_library_comes_first(own, afresh, monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "packaged").mkdir()
    for file in (building.PROBE, own.path.name):
        shutil.copy(own.path.with_name(file), tmp_path / "packaged" / file)
    monkeypatch.setenv("CXX", "no-such-compiler")
    found = loading.library()
    assert found is not None
    assert found.path.parent == tmp_path / "packaged"
    assert not afresh.exists()


def test_sources_make_the_folder(monkeypatch, tmp_path: Path) -> None:
    before = building.sources_digest()
    assert building.sources_digest() == before
    shutil.copytree(building._FOLDER, tmp_path / "native")
    with (tmp_path / "native" / "softmax.h").open("a") as file:
        file.write("\n")
    monkeypatch.setattr(building, "_FOLDER", tmp_path / "native")
    assert building.sources_digest() != before


def test_a_library_shows_its_functions_alone(own) -> None:
    loaded = ctypes.CDLL(str(own.path))
    for function in ("lc_prefill", "lc_decode", "lc_abi", "lc_level", "lc_peak"):
        assert hasattr(loaded, function)
    assert loaded.lc_level() >= own.level
    if shutil.which("nm"):
        listed = subprocess.run(
            ["nm", "-D", "--defined-only", str(own.path)], capture_output=True, text=True
        ).stdout
        names = {line.split()[-1] for line in listed.splitlines()}
        assert {it for it in names if not it.startswith("_")} == {
            *("lc_prefill", "lc_decode", "lc_abi", "lc_level", "lc_peak")
        }


_PROCESS = """
import torch
from torch.nn.functional import scaled_dot_product_attention
from lmms_causal.kernels.attention import attention
from lmms_causal.kernels.native.loading import library
q = torch.randn(1, 2, 200, 32)
out = attention(q, q, q, backend="cpu")
torch.testing.assert_close(out, scaled_dot_product_attention(q, q, q, is_causal=True))
print(library().path)
"""


@pytest.mark.slow
def test_four_processes_at_once_compile_once(own, tmp_path: Path) -> None:
    compiler: Callable[[], list[str] | None] = building.compiler
    command = compiler()
    assert command is not None
    script, log = tmp_path / "c++", tmp_path / "log"
    script.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec {" ".join(command)} "$@"\n')
    script.chmod(0o755)
    cache_folder = tmp_path / "cache"
    env = os.environ | {"CXX": str(script), "LMMS_CAUSAL_CACHE": str(cache_folder)}
    running = [
        subprocess.Popen(
            [sys.executable, "-W", "error:the compiled", "-c", _PROCESS],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    answers = [one.communicate() for one in running]
    assert [one.returncode for one in running] == [0] * 4, answers
    (file,) = {Path(out.strip()) for out, _ in answers}
    assert file.name == own.path.name
    assert sum("-shared" in line for line in log.read_text().splitlines()) == 2
    made = {it.name for it in file.parent.iterdir() if it.suffix != ".lock"}
    assert made == {file.name, building.PROBE}
