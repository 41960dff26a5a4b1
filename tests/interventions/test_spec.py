"""The spec grammar: what is read, how it is printed, and what each mistake is told."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmms_causal.errors import UserError
from lmms_causal.interventions import Plan, parse
from lmms_causal.interventions.methods.re2 import Re2
from lmms_causal.interventions.methods.vcd import VCD
from lmms_causal.interventions.plan import Branch, Control, Increment, Selection, Steering
from lmms_causal.interventions.registry import get, names, parameters


@pytest.mark.parametrize("nothing", [None, "", "  ", "none", "None", "off", "OFF"])
def test_all_spellings_of_nothing_are_the_same_empty_spec(nothing):
    spec = parse(nothing)
    assert not spec
    assert str(spec) == "none"
    assert spec.plan() == Plan()


def test_arguments_are_converted_to_their_types():
    spec = parse("vcd(alpha=0.5;noise_step=300;without_image=skip)+re2(times=3;format_from=Answer)")
    assert spec.methods == (
        VCD(alpha=0.5, noise_step=300, without_image="skip"),
        Re2(times=3, format_from="Answer"),
    )


@pytest.mark.parametrize("text", ["vcd", "vcd()", "vcd( alpha = 1 )", "  vcd  ", "vcd(beta=0.1;)"])
def test_blanks_and_empty_brackets_do_not_matter(text):
    assert parse(text).methods == (VCD(),)


def test_canonical_text_spells_out_every_parameter_in_order():
    assert str(parse("vcd(beta=.2)")) == (
        "vcd(alpha=1.0;beta=0.2;noise_step=500;seed=0;without_image=refuse;variant=paper)"
    )
    assert str(parse("re2")) == "re2(times=2;format_from=None)"


@given(
    st.floats(0, 50),
    st.floats(0, 1),
    st.integers(0, 999),
    st.integers(0, 10**12),
    st.sampled_from(["refuse", "skip"]),
    st.integers(1, 9),
)
@settings(deadline=None, derandomize=True)
def test_canonical_text_reads_back_as_the_same_spec(alpha, beta, step, seed, without, times):
    text = (
        f"re2(times={times})+vcd(alpha={alpha!r};beta={beta!r};noise_step={step};seed={seed}"
        f";without_image={without})"
    )
    spec = parse(text)
    assert parse(str(spec)) == spec
    assert str(parse(str(spec))) == str(spec)


@pytest.mark.parametrize(("one", "other"), [("vcd(alpha=1)", "vcd(alpha=1.0)"), ("vcd", "vcd()")])
def test_the_same_plan_has_one_canonical_text(one, other):
    assert str(parse(one)) == str(parse(other))


def test_canonical_text_has_no_character_that_a_harness_splits_at():
    assert not set(str(parse("re2+vcd"))) & set(", []{}\"'")


def test_a_spec_is_passed_through():
    spec = parse("vcd")
    assert parse(spec) is spec


def test_order_of_methods_is_kept():
    assert str(parse("vcd+re2")).startswith("vcd(")
    assert str(parse("re2+vcd")).startswith("re2(")


MISTAKES = {
    "vdc": ("unknown intervention 'vdc'", "did you mean 'vcd'", "available: "),
    "VCD": ("unknown intervention 'VCD'", "did you mean 'vcd'", "available: "),
    "xyzzy": ("unknown intervention 'xyzzy'", "available: "),
    "vcd(alhpa=1)": ("vcd: unknown parameter 'alhpa'", "did you mean 'alpha'", "noise_step"),
    "vcd(1.0)": ("vcd: '1.0' is not parameter=value",),
    "vcd(=1)": ("vcd: '=1' is not parameter=value",),
    "vcd(alpha=1;alpha=2)": ("vcd: parameter 'alpha' is given twice",),
    "vcd(alpha=strong)": ("vcd: alpha=strong is not a number",),
    "vcd(alpha=)": ("vcd: alpha= is not a number",),
    "vcd(alpha=-1)": ("vcd: alpha=-1.0 must be 0 or more",),
    "vcd(alpha=nan)": ("vcd: alpha=nan must be 0 or more",),
    "vcd(alpha=inf)": ("vcd: alpha=inf must be 0 or more",),
    "vcd(beta=1.5)": ("vcd: beta=1.5 must lie in 0..1",),
    "vcd(beta=nan)": ("vcd: beta=nan must lie in 0..1",),
    "vcd(noise_step=1000)": ("vcd: noise_step=1000 must lie in 0..999",),
    "vcd(noise_step=2.5)": ("vcd: noise_step=2.5 is not a whole number",),
    "vcd(without_image=ignore)": ("without_image=ignore is not one of refuse, skip",),
    "re2(times=twice)": ("re2: times=twice is not a whole number",),
    "vcd(alpha=1": ("cannot read '(alpha=1'", "';'"),
    "vcd(alpha=1))": ("cannot read ')'",),
    "vcd+": ("cannot read 'the end'", "join methods by '+'"),
    "+vcd": ("cannot read '+vcd'",),
    "vcd re2": ("cannot read ' re2'",),
    "vcd+vcd(alpha=2)": ("'vcd' is named twice", "name each method once"),
    "none+vcd": ("unknown intervention 'none'",),
    "vcd(alpha=1,beta=2)": ("separate parameters by ';'", "vcd(alpha=1;"),
    "vcd(variant=paper, seed=3)": ("separate parameters by ';'",),
    "suppress(part=image,sentence=3)": ("separate parameters by ';'", "suppress(part=image;"),
    "@": ("interventions=@", "cannot read the plan file"),
    "@nowhere.yaml": ("(No such file or directory)", "as interventions=@FILE#DIGEST"),
}


@pytest.mark.parametrize("text", MISTAKES)
def test_each_mistake_is_told_in_one_line_with_its_remedy(text):
    with pytest.raises(UserError) as error:
        parse(text)
    message = str(error.value)
    assert "\n" not in message
    for part in MISTAKES[text]:
        assert part in message


def pinned(path) -> str:
    return f"@{path}#{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"


def test_plan_file_reads_like_the_text(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text("- re2\n- vcd: {alpha: 2, noise_step: 300, without_image: skip}\n")
    expected = parse("re2+vcd(alpha=2;noise_step=300;without_image=skip)")
    assert parse(pinned(path)) == expected
    assert str(parse(pinned(path))) == str(expected)


def test_plan_file_must_be_pinned_and_the_pin_is_told(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text("- vcd\n")
    with pytest.raises(UserError, match=r"must be pinned; write interventions=@.*#[0-9a-f]{8}"):
        parse(f"@{path}")


def test_changed_plan_file_is_refused(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text("- vcd\n")
    reference = pinned(path)
    path.write_text("- vcd: {alpha: 3}\n")
    with pytest.raises(UserError, match="not #"):
        parse(reference)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("vcd: {alpha: 1}", "expected a list of methods"),
        ("- {vcd: {}, re2: {}}", "is not 'name' or 'name: "),
        ("- [vcd", "not valid YAML"),
        ("- vcd: 3", "vcd: 3 is not {parameter: value}"),
        ("- re2: {format_from: 'A;B'}", "format_from='A;B' contains ';'"),
        ("- vcd: {noise_step: 2.5}", "noise_step=2.5 is not a whole number"),
        ("- vcd: {alpha: true}", "alpha=True is not a number"),
        ("- vcd: {alpha: null}", "alpha=None is not a number"),
        ("- vcd: {1: 2}", "unknown parameter"),
    ],
)
def test_mistakes_in_a_plan_file_are_told_like_those_in_text(tmp_path, content, message):
    path = tmp_path / "plan.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=message) as error:
        parse(pinned(path))
    assert "\n" not in str(error.value)


def test_empty_plan_file_means_nothing(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text("# no method yet\n")
    assert parse(pinned(path)).plan() == Plan()


STEERING = Steering("steer", Branch("negative"), lambda output, vector: output)
CLASHES = {
    "steer the residual stream": Plan(steering=STEERING),
    "set a temperature": Plan(temperature=0.5),
    "randomise the increment": Plan(control=Control("control")),
    "select among answers": Plan(selection=Selection("best", 2, 1.0, "likelihood")),
}


@pytest.mark.parametrize("does", CLASHES)
def test_what_cannot_be_done_twice_is_refused_by_name(does):
    with pytest.raises(UserError, match=f"both {does} and cannot be composed"):
        CLASHES[does].then(CLASHES[does])
    assert CLASHES[does].then(Plan()) == CLASHES[does] == Plan().then(CLASHES[does])


def test_increments_add_up_and_a_shared_branch_is_kept_once():
    shared = Branch("view")
    one = Plan((shared,), (Increment("one", branches=("view",)),))
    other = Plan((shared, Branch("own")), (Increment("other", branches=("view", "own")),))
    plan = one.then(other)
    assert plan.branches == (shared, Branch("own"))
    assert [increment.method for increment in plan.increments] == ["one", "other"]


def test_one_name_for_two_different_branches_is_refused():
    one, other = Plan((Branch("view"),)), Plan((Branch("view", first_token_only=True),))
    with pytest.raises(UserError, match="define the branch 'view' differently"):
        one.then(other)


def test_composition_keeps_branches_and_runs_rewrites_in_order():
    first = Plan(rewrites=(lambda text: text + "1",))
    second = parse("vcd").plan()
    third = Plan(rewrites=(lambda text: text + "2",))
    plan = first.then(second).then(third)
    assert plan.rewrite("x") == "x12"
    assert [branch.name for branch in plan.branches] == ["noised"]
    assert plan.increments == second.increments


def test_listing_methods_imports_none_and_reading_a_rewrite_imports_no_torch():
    code = (
        "import sys\n"
        "from lmms_causal.interventions import registry, parse\n"
        "assert {'vcd', 're2'} <= set(registry.names())\n"
        "assert 'lmms_causal.interventions.methods.vcd' not in sys.modules\n"
        "parse('re2')\n"
        "assert 'torch' not in sys.modules, 'torch is imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_registered_method_documents_each_of_its_parameters():
    for name in names():
        cls = get(name)
        for parameter in parameters(cls):
            assert f"{parameter}: " in (cls.__doc__ or ""), f"{name}.{parameter}"
