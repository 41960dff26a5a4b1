"""The pages of ``docs/interventions``: complete, true to the code, and those that are committed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

import pytest

from lmms_causal.cli import main
from lmms_causal.commands.interventions import pages, write
from lmms_causal.errors import UserError
from lmms_causal.interventions import Plan, parse, registry
from lmms_causal.method_pages import MARKER, SECTIONS, index, markdown, page, read
from lmms_causal.testing import names

DOCS = Path(__file__).resolve().parents[2] / "docs" / "interventions"
AGAIN = "the pages are out of date; run `lmms-causal interventions --write docs/interventions`"

TOY = """Toy: does nothing.

Nobody, "Nothing".

Equations
---------
With ``l``::

    l + 0
        + 0

    l

for :class:`~somewhere.Signals` too.

Cost
----
None, e.g. for ``l``. More of it.

Paper and code
--------------
None.

Published
---------
None.

Unverified
----------
Nothing.
"""


@dataclass(frozen=True)
class Toy:
    """Parameters.

    Attributes:
        strength: how much,
            on a second line.
        kind: ``a|b`` or not.
        words: some.
    """

    strength: float
    kind: Literal["left", "right"] = "left"
    words: str | None = None

    def plan(self) -> Plan:
        """Nothing."""
        return Plan()


@pytest.fixture
def toy(monkeypatch):
    """``toy(docstring)``: a registry whose only method is Toy, in a file with that docstring."""

    def install(docstring: str, cls: type = Toy) -> None:
        module = ModuleType("toy", docstring)
        monkeypatch.setattr("lmms_causal.method_pages.inspect.getmodule", lambda cls: module)
        monkeypatch.setattr(registry, "get", lambda name: cls)
        monkeypatch.setattr(registry, "names", lambda: ("toy",))

    return install


@pytest.mark.parametrize("method", registry.names())
def test_every_method_has_all_sections_and_describes_every_parameter(method):
    found = read(method)
    assert tuple(found.sections) == SECTIONS
    assert set(found.meanings) == set(registry.parameters(registry.get(method)))
    assert found.summary.endswith(".") and len(found.summary) <= 100
    assert found.introduction and found.cost.endswith(".")
    text = page(method)
    assert text.count("```text\n") == text.count("\n```\n") == text.count("```") / 2
    assert "``" not in text.replace("```", "") and "::" not in text.split("## Parameters")[0]


@pytest.mark.parametrize("title", SECTIONS)
def test_a_missing_section_is_named_with_its_file(toy, title):
    toy(TOY.replace(title, "Other").replace(f"Other\n{'-' * len(title)}", f"Other\n{'-' * 5}"))
    with pytest.raises(UserError, match=rf"methods/toy\.py: .* has no section '{title}'"):
        read("toy")


def test_an_empty_section_and_one_too_many_are_refused(toy):
    toy(TOY.replace("\nNothing.\n", "\n"))
    with pytest.raises(UserError, match="no section 'Unverified'"):
        read("toy")
    toy(f"{TOY}\nMore\n----\nWords.\n")
    with pytest.raises(UserError, match=r"toy\.py: .* Unverified, More; .* in this order"):
        read("toy")


def test_a_parameter_without_description_is_named_with_its_file(toy):
    @dataclass(frozen=True)
    class Bare(Toy):
        """Parameters.

        Attributes:
            strength: how much.
            words: some.
        """

    toy(TOY, Bare)
    with pytest.raises(UserError, match=r"methods/toy\.py: parameter 'kind' is not described"):
        read("toy")


def test_docstrings_are_read_as_they_are_laid_out(toy):
    toy(TOY)
    found = read("toy")
    assert found.summary == "Toy: does nothing." and found.introduction == 'Nobody, "Nothing".'
    assert found.cost == "None, e.g. for ``l``."
    assert found.meanings["strength"] == "how much, on a second line."
    assert markdown(found.sections["Equations"]) == (
        "With `l`:\n\n```text\nl + 0\n    + 0\n\nl\n```\n\nfor `somewhere.Signals` too."
    )


def test_lists_stay_lists():
    text = "* one ``x``\n  goes on\n* two\n\nbehind"
    assert markdown(text) == "* one `x`\n  goes on\n* two\n\nbehind"


def test_a_page_tables_types_and_defaults_as_a_user_writes_them():
    text = page("vcd")
    assert text.startswith(f"{MARKER}\n\n# vcd\n\nVisual contrastive decoding")
    assert "| `alpha` | number | `1.0` | strength of the contrast; 0 turns it off. |" in text
    assert "| `variant` | `paper`, `release` | `paper` |" in text
    assert "```text\n(1 + alpha) l - alpha c    on the tokens" in text
    assert "* Adds an increment" in text and "* Runs `noised`;" in text and "Steers" not in text
    assert "| `format_from` | text or `none` | `none` |" in page("re2")
    assert "* Rewrites the question's text" in page("re2") and "Adds" not in page("re2")


def test_a_page_says_whether_its_spec_is_an_example_or_all_defaults():
    defaults, example = "With every default spelled out: ", "An example, with every parameter "
    for name in registry.names():
        shown, text = registry.example(name), page(name)
        assert (example in text) == (shown != name), name
        if shown == name:
            assert f"{defaults}`interventions={parse(name)}`" in text
    assert defaults not in page("suppress")  # it has no meaning without parameters
    agla = page("agla")
    assert "matcher=saliency" in agla and "matcher=blip:Salesforce/blip-itm-large-coco" in agla


def test_the_index_gives_each_reason_once(toy, monkeypatch):
    toy(TOY)
    reason = "it has no `a|b`"
    text = index({"one": {"toy": None}, "two": {"toy": reason}, "three": {"toy": reason}})
    assert "| [toy](toy.md) | Toy: does nothing. | None, e.g. for `l`. |" in text
    assert "| method | `one` | `two` | `three` |\n" in text
    assert "| `toy` | yes | no (1) | no (1) |" in text
    assert text.endswith(f"\n\n1. {reason}\n")
    assert "on the intersection of all K_b(l)" in text and "order in which methods are" in text
    assert "Nothing here" not in text


def test_writing_deletes_pages_of_methods_that_are_gone_and_nothing_else(tmp_path, monkeypatch):
    made = {"toy.md": f"{MARKER}\n", "README.md": "index"}
    monkeypatch.setattr("lmms_causal.commands.interventions.pages", lambda: made)
    (tmp_path / "gone.md").write_text(f"{MARKER}\n\n# gone\n")
    (tmp_path / "notes.md").write_text("a reader's own")
    write(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"toy.md", "README.md", "notes.md"}


def test_mistakes_of_the_command_are_one_line(tmp_path, capsys, monkeypatch):
    assert main(["interventions", "vcd", "--write", str(tmp_path)]) == 2
    assert "leave out 'vcd'" in capsys.readouterr().err
    monkeypatch.setattr("lmms_causal.commands.interventions.pages", lambda: {"a.md": ""})
    (tmp_path / "file").write_text("")
    assert main(["interventions", "--write", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_committed_pages_are_what_the_code_says(available):
    for family in names():
        available(family)
    generated = pages()
    committed = {file.name: file.read_text(encoding="utf-8") for file in DOCS.glob("*.md")}
    assert sorted(committed) == sorted(generated), AGAIN
    assert [name for name in generated if committed[name] != generated[name]] == [], AGAIN
    table = generated["README.md"].partition("## Model families")[2]
    assert all(f"| `{name}` |" in table for name in registry.names())
    assert all(f" `{family}` |" in table for family in names())
