"""Components of the committed golden by our code as it is now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from backends.worldflux_dreamerv3.match.__main__ import FAMILY, RECORD_COMMAND
from backends.worldflux_dreamerv3.match.components import SINGLE, find_group
from backends.worldflux_dreamerv3.match.perturbations import Session
from pytest_worldflux_parity import wire
from pytest_worldflux_parity.inputs.golden import read_golden
from pytest_worldflux_parity.judgement.gates.differences import difference
from tests.components.match_runs import DREAMERV3


def computed(session: Session, component: str) -> dict[str, Any]:
    """One component of the committed golden by our code as it is now, compiled anew and alone."""
    if component in SINGLE:
        own = session.golden.arrays.below(f"inputs/{component}/")
        return SINGLE[component](session.golden, own)
    setting = session.settings[component.partition("_")[0]]
    name = component.removeprefix(f"{setting.name}_")
    program = setting.compile(find_group(name), [name])
    return setting.named(program(setting.state, setting.shared, setting.own))[name]


def session() -> Session:
    """The committed golden."""
    return Session(own_golden(DREAMERV3.golden))


def own_golden(folder: Path) -> wire.Golden:
    """A golden folder as the program reads it."""
    return wire.read_golden(folder, FAMILY, RECORD_COMMAND)


def diverging(outputs: dict[str, dict[str, Any]]) -> list[str]:
    """The components whose outputs are not the official ones, in data-flow order."""
    golden = read_golden(DREAMERV3.golden, "dreamerv3")
    found = []
    for component in golden.components:
        ours = outputs.get(component.name)
        if ours is None:
            continue
        keys = component.keys()
        worst = max(difference(k, golden.outputs[keys[k]], np.asarray(v)).badness for k, v in ours.items())
        if not worst <= component.tolerance:
            found.append(component.name)
    return found
