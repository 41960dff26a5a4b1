"""What setuptools does more for this package: a wheel carries the compiled kernels.

``setup.cfg`` names these classes. Where the kernels cannot be compiled, or ``LMMS_CAUSAL_NATIVE=0``
says that they shall not be, the wheel is one for any platform and they are compiled on first use.
An editable installation compiles on first use too.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

__all__ = ["BuildPy", "BuildWheel", "compile_all"]

_PLACE = ("lmms_causal", "kernels", "native", "lib")

# by its place, because the package itself is not installed when this runs
_spec = importlib.util.spec_from_file_location(
    "lmms_causal_native_build", Path(__file__).with_name("build.py")
)
assert _spec is not None and _spec.loader is not None
_build = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_build)


def compile_all(folder: Path) -> list[Path]:
    """Compile the libraries of all levels of this platform into an empty folder.

    Those with threads are left out where the compiler has no OpenMP, and higher levels where it
    does not know their instructions. Without those of level 0 there are none.

    Returns:
        Their files.

    Raises:
        build.CannotCompile: why there are none.
    """
    shutil.rmtree(folder, ignore_errors=True)
    _build.build_probe(folder / _build.PROBE)
    _build.build(folder / _build.name(0, threads=False), 0, threads=False)
    for level in _build.levels_here():
        for threads in (True, False):
            path = folder / _build.name(level, threads)
            if path.exists():
                continue
            try:
                _build.build(path, level, threads)
            except _build.CannotCompile as error:
                print(f"left out of the wheel: {path.name}: {error}")
    return sorted(folder.iterdir())


class BuildPy(build_py):
    """``build_py`` that also compiles the kernels into what is built."""

    compiled: tuple[Path, ...] = ()

    def run(self) -> None:
        """Build, and compile unless the installation is an editable one."""
        super().run()
        if self.editable_mode:
            return
        folder = Path(self.build_lib, *_PLACE)
        try:
            if os.environ.get("LMMS_CAUSAL_NATIVE", "1").lower() in _build.OFF:
                raise _build.CannotCompile("switched off by LMMS_CAUSAL_NATIVE")
            self.compiled = tuple(compile_all(folder))
        except _build.CannotCompile as error:
            shutil.rmtree(folder, ignore_errors=True)  # of a build before this one
            print(f"the attention kernels are compiled on first use, not now: {error}")

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """The files that were built."""
        return [*super().get_outputs(include_bytecode), *map(str, self.compiled)]


class BuildWheel(bdist_wheel):
    """``bdist_wheel`` that names the platform if there are compiled kernels, and never a Python."""

    def run(self) -> None:
        """Build first, because the result decides what the wheel is called."""
        self.run_command("build")
        if getattr(self.get_finalized_command("build_py"), "compiled", ()):
            self.root_is_pure = False
            self.distribution.has_ext_modules = lambda: True  # installed where libraries belong
        super().run()

    def get_tag(self) -> tuple[str, str, str]:
        """``py3-none-PLATFORM``: the libraries call neither Python nor torch."""
        tag = super().get_tag()
        return tag if self.root_is_pure else ("py3", "none", tag[2])
