"""The comparison as a LaTeX table (package booktabs): methods below each other, by metric."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lmms_causal.compare.comparison import Comparison
from lmms_causal.compare.output.tables import run_labels
from lmms_causal.compare.output.verdict import interval_text, metric_name, number, outcome, p_text
from lmms_causal.compare.rows.row import Row

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # Behind the end of a row, LaTeX takes these for arguments of that.
    "[": "{[}",
    "*": "{*}",
}
_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")
_NUMBER = re.compile(r"(?P<sign>[<+\-\u2212]*)(?P<digits>[\d.]+)(?:e(?P<exponent>[+-]?\d+))?")


def escape(text: str) -> str:
    """Text that LaTeX prints as it is, on one line."""
    text = "".join(_SPECIAL.get(letter, letter) for letter in _CONTROL.sub(" ", text))
    return re.sub(r"-(?=-)", "-{}", text)  # two hyphens in a row would become a dash


def to_latex(comparisons: Sequence[Comparison]) -> str:
    r"""A ``table`` environment; the caption says how the numbers were made.

    A star marks a difference whose interval excludes 0 and whose test rejects after Holm's
    correction. Rows that repeat another metric's scores are left out.
    """
    options = comparisons[0].options
    margin = options.margin is not None
    heads = ["", "$n$", "score", r"$\Delta$", rf"{100 * options.level:g}\,\% CI", "$p$", "$+/-$"]
    if margin:
        heads.append(r"$p_{\mathrm{no\,harm}}$")
    lines = [
        "% needs \\usepackage{booktabs}; written by lmms-causal compare",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_caption(comparisons)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
        r"\toprule",
        f"{' & '.join(heads)} \\\\",
    ]
    for title, found in _by_metric(comparisons).items():
        lines.append(r"\midrule")
        lines.append(rf"\multicolumn{{{len(heads)}}}{{l}}{{\emph{{{escape(title)}}}}} \\")
        some = found[0][1]
        reference = escape(comparisons[0].a.interventions or "none")
        cells = [f"{reference} (reference)", str(some.n or "--"), mathematics(number(some, some.a))]
        lines.append(f"{' & '.join([*cells, *[''] * (len(heads) - len(cells))])} \\\\")
        for label, row in found:
            lines.append(f"{' & '.join(_cells(label, row, options.level, margin))} \\\\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _by_metric(comparisons: Sequence[Comparison]) -> dict[str, list[tuple[str, Row]]]:
    found: dict[str, list[tuple[str, Row]]] = {}
    for label, comparison in zip(run_labels(comparisons), comparisons, strict=True):
        twins = {row.key for row in comparison.rows if row.stratum is None and row.same_as}
        for row in comparison.rows:
            if row.key not in twins:
                part = "" if row.stratum is None else f", {row.by} {row.stratum}"
                found.setdefault(f"{row.task}: {metric_name(row)}{part}", []).append((label, row))
    return found


def _cells(label: str, row: Row, level: float, margin: bool) -> list[str]:
    star = "" if outcome(row, level) in ("no difference", "untested") else "$^{*}$"
    cells = [
        escape(label),
        str(row.n or "--"),
        mathematics(number(row, row.b)),
        f"{mathematics(number(row, row.difference, '+'))}{star}",
        mathematics(interval_text(row)),
        mathematics(p_text(row.p if row.p_holm is None else row.p_holm)),
        "--" if row.gained is None else f"$+{row.gained}/{-(row.lost or 0)}$",
    ]
    if margin:
        harm = None if row.equivalence is None else row.equivalence.no_harm_p_holm
        cells.append(mathematics(p_text(harm)))
    return cells


def _caption(comparisons: Sequence[Comparison]) -> str:
    options = comparisons[0].options
    rows = [row for comparison in comparisons for row in comparison.rows]
    reference = escape(comparisons[0].a.interventions or "none")
    text = f"Differences from the reference ({reference}), paired by document."
    if any(row.factor == 100.0 for row in rows):
        text += r" Shares in \%, differences in points."
    keys = sorted({row.cluster_key for row in rows if row.cluster_key is not None})
    if keys:
        text += f" Intervals and tests allow for documents that share {escape(', '.join(keys))}."
    over = "all rows" if options.family == "report" else "the methods of a metric"
    text += f" $p$ after Holm's correction over {over}; $^{{*}}$ marks what then rejects."
    if options.margin is not None:
        margin = mathematics(f"{options.margin:g}")
        text += f" No harm: a loss of less than {margin} (points for shares)."
    serious = {found.what for comparison in comparisons for found in comparison.differences}
    return text + (
        f" The runs also differ in {escape(', '.join(sorted(serious)))}." * bool(serious)
    )


def mathematics(text: str) -> str:
    """Numbers in mathematics, so that a minus is one; a single "-" stands for nothing.

    Args:
        text: What a cell of the printed tables shows, such as ``-1.2 to +3.4`` or ``1.3e-05``.
    """
    if text == "-":
        return "--"
    return " ".join(_number(word) for word in text.split())


def _number(word: str) -> str:
    r"""``-1.3e-05`` as ``$-1.3 \times 10^{-5}$``; a word that is no number stays a word."""
    parts = _NUMBER.fullmatch(word)
    if parts is None:
        return word
    sign = parts["sign"].replace("\N{MINUS SIGN}", "-")
    if parts["exponent"] is None:
        return f"${sign}{parts['digits']}$"
    power = f"10^{{{int(parts['exponent'])}}}"
    return (
        f"${sign}{power}$"
        if parts["digits"] == "1"
        else f"${sign}{parts['digits']} \\times {power}$"
    )
