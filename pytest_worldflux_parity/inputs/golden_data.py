"""What a golden holds: components in data-flow order, their arrays and tolerances, and planted mistakes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The order in which data flow through a training step, and how far each may differ, relative to the
# largest magnitude of the official tensor (float32 on a CPU; gradients sum many roundings).
TOLERANCES = {
    "environment": 1e-5,
    "encoder": 1e-5,
    "latent": 1e-5,
    "heads": 1e-5,
    "loss": 1e-5,
    "gradient": 1e-4,
    "update": 1e-5,
}
STAGES = tuple(TOLERANCES)

Array = NDArray[Any]
Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class Component:
    """One piece of the computation.

    Attributes:
        tolerance: relative to the largest magnitude of each official output.
        reason: why the tolerance is wider than that of its stage; empty where it is not.
        insensitive: output -> why no planted mistake needs to move it; ``*`` stands for all of them.
    """

    name: str
    stage: str
    outputs: tuple[str, ...]
    tolerance: float
    reason: str = ""
    insensitive: Mapping[str, str] = field(default_factory=dict)

    def declared(self, output: str) -> str:
        """Why an output need not be shown to be sensitive; empty where it must."""
        return self.insensitive.get(output) or self.insensitive.get("*", "")

    def keys(self) -> dict[str, str]:
        """Output name -> its key among the arrays."""
        return {name: f"{self.name}/{name}" for name in self.outputs}


@dataclass(frozen=True)
class Golden:
    """What the official code computed.

    Attributes:
        folder: absolute, for the match program.
        source: repo and commit of the official code.
        tree_sha256: of the official code, where the recording states it.
        components: in data-flow order.
        parameters: official name -> shape.
        outputs: ``<component>/<output>`` -> array.
        standing: what the lock file says of it: ``pinned`` (it is the one whose hash stands there),
            ``locked`` (of the locked commit, with all that is asked of every golden of the family) or
            ``unlocked`` (no golden of the family is pinned).
    """

    folder: str
    family: str
    source: Mapping[str, str]
    components: tuple[Component, ...]
    parameters: Mapping[str, tuple[int, ...]]
    outputs: Arrays
    manifest_sha256: str
    arrays_sha256: str
    tree_sha256: str = ""
    standing: str = "unlocked"

    @property
    def identity(self) -> dict[str, str]:
        """What tells one golden from another."""
        return {"manifest_sha256": self.manifest_sha256, "arrays_sha256": self.arrays_sha256}


@dataclass(frozen=True)
class Perturbation:
    """A mistake planted into one component of our code; ``what`` says in one sentence which."""

    name: str
    component: str
    kind: str
    what: str


@dataclass(frozen=True)
class Match:
    """What a match program left.

    Attributes:
        mapping: official parameter -> ours. parameters: our parameter -> shape.
        outputs: ``<component>/<output>`` -> array.
        perturbed: ``<perturbation>/<component>/<output>`` -> array.
    """

    mapping: Mapping[str, str]
    parameters: Mapping[str, tuple[int, ...]]
    perturbations: tuple[Perturbation, ...]
    outputs: Arrays
    perturbed: Arrays
    packages: Mapping[str, Any]
    tree_sha256: str


def flow_order(components: Iterable[Component]) -> tuple[Component, ...]:
    """By stage, and within a stage as given."""
    return tuple(sorted(components, key=lambda c: STAGES.index(c.stage)))


def array_problem(array: Array, *, varied: bool) -> str:
    """Why an array of a golden is blind or broken; empty where it is fit to be compared with.

    Args:
        varied: whether it must also tell one element from another (outputs and weights must).
    """
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        return f"is of type {array.dtype}, not bool, integer or real"
    if array.size == 0:
        return f"is empty, of shape {array.shape}"
    if not np.isfinite(array).all():
        return "is not finite"
    if varied and array.size == 1 and not array.any():
        return "is zero, so a relative difference has no scale"
    if varied and array.size > 1 and (array == array.flat[0]).all():
        return f"is constant ({array.flat[0]}), so it would not show a mistake"
    return ""
