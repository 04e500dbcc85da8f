"""How an output of ours differs from the official one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ...inputs.golden_data import Array


@dataclass(frozen=True)
class Difference:
    """How one output differs from the official one.

    Attributes:
        shape: ours, None where the output is missing.
        max_abs, mean_abs: None where the two cannot be subtracted, for which ``problem`` says why.
        relative: ``max_abs`` over the largest magnitude of the official output; of statistics of many
            initialisations, the largest test statistic over its critical value.
        what: what ``relative`` is of, where it is not of the output's numbers themselves.
    """

    output: str
    golden_shape: tuple[int, ...]
    shape: tuple[int, ...] | None
    size: int
    max_abs: float | None = None
    mean_abs: float | None = None
    relative: float | None = None
    problem: str = ""
    what: str = ""

    @property
    def badness(self) -> float:
        """For the worst of several: what cannot be compared is worse than any number."""
        return math.inf if self.relative is None else self.relative

    def text(self, tolerance: float) -> str:
        """What is wrong with the output, in a clause."""
        if self.problem or self.relative is None:
            return f"output {self.output} {self.problem}"
        if self.what:
            return f"output {self.output}: {self.what}"
        return (
            f"output {self.output} differs by {self.relative:.3g} of its largest magnitude, "
            f"tolerance {tolerance:g}"
        )


def difference(output: str, golden: Array, ours: Array | None) -> Difference:
    """How one output differs; ``golden`` is finite and not all zero."""
    base = begin(output, golden, ours)
    if base.problem or ours is None:
        return base
    mean, largest, relative = distance(ours, golden, golden)
    if not math.isfinite(relative) or not math.isfinite(mean):
        return replace(base, problem="differs by more than a number can hold")
    return replace(base, max_abs=largest, mean_abs=mean, relative=relative)


def begin(output: str, golden: Array, ours: Array | None) -> Difference:
    """The difference before anything is measured: shapes, and why nothing can be."""
    shape = None if ours is None else ours.shape
    return Difference(output, golden.shape, shape, golden.size, problem=explain_incomparable(golden, ours))


def distance(one: Array, other: Array, golden: Array) -> tuple[float, float, float]:
    """Mean and largest difference, and the largest over the largest magnitude of the official output."""
    # Two finite numbers can be further apart than any number is large.
    with np.errstate(over="ignore"):
        apart = np.abs(one.astype(np.float64) - other.astype(np.float64))
        largest = apart.max()
        relative = largest / np.abs(golden.astype(np.float64)).max()
        return float(apart.mean()), float(largest), float(relative)


def explain_incomparable(golden: Array, ours: Array | None) -> str:
    """Why an output cannot be compared with the official one; empty where it can."""
    if ours is None:
        return "is missing"
    if ours.shape != golden.shape:
        return f"is of shape {ours.shape}, not {golden.shape}"
    if ours.dtype.kind not in "biuf" or ours.dtype.itemsize > 8:
        return f"is of type {ours.dtype}, not bool, integer or real"
    if not np.isfinite(ours).all():
        return f"is not finite in {int((~np.isfinite(ours)).sum())} of {ours.size} elements"
    return ""
