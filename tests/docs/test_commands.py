"""Every command line that a page names exists, with its options."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from lmms_causal.cli import _parser

_NAMED = re.compile(r"\blmms-causal[ \t]+(?P<command>[a-z][a-z-]*)(?P<rest>[^|;&)`\n#]*)")
_CODE = re.compile(r"^```.*?^```$|^ {4}.*$|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def mistakes(text: str) -> list[str]:
    """Commands and options in a page's code that do not exist."""
    wrong = []
    known = subcommands(_parser())
    for code in _CODE.findall(re.sub(r"\\\n\s*", " ", text)):
        for match in _NAMED.finditer(code):
            command = match["command"]
            if command not in known:
                wrong.append(f"lmms-causal {command}")
                continue
            if command == "lm-eval":  # all that follows belongs to lm-eval
                continue
            parsers = [known[command], *subcommands(known[command]).values()]
            options = {option for one in parsers for option in one._option_string_actions}
            for option in re.findall(r"(?<=[\s\[])--[a-z][\w-]*", match["rest"]):
                if option not in options:
                    wrong.append(f"lmms-causal {command} {option}")
    return wrong


def test_every_command_line_of_every_page_exists(root, site_pages):
    pages = {**site_pages.pages(root), "README": root / "README.md"}
    pages.pop("changelog.md")  # of the past
    found = {
        name: wrong
        for name, path in pages.items()
        if (wrong := mistakes(Path(path).read_text(encoding="utf-8")))
    }
    assert not found


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("`lmms-causal compare A B --by f`", []),
        ("```bash\nlmms-causal compar A\n```", ["lmms-causal compar"]),
        ("    lmms-causal compare A \\\n        --bye f", ["lmms-causal compare --bye"]),
        ('`"$(lmms-causal tasks-path --harness lm-eval)" --tasks x`', []),
        ("in prose lmms-causal answers", []),
        ("`lmms-causal lm-eval run --model causal --tasks x`", []),
    ],
)
def test_what_counts_as_a_mistake(text, wrong):
    assert mistakes(text) == wrong
