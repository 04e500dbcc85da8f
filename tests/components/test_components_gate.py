"""Properties of the comparison and of the mapping, on arrays alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pytest_worldflux_parity.inputs.golden_data import (
    Component,
    Golden,
    Match,
    Perturbation,
    flow_order,
)
from pytest_worldflux_parity.judgement.gates.components import (
    ComponentEvidence,
    MatchResult,
    compare,
)
from pytest_worldflux_parity.judgement.gates.differences import difference
from pytest_worldflux_parity.reporting.components import component_match_document, match_headline
from pytest_worldflux_parity.schemas import check
from pytest_worldflux_parity.wire.match import array_problem

TOLERANCE = 1e-5
finite = st.floats(-1e6, 1e6, allow_subnormal=False)
shapes = hnp.array_shapes(min_dims=0, max_dims=3, max_side=4)
arrays = hnp.arrays(np.float64, shapes, elements=finite).filter(lambda a: not array_problem(a, varied=True))
fast = settings(max_examples=60, deadline=None)


def golden(outputs: dict[str, np.ndarray], parameters: dict[str, tuple[int, ...]] | None = None) -> Golden:
    """One component of stage heads, ``c``, with these outputs."""
    return Golden(
        folder="/golden", family="fake", source={"repo": "r", "commit": "0" * 40},
        components=(Component("c", "heads", tuple(outputs), TOLERANCE),),
        parameters=parameters or {"w": (2,)},
        outputs={f"c/{k}": v for k, v in outputs.items()}, manifest_sha256="0" * 64, arrays_sha256="1" * 64,
    )  # fmt: skip


def matching(of: Golden, **changes: Any) -> Match:
    """A match that is right, with one perturbation that moves everything."""
    fields: dict[str, Any] = {
        "mapping": {name: f"our.{name}" for name in of.parameters},
        "parameters": {f"our.{name}": shape for name, shape in of.parameters.items()},
        "perturbations": (Perturbation("p", "c", "weight", "a weight is larger"),),
        "outputs": dict(of.outputs),
        "perturbed": {f"p/{k}": v + np.abs(v).max() for k, v in of.outputs.items()},
        "packages": {},
        "tree_sha256": "2" * 64,
    }
    return Match(**{**fields, **changes})


def codes(result: MatchResult) -> set[str]:
    return {f.code for f in result.findings}


@fast
@given(st.dictionaries(st.sampled_from("abc"), arrays, min_size=1))
def test_equal_outputs_match(outputs: dict[str, np.ndarray]) -> None:
    of = golden(outputs)
    result = compare(of, matching(of))
    assert result.passed, result.findings
    assert result.first_divergence is None


@fast
@given(arrays, st.data())
def test_one_element_beyond_the_tolerance_is_a_mismatch_and_one_within_is_not(
    array: np.ndarray, data: st.DataObject
) -> None:
    of, scale = golden({"o": array}), np.abs(array).max()
    where = data.draw(st.integers(0, array.size - 1))
    # The sign of the error does not matter; that of rounding does, so both stay clear of the border.
    sign = data.draw(st.sampled_from([-1, 1]))
    for factor, passes in ((0.9, True), (1.1, False)):
        ours = array.astype(np.float64).copy()
        ours.flat[where] += sign * factor * TOLERANCE * scale
        result = compare(of, matching(of, outputs={"c/o": ours}))
        assert result.components[0].passed is passes
        assert ("component_mismatch" in codes(result)) is not passes


@fast
@given(arrays, st.sampled_from([np.nan, np.inf, -np.inf]), st.data())
def test_what_is_not_finite_never_matches(array: np.ndarray, odd: float, data: st.DataObject) -> None:
    of, ours = golden({"o": array}), array.copy()
    ours.flat[data.draw(st.integers(0, array.size - 1))] = odd
    result = compare(of, matching(of, outputs={"c/o": ours}))
    assert codes(result) >= {"component_mismatch"}
    assert "is not finite" in result.components[0].line()


@fast
@given(arrays, arrays)
def test_another_shape_never_matches(array: np.ndarray, other: np.ndarray) -> None:
    """Not even one that could be broadcast."""
    of = golden({"o": array})
    for ours in (other, array[None], np.broadcast_to(array, (2, *array.shape))):
        if ours.shape != array.shape:
            result = compare(of, matching(of, outputs={"c/o": ours}))
            assert not result.components[0].passed
            assert result.components[0].shape_match is False


@fast
@given(arrays, st.floats(1e-3, 1e3), st.floats(1e-7, 1e-1))
def test_a_difference_does_not_depend_on_the_unit(array: np.ndarray, unit: float, error: float) -> None:
    one = difference("o", array, array + error)
    other = difference("o", array * unit, (array + error) * unit)
    assert one.relative is not None
    assert other.relative == pytest.approx(one.relative, rel=1e-6, abs=1e-12)
    assert one.mean_abs is not None
    assert one.max_abs is not None
    assert 0 <= one.mean_abs <= one.max_abs * (1 + 1e-12)


def test_a_difference_that_no_number_holds_is_one() -> None:
    far = difference("o", np.array([1e308, -1e308]), np.array([-1e308, 1e308]))
    assert (far.relative, far.problem) == (None, "differs by more than a number can hold")


@fast
@given(arrays, st.floats(0, 0.9))
def test_a_perturbation_that_stays_within_the_tolerance_is_not_caught(array: np.ndarray, by: float) -> None:
    of = golden({"o": array})
    moved = array + by * TOLERANCE * np.abs(array).max()
    result = compare(of, matching(of, perturbed={"p/c/o": moved}))
    assert codes(result) == {"perturbation_not_caught"}
    assert not result.passed
    assert match_headline(ComponentEvidence(of, result)) == (
        "components: 1 of 1 match, 0 of 1 outputs shown sensitive, 0 of 1 perturbations caught"
    )


@fast
@given(arrays)
def test_a_wrong_output_is_no_perturbation(array: np.ndarray) -> None:
    """The perturbed output must have moved from our own, too, however far that is off the golden."""
    of, wrong = golden({"o": array}), array + np.abs(array).max()
    result = compare(of, matching(of, outputs={"c/o": wrong}, perturbed={"p/c/o": wrong}))
    assert codes(result) == {"component_mismatch", "perturbation_not_caught"}
    # Nor is a perturbation that brings it to the golden.
    result = compare(of, matching(of, outputs={"c/o": wrong}, perturbed={"p/c/o": array}))
    assert codes(result) == {"component_mismatch", "perturbation_not_caught"}


@pytest.mark.parametrize("broken", [None, np.full(3, np.nan), np.ones(2), np.array(["a"] * 3)])
def test_a_perturbation_that_breaks_the_program_shows_nothing(broken: np.ndarray | None) -> None:
    of = golden({"o": np.arange(3.0), "q": np.arange(1, 4.0)})
    right = matching(of).perturbed
    perturbed = {k: v for k, v in right.items() if k != "p/c/o"} | (
        {} if broken is None else {"p/c/o": broken}
    )
    result = compare(of, matching(of, perturbed=perturbed))
    assert codes(result) == {"perturbation_not_caught"}


@fast
@given(st.lists(st.floats(0, 3), min_size=2, max_size=4), st.sets(st.integers(0, 3)))
def test_every_output_must_be_moved_by_a_perturbation_or_be_declared(
    moves: list[float], declared: set[int]
) -> None:
    """By more than the tolerance; where nothing moves, that is what is told."""
    outputs = {f"o{i}": np.arange(1.0, 4.0) for i in range(len(moves))}
    of = golden(outputs)
    reasons = {f"o{i}": "its rate is zero" for i in declared if i < len(moves)}
    of = replace(of, components=(replace(of.components[0], insensitive=reasons),))
    perturbed = {f"p/c/o{i}": outputs[f"o{i}"] + by * TOLERANCE * 3 for i, by in enumerate(moves)}
    result = compare(of, matching(of, perturbed=perturbed))
    shown = {s.output: s.shown for s in result.sensitivity(result.components[0])}
    clear = [i for i, by in enumerate(moves) if not 0.99 < by < 1.01]
    assert all(shown[f"o{i}"] is (moves[i] > 1) for i in clear)
    if not any(shown.values()):
        assert codes(result) == {"perturbation_not_caught"}
    elif all(is_shown or output in reasons for output, is_shown in shown.items()):
        assert result.passed
    else:
        assert codes(result) == {"output_not_sensitive"}
    document = component_match_document(ComponentEvidence(of, result), golden_path="g", time="now")
    assert document["sensitivity"] == {
        "outputs": len(moves),
        "sensitive": sum(shown.values()),
        "declared": sum(not shown[output] for output in reasons),
    }
    assert [row["sensitive"] for row in document["results"][0]["outputs"]] == list(shown.values())


def test_every_component_is_perturbed() -> None:
    of = golden({"o": np.arange(3.0)})
    result = compare(of, matching(of, perturbations=(), perturbed={}))
    assert codes(result) == {"perturbation_missing"}
    twice = matching(of).perturbations * 2
    assert codes(compare(of, matching(of, perturbations=twice))) == {"perturbation_repeated"}
    left_over = {**matching(of).perturbed, "q/c/o": np.arange(3.0)}
    assert codes(compare(of, matching(of, perturbed=left_over))) == {"output_unexpected"}


names = st.lists(st.text("abcdef", min_size=1, max_size=3), min_size=1, max_size=6, unique=True)
sizes = st.lists(st.integers(1, 4), min_size=6, max_size=6)


@fast
@given(names, sizes, st.randoms(use_true_random=False))
def test_a_mapping_holds_whatever_its_order_and_the_layout(
    names: list[str], sizes: list[int], rng: Any
) -> None:
    of = golden({"o": np.arange(3.0)}, {n: (s, 2) for n, s in zip(names, sizes, strict=False)})
    pairs = [(n, f"our.{n}") for n in names]
    rng.shuffle(pairs)
    shapes = {own: of.parameters[n][::-1] for n, own in pairs}
    result = compare(of, matching(of, mapping=dict(pairs), parameters=shapes))
    assert result.passed
    assert result.mapped == result.own == result.covered == len(names)


@fast
@given(names, st.data())
def test_a_mapping_that_lacks_or_repeats_or_invents_one_fails(names: list[str], data: st.DataObject) -> None:
    of = golden({"o": np.arange(3.0)}, dict.fromkeys(names, (2,)))
    right, one = matching(of), data.draw(st.sampled_from(names))
    without = {n: own for n, own in right.mapping.items() if n != one}
    assert codes(compare(of, replace(right, mapping=without))) == {
        "parameter_unmapped", "parameter_not_covered",
    }  # fmt: skip
    more = {**right.parameters, "left.over": (1,)}
    assert codes(compare(of, replace(right, parameters=more))) == {"parameter_not_covered"}
    fewer = {k: v for k, v in right.parameters.items() if k != f"our.{one}"}
    assert codes(compare(of, replace(right, parameters=fewer))) == {"parameter_unknown"}
    invented = {**right.mapping, "INVENTED": "our.X"}
    assert "parameter_unknown" in codes(compare(of, replace(right, mapping=invented)))
    larger = {**right.parameters, f"our.{one}": (3,)}
    result = compare(of, replace(right, parameters=larger))
    assert codes(result) == {"parameter_size_mismatch"}
    assert result.mapped == len(names) - 1
    if len(names) > 1:
        other = next(n for n in names if n != one)
        twice = {**right.mapping, one: f"our.{other}"}
        result = compare(of, replace(right, mapping=twice))
        assert codes(result) == {"parameter_mapped_twice", "parameter_not_covered"}
        assert result.mapped == len(names) - 2


def test_the_first_that_diverges_is_the_first_in_the_flow_of_data() -> None:
    rows = [("u", "update"), ("l", "loss"), ("e2", "encoder"), ("e1", "encoder"), ("x", "environment")]
    components = flow_order(Component(n, s, ("o",), TOLERANCE) for n, s in rows)
    assert [c.name for c in components] == ["x", "e2", "e1", "l", "u"]
    outputs = {f"{c.name}/o": np.arange(3.0) for c in components}
    of = replace(golden({"o": np.arange(3.0)}), components=components, outputs=outputs)
    wrong = {**outputs, "u/o": outputs["u/o"] + 1, "e1/o": outputs["e1/o"] + 1}
    result = compare(of, matching(of, outputs=wrong))
    assert result.first_divergence is not None
    assert result.first_divergence.component.name == "e1"
    assert "e1: output o" in result.findings[0].detail


def test_of_many_updates_the_first_quantity_beyond_its_own_tolerance_is_named() -> None:
    outputs = {name: np.arange(1.0, 5.0) for name in ("001/loss", "001/weight", "002/loss", "002/weight")}
    limits = {name: 1e-6 if name.startswith("001") else 1e-4 for name in outputs}
    component = Component("c", "lockstep", tuple(outputs), TOLERANCE, "as measured", tolerances=limits)
    of = replace(golden(outputs), components=(component,))

    def judge(**off: float) -> MatchResult:
        own = {f"c/{k}": v * (1 + off.get(f"u{k[:3]}{k[4:]}", 0.0)) for k, v in outputs.items()}
        return compare(of, matching(of, outputs=own))

    assert judge(u001loss=5e-7, u002loss=5e-5, u002weight=9e-5).passed
    # Later ones are further off, and only follow.
    found = judge(u001weight=2e-6, u002loss=0.1, u002weight=0.5)
    assert [f.code for f in found.findings] == ["component_mismatch"]
    assert "c: output 001/weight differs by 2e-06 of its largest magnitude, tolerance 1e-06" in (
        found.findings[0].detail
    )
    about = {"adapter": "a", "request_id": "0" * 64, "folder": "f", "duration_sec": 1.0}
    document = component_match_document(
        ComponentEvidence(of, found, about=about), golden_path="g", time="now"
    )
    check(document, "component_match.v1", str)
    assert document["first_divergence"]["output"] == "001/weight"
    assert [row["tolerance"] for row in document["results"][0]["outputs"]] == [1e-6, 1e-6, 1e-4, 1e-4]


def test_an_output_that_is_missing_hides_no_number_that_differs() -> None:
    of = golden({name: np.arange(1.0, 5.0) for name in ("a", "b", "c")})
    outputs = {"c/b": of.outputs["c/b"] * 1.5, "c/c": of.outputs["c/c"]}
    for own, also in ((outputs, "; b differs by 0.5"), ({**outputs, "c/b": of.outputs["c/b"]}, "")):
        found = compare(of, matching(of, outputs=own)).findings[0].detail
        assert found.startswith(f"c: output a is missing{also} (stage heads"), found


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.array([1.0, np.nan]), "is not finite"),
        (np.zeros((2, 0)), "is empty, of shape (2, 0)"),
        (np.full(3, 0.5), "is constant (0.5)"),
        (np.array([True, True]), "is constant (True)"),
        (np.array(0.0), "is zero, so"),
        (np.array(["a", "b"]), "is of type <U1"),
        (np.array([1j, 2.0]), "is of type complex128"),
    ],
)
def test_a_golden_array_that_is_blind_is_refused(array: np.ndarray, told: str) -> None:
    assert array_problem(array, varied=True).startswith(told)


def test_inputs_may_be_constant_but_not_broken() -> None:
    assert array_problem(np.zeros(3), varied=False) == ""
    assert array_problem(np.array(2.0), varied=True) == ""
    assert array_problem(np.array([1.0, np.inf]), varied=False) == "is not finite"


@fast
@given(arrays, st.sampled_from(["right", "missing", "shape", "nan", "far"]))
def test_every_result_has_a_document(array: np.ndarray, how: str) -> None:
    of = golden({"o": array, "q": array})
    ours = {
        "right": array,
        "missing": None,
        "shape": array[None],
        "nan": array * np.nan,
        "far": array + 1e300,
    }
    outputs = {"c/q": array} | ({} if how == "missing" else {"c/o": ours[how]})
    evidence = ComponentEvidence(of, compare(of, matching(of, outputs=outputs)), about={
        "adapter": "a", "request_id": "0" * 64, "folder": "f", "duration_sec": 1.0,
    })  # fmt: skip
    document = component_match_document(evidence, golden_path="g", time="now")
    check(document, "component_match.v1", str)
    assert document["all_pass"] is (how == "right")
    assert document["results"][0]["pass"] is (how == "right")
