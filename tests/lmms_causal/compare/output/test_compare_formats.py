"""The printed formats, and the JSON against its description in docs/compare.md."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmms_causal.compare import Comparison, Options, compare, read_run
from lmms_causal.compare.command import run_command
from lmms_causal.compare.output.latex import escape, mathematics
from lmms_causal.compare.output.report import to_json, to_latex, to_markdown, to_text

Write = Callable[..., Path]
_DOCS = Path(__file__).parents[4] / "docs" / "compare.md"


@pytest.fixture
def three(write_run: Write) -> list[Comparison]:
    """Two methods against a reference: one gains 40 of 200 documents, one changes nothing."""
    strata = ["because", "so_that"] * 100
    a = write_run("a", [0] * 60 + [1] * 140, strata=strata)
    b = write_run(
        "b",
        [0] * 20 + [1] * 180,
        strata=strata,
        model_args="pretrained=org/toy,interventions=vcd(alpha=1.0;beta=0.1)",
    )
    c = write_run(
        "c",
        [0] * 60 + [1] * 140,
        strata=strata,
        model_args="pretrained=org/toy,interventions=re2",
    )
    options = Options(by=("stratum",), margin=3.0)
    return compare(read_run(a), [read_run(b), read_run(c)], options)


def _documented(section: str) -> set[str]:
    """Field names that docs/compare.md lists for a record, from its table or its sentence."""
    text = _DOCS.read_text(encoding="utf-8")
    start = re.search(rf"^{section}(:|$)", text, re.MULTILINE)
    assert start, section
    block = text[start.end() :].lstrip("\n")
    if block.startswith("|"):
        rows = [line.split("|")[1] for line in block.split("\n\n")[0].splitlines()[2:]]
        return {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    sentence = re.sub(r"\([^)]*\)", "", block.split("\n\n")[0])
    return set(re.findall(r"`(\w+)`", sentence))


def test_the_json_has_exactly_the_fields_that_the_documentation_names(
    three: list[Comparison],
) -> None:
    data = to_json(three, documents=True)
    (first, _) = data["comparisons"]
    assert data.keys() == {"schema_version", "comparisons"}
    assert first.keys() == _documented("COMPARISON")
    assert first["a"].keys() == _documented("RUN")
    for name, section in (
        ("rows", "ROW"),
        ("checks", "CHECK"),
        ("flips", "FLIP"),
        ("documents", "DOCUMENT"),
        ("costs", "COST"),
    ):
        for record in first[name]:
            assert record.keys() == _documented(section), section
    assert first["rows"][0]["equivalence"].keys() == _documented("EQUIVALENCE")
    options = _DOCS.read_text(encoding="utf-8").split("| `options` |")[1].splitlines()[0]
    assert first["options"].keys() == set(re.findall(r"`(\w+)`", options))
    assert "documents" not in to_json(three)["comparisons"][0]


def test_flips_and_documents_tell_what_changed(three: list[Comparison]) -> None:
    gain, nothing = to_json(three, documents=True)["comparisons"]
    flips = gain["flips"]
    assert [flip["id"] for flip in flips] == [f"doc-{index}" for index in range(20, 60)]
    assert flips[0] | {"answer_a": "B", "answer_b": "A", "change": "gained"} == flips[0]
    assert nothing["flips"] == []
    documents = gain["documents"]
    assert len(documents) == 200
    assert documents[20]["scores"] == {"toy_score": [0.0, 1.0]}
    assert documents[20]["attributes"]["stratum"] == "because"


def test_agreement_counts_of_the_table_add_up(three: list[Comparison]) -> None:
    row = three[0].rows[0]
    assert (row.both_right, row.both_wrong, row.gained, row.lost) == (140, 20, 40, 0)
    assert (row.agreement, row.same_answer) == (0.8, 160)


def test_text_lists_flips_and_puts_all_runs_beside_each_other(three: list[Comparison]) -> None:
    text = to_text(three, flips=2)
    assert max(map(len, text.splitlines())) <= 100
    assert 'doc-20: "B" became "A", target "A"' in text and "... and 38 more" in text
    lines = text.splitlines()
    (summary,) = [line for line in lines if line.startswith("toy_score of toy_order ")]
    assert summary.split()[-3:] == ["70.0", "+20.0*", "+0.0"]
    assert "B1: vcd(alpha=1.0;beta=0.1)" in lines and "B2: re2" in lines


def test_many_runs_are_put_beside_each_other_in_blocks(write_run: Write) -> None:
    runs = [read_run(write_run(name, [0, 1] * 20)) for name in "abcdefghij"]
    text = to_text(compare(runs[0], runs[1:]))
    assert max(map(len, text.splitlines())) <= 100
    assert [line.split()[3] for line in text.splitlines() if line.startswith("all runs")] == [
        "B1",
        "B7",
    ]


def test_latex_rows_have_the_cells_that_the_table_declares(three: list[Comparison]) -> None:
    text = to_latex(three)
    columns = len(re.search(r"\\begin\{tabular\}\{(\w+)\}", text)[1])  # type: ignore[index]
    cells = [line.count(" & ") for line in text.splitlines() if line.endswith(r"\\")]
    assert set(cells) == {0, columns - 1}  # 0: a heading over all columns
    assert text.count("{") == text.count("}") and text.count("$") % 2 == 0
    assert r"stratum so\_that" in text
    assert r"vcd(alpha=1.0;beta=0.1) & 200 & $90.0$ & $+20.0$$^{*}$" in text
    assert text.count("re2 & ") == 3  # overall and two strata
    for name in ("table", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 1


def test_latex_prints_special_characters_as_they_are() -> None:
    assert escape(r"a_b & 5% #1 {x} $~^\<") == (
        r"a\_b \& 5\% \#1 \{x\} \$\textasciitilde{}\textasciicircum{}\textbackslash{}\textless{}"
    )
    # At the start of a row, [1] and * would be arguments of the row before.
    assert escape("[1]* a--b---c\n\n\x00d") == "{[}1]{*} a-{}-b-{}-{}-c d"


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("1.3e-05", r"$1.3 \times 10^{-5}$"),
        ("-2e+06", r"$-2 \times 10^{6}$"),
        ("1e-05", r"$10^{-5}$"),
        ("<1e-99", r"$<10^{-99}$"),
        ("+1.2 to -3.4", "$+1.2$ to $-3.4$"),
        ("no variation", "no variation"),
        ("-", "--"),
    ],
)
def test_latex_writes_numbers_as_mathematics(text: str, printed: str) -> None:
    assert mathematics(text) == printed


def test_a_small_p_value_is_a_power_of_ten_in_latex(write_run: Write) -> None:
    runs = [
        read_run(write_run(name, scores)) for name, scores in (("a", [0] * 40), ("b", [1] * 40))
    ]
    text = to_latex(compare(runs[0], runs[1:]))
    assert r"$1.8 \times 10^{-12}$" in text and "e-12" not in text


def test_line_breaks_in_a_field_break_no_table(write_run: Write) -> None:
    strata = ["two\n\nlines | \u2028 x", "one"] * 20
    runs = [read_run(write_run(name, [0, 1, 1, 0] * 10, strata=strata)) for name in "ab"]
    found = compare(runs[0], runs[1:], Options(by=("stratum",)))
    for table in re.findall(r"(?:^\|.*\n)+", to_markdown(found), re.MULTILINE):
        assert len({line.replace("\\|", "").count("|") for line in table.splitlines()}) == 1
    assert r"stratum two lines \textbar{} x" in to_latex(found)
    assert re.search(r"^    two  lines \|\s+x\s+", to_text(found), re.MULTILINE)


def test_text_does_not_command_the_terminal(write_run: Write) -> None:
    runs = [read_run(write_run(name, [1, 0], model_args="pretrained=\x1b[2J")) for name in "ab"]
    assert "\x1b" not in to_text(compare(runs[0], runs[1:]))


def test_markdown_tables_are_rectangular(three: list[Comparison]) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", to_markdown(three, flips=1), re.MULTILINE)
    assert len(tables) == 9  # identities, differences, agreement and cost of both; the summary
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_the_verdict_speaks_of_harm_only_when_asked(
    three: list[Comparison], write_run: Write
) -> None:
    asked = to_text(three[1:])
    assert "within 3.0 points" in asked
    a, b = (read_run(write_run(name, [0, 1] * 400)) for name in "xy")
    assert "no harm" not in to_text(compare(a, [b]))
    (same,) = compare(a, [b], Options(margin=1.0))
    assert same.rows[0].equivalence is not None and same.rows[0].equivalence.equivalent
    text = to_text([same]).replace("\n  ", " ")
    assert "within 1.0 points, no harm is shown and equivalence is shown" in text


@pytest.mark.parametrize("form", ["text", "markdown", "latex", "json"])
def test_every_format_goes_to_a_file(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    words = [str(data / "lmms_eval_a"), str(data / "lmms_eval_b"), "--format", form]
    assert run_command(words) == 0
    printed = capsys.readouterr().out
    out = tmp_path / "report"
    assert run_command([*words, "--output", str(out)]) == 0
    assert capsys.readouterr().out == ""
    assert out.read_text() == printed
    if form == "json":
        assert json.loads(printed)["schema_version"] == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--margin", "0"], "--margin 0: give the largest harmless difference"),
        (["--flips", "-1"], "--flips -1"),
        (["--documents"], "add --json OUT"),
        (["--output", "absent/x.txt"], "cannot be written"),
        (["--by", "stratum,nope"], "--by nope: not recorded"),
        (["--cluster", "nope"], "--cluster nope: not recorded"),
    ],
)
def test_a_mistake_is_one_line(
    data: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    runs = [str(data / "lmms_eval_a"), str(data / "lmms_eval_b")]
    assert run_command([*runs, *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and message in captured.err


def test_a_run_named_twice_is_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = str(data / "lmms_eval_a"), str(data / "lmms_eval_b")
    assert run_command([a, b, b]) == 2
    assert "compared with itself" in capsys.readouterr().err


def test_the_family_of_a_metric_is_the_methods_compared_in_it(write_run: Write) -> None:
    strata = ["x", "y"] * 50
    runs: list[Any] = [
        read_run(write_run(name, scores, strata=strata))
        for name, scores in (
            ("a", [0] * 10 + [1] * 90),
            ("b", [1] * 100),
            ("c", [0] + [1] * 99),
        )
    ]
    by = ("stratum",)
    report = compare(runs[0], runs[1:], Options(by=by))
    metric = compare(runs[0], runs[1:], Options(by=by, family="metric"))
    overall = [comparison.rows[0] for comparison in metric]
    assert [row.p for row in overall] == pytest.approx([2 * 0.5**10, 2 * 0.5**9])
    # Of two methods, the smaller p counts twice; the other one as it is.
    assert [row.p_holm for row in overall] == pytest.approx([4 * 0.5**10, 2 * 0.5**9])
    assert report[0].rows[0].p_holm == pytest.approx(6 * 2 * 0.5**10)
    assert "--family metric" in to_text(metric)
