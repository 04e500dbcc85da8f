"""A rule, an effect and a gate each stand in one registry, under the names that schemas accept."""

from __future__ import annotations

import pytest

from pytest_worldflux_parity.judgement.all_gates import DECLARED, GATES
from pytest_worldflux_parity.judgement.metric_rules import METRIC_RULES
from pytest_worldflux_parity.judgement.stats.effect_kinds import EFFECTS
from pytest_worldflux_parity.schemas import load
from pytest_worldflux_parity.schemas.rule_names import EFFECT_NAMES, GATE_NAMES, QUESTIONS


def test_every_name_has_what_stands_behind_it() -> None:
    assert METRIC_RULES.keys() == QUESTIONS.keys()
    assert set(EFFECT_NAMES) < EFFECTS.keys()
    assert {"components", DECLARED, *GATES} == set(GATE_NAMES)


@pytest.mark.parametrize(
    ("schema", "at", "names"),
    [
        ("suite.v1", ("$defs", "metric", "properties", "rule"), tuple(QUESTIONS)),
        ("run.v1", ("$defs", "metric", "properties", "rule"), tuple(QUESTIONS)),
        ("run.v1", ("properties", "gates", "propertyNames"), GATE_NAMES),
    ],
)
def test_schemas_take_names_from_the_registry(
    schema: str, at: tuple[str, ...], names: tuple[str, ...]
) -> None:
    part = load(schema)
    for key in at:
        part = part[key]
    assert tuple(part["enum"]) == names
