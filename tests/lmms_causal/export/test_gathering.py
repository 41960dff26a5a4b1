"""Modules merged into one against the modules themselves: names that clash, hide, come late."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

import lmms_causal.tasks
from lmms_causal.errors import UserError
from lmms_causal.export.edits import rename_in_f_string
from lmms_causal.export.gathering import gather, root_of
from lmms_causal.export.modules import read
from lmms_causal.export.names import name_all
from lmms_causal.export.paths import files_read
from lmms_causal.export.rendering import render

#: Two modules and a shared one, with every way of naming something that we know of.
SHARED = '''
"""What both use."""
from __future__ import annotations
import functools
import urllib.error
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Doc = Mapping[str, Any]

LIMIT = 3
"""How many."""

_calls = 0


@dataclass(frozen=True)
class Item:
    """A record with a field of its own kind."""

    name: str
    inner: list[Item] = field(default_factory=list)

    def wrapped(self, other: Item | None = None) -> Item:
        return Item(f"<{self.name}>", [self, *([other] if other else [])])


def values(items: list[Item]) -> list[str]:
    """Names, with an element of each inner item, é."""
    return [item.name for item in items] + [i.name for item in items for i in item.inner]


def count() -> int:
    global _calls
    _calls += 1
    return _calls


def failed(error: Exception) -> bool:
    return isinstance(error, (urllib.error.URLError, ValueError)) and bool(urllib.parse.quote("a"))


def unused() -> None:
    from lmms_causal.interventions import spec
    return spec


@functools.cache
def later() -> Late:
    return Late()


class Late:
    limit = LIMIT
'''
FIRST = '''
from __future__ import annotations
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from lmms_causal.tasks import {shared}
from lmms_causal.tasks.{shared} import Item as Thing, count
if TYPE_CHECKING:
    import datasets

Doc = Mapping[str, Any]
LIMIT = 5
_names = ["first"]
_names.append("again")


def values(doc: Doc, open: int = LIMIT) -> dict[str, Any]:
    """Clashes with ``values`` of the shared module, which it calls under an f-string."""
    LIMITED = {shared}.LIMIT
    items = [Thing(name) for name in _names]
    text = f"{{LIMIT}} {{{shared}.LIMIT:>{{LIMIT}}}} {{open}} {{{{LIMIT}}}}"
    text += f"{{values.__name__[-3:]}}"
    text += f"{{', '.join({shared}.values(items))}}" "LIMIT"
    return {{"text": text, "limit": LIMITED, "count": count(), "doc": dict(doc)}}


def hides(count_: int) -> Any:
    """A local has the name that the shared function would get."""
    values = {shared}.values([Thing("x")])
    return values, (lambda LIMIT: LIMIT + {shared}.LIMIT)(1), [LIMIT for LIMIT in range(2)]


def lazy(rows: datasets.Dataset | None = None) -> str:
    from lmms_causal.tasks.{shared} import later, Late
    return f"{{type(later()).__name__}} {{Late.limit}} {{LIMIT}}"


def compare(a: Thing) -> bool:
    return a.wrapped(a) == Thing(f"<{{a.name}}>", [a, a]) and {shared}.failed(ValueError())
'''
SECOND = """
from lmms_causal.tasks.{first} import LIMIT, values as first_values
import statistics as stats
from statistics import mean

def values(doc, compare=None):
    if doc or not doc:
        from lmms_causal.tasks.{shared} import LIMIT
    return first_values(doc), stats.mean([LIMIT, 1]), mean([1, 2]), count(2)

def count(number):
    return number if number < 1 else count(number - 1)
"""
PROBE = """
doc = {"id": 1}
result = [
    first_values(doc), second_values(doc), hides(1), lazy(), compare(Item("q", [])),
    second_values({}), first_values(doc)["count"],
]
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], str]]:
    """``module(name, source)``: a module beside those of the tasks; its dotted name."""
    path = [*lmms_causal.tasks.__path__, str(tmp_path)]
    monkeypatch.setattr(lmms_causal.tasks, "__path__", path)
    made = []

    def make(name: str, source: str) -> str:
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source), encoding="utf-8")
        importlib.invalidate_caches()
        made.append(f"lmms_causal.tasks.{name}")
        return made[-1]

    yield make
    for name in made:
        sys.modules.pop(name, None)
    read.cache_clear()


def merged(functions: list[str], folder: Path) -> tuple[str, ModuleType, dict[str, str]]:
    """The source of the one module, the module as a harness runs it, and the new names."""
    gathered = gather(functions)
    names = name_all(gathered)
    source = render(gathered, names, "A test.")
    path = folder / "utils.py"
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("utils_of_a_test", path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return source, made, {function: names.of[root_of(function)] for function in functions}


def test_merged_modules_do_what_the_modules_do(
    module: Callable[[str, str], str], tmp_path: Path
) -> None:
    shared = module("shared_of_a_test", SHARED)
    first = module("first_of_a_test", FIRST.format(shared="shared_of_a_test"))
    second = module(
        "second_of_a_test", SECOND.format(first="first_of_a_test", shared="shared_of_a_test")
    )
    wanted = {
        "second_values": f"{second}.values",
        "first_values": f"{first}.values",
        "hides": f"{first}.hides",
        "lazy": f"{first}.lazy",
        "compare": f"{first}.compare",
        "Item": f"{shared}.Item",
    }
    source, made, names = merged(list(wanted.values()), tmp_path)
    ours = {
        alias: getattr(importlib.import_module(dotted.rpartition(".")[0]), dotted.split(".")[-1])
        for alias, dotted in wanted.items()
    }
    theirs = {alias: getattr(made, names[dotted]) for alias, dotted in wanted.items()}
    exec(PROBE, ours)
    exec(PROBE, theirs)
    assert repr(theirs["result"]) == repr(ours["result"])
    assert "unused" not in source and "lmms_causal" not in ast.unparse(ast.parse(source))
    assert source.count("Doc = Mapping") == 1 and '"""How many."""' in source
    assert "_names.append" in source and source.count("import urllib.error\n") == 1


def test_a_local_of_the_new_name_makes_the_global_take_another(
    module: Callable[[str, str], str], tmp_path: Path
) -> None:
    module("lender", "def total(x):\n    return 10 * x\n")
    borrower = module(
        "borrower",
        "from lmms_causal.tasks import lender\n"
        "def use(total):\n    return lender.total(total) + total\n",
    )
    source, made, names = merged([f"{borrower}.use"], tmp_path)
    assert "lender_total(total) + total" in source
    assert getattr(made, names[f"{borrower}.use"])(2) == 22


def test_a_global_called_like_a_builtin_does_not_hide_it_from_other_modules(
    module: Callable[[str, str], str], tmp_path: Path
) -> None:
    module("shy", "def sum(x):\n    return 'ours'\n")
    bold = module(
        "bold",
        "from lmms_causal.tasks import shy\ndef both(x):\n    return sum(x), shy.sum(x)\n",
    )
    _, made, names = merged([f"{bold}.both"], tmp_path)
    assert getattr(made, names[f"{bold}.both"])([1, 2]) == (3, "ours")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("from lmms_causal.interventions import spec\ndef f():\n    return spec.parse", "upstream"),
        ("from lmms_causal.tasks import options\ndef f():\n    return options", "as an object"),
        ("from lmms_causal.tasks.options import nothing\ndef f():\n    return nothing", "has no"),
        ("import lmms_causal.errors\ndef f():\n    return 1", "as a whole"),
        ("from json import *\ndef f():\n    return 1", "star"),
        ("def g():\n    return 1", "has no f"),
        (
            "import importlib\ndef f():\n    return importlib.import_module('lmms_causal.errors')",
            "still import",
        ),
    ],
)
def test_what_cannot_be_cut_out_is_refused(
    source: str, message: str, module: Callable[[str, str], str], tmp_path: Path
) -> None:
    name = module("refused_of_a_test", source)
    with pytest.raises(UserError, match=message):
        merged([f"{name}.f"], tmp_path)


def test_a_file_found_in_an_unknown_way_is_refused(module: Callable[[str, str], str]) -> None:
    name = module(
        "lost", "from pathlib import Path\ndef f():\n    return Path(__file__).parent.parent\n"
    )
    with pytest.raises(UserError, match=r"lost.py, line 3 finds a file in a way"):
        files_read(gather([f"{name}.f"]))


def test_names_in_f_strings_are_renamed_in_fields_only() -> None:
    text = """f"x {x} {{x}} {d['x']} {a.x} {x:>{x}} {f(x=x)} {y!r}" "x" """
    expected = """f"x {new} {{x}} {d['x']} {a.x} {new:>{new}} {f(x=new)} {y!r}" "x" """
    assert rename_in_f_string(text, {"x": "new"}) == expected
