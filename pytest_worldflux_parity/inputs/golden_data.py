"""What a golden holds: components in data-flow order, their arrays and tolerances, and planted mistakes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from ..wire.match import STAGES

# The order in which data flow through a training step, and how far each may differ, relative to the
# largest magnitude of the official tensor (float32 on a CPU; gradients sum many roundings).
TOLERANCES = {stage: 1e-4 if stage == "gradient" else 1e-5 for stage in STAGES}

# The columns of an output that is compared as a distribution, over the elements of one parameter.
PARAMETER_STATISTICS = ("mean", "deviation", "mean absolute value")

Array = NDArray[Any]
Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class Component:
    """One piece of the computation.

    Attributes:
        tolerance: relative to the largest magnitude of each official output.
        rule: ``tolerance``, or ``distribution``: outputs are statistics of many initialisations.
        tolerances: output -> its own, where it has one.
        reason: why the tolerance is wider than that of its stage; empty where it is not.
        insensitive: output -> why no planted mistake needs to move it; ``*`` stands for all of them.
    """

    name: str
    stage: str
    outputs: tuple[str, ...]
    tolerance: float
    reason: str = ""
    insensitive: Mapping[str, str] = field(default_factory=dict)
    rule: str = "tolerance"
    tolerances: Mapping[str, float] = field(default_factory=dict)

    @property
    def case(self) -> tuple[str, str]:
        """Kind and name of its test case: ``component``, or ``lockstep`` and what its updates begin from."""
        kind = "lockstep" if self.stage == "lockstep" else "component"
        return kind, self.name.removeprefix(f"{kind}_")

    def limit(self, output: str) -> float:
        """How far an output may differ."""
        return self.tolerances.get(output, self.tolerance)

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
        declared: names of the components that the suite has compared; empty: all of them.
        changed_files: of the official code, changed before it ran.
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
    changed_files: tuple[str, ...] = ()
    standing: str = "unlocked"
    declared: tuple[str, ...] = ()

    @property
    def compared(self) -> tuple[Component, ...]:
        """The components that are compared, in data-flow order."""
        return tuple(c for c in self.components if not self.declared or c.name in self.declared)

    @property
    def part(self) -> str:
        """How much is compared where that is not everything: ``2 of 25, partial``; else empty."""
        count, total = len(self.compared), len(self.components)
        return "" if count == total else f"{count} of {total}, partial"

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
