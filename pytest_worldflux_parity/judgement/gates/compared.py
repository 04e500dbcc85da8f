"""How many components of a family were compared, against what the lock file pins for it.

Said by the suite's family and the lock: a backend that names no match program cannot take it back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...inputs.golden_data import Golden
from ...inputs.lock import GoldenPin
from ...suite.suite import Suite
from . import Finding
from .components import ComponentEvidence


@dataclass(frozen=True)
class Compared:
    """What there is to compare the components of a family with, and what was compared.

    Attributes:
        pin: the golden that the lock pins; None where it pins none of the family.
        found: None where components were not to be compared.
    """

    family: str
    pin: GoldenPin | None = None
    found: ComponentEvidence | None = None

    @property
    def total(self) -> int | None:
        """How many components there are; None where nobody says so."""
        if self.found is not None:
            return len(self.found.golden.components)
        return self.pin.components if self.pin else None

    @property
    def count(self) -> int:
        """How many were compared, whatever came of it."""
        found = self.found
        return len(found.result.components) if found and found.result and not found.not_run else 0

    @property
    def sentence(self) -> str:
        """How many were compared, for whoever reads the verdict."""
        if self.found is None and self.pin is None:
            return f"no golden of the family {self.family} exists"
        if self.found is not None and self.found.not_run:
            return self.found.not_run
        count = f"{self.count} of {self.total} components" if self.total else "no components"
        unpinned = self.found is not None and self.found.golden.standing == "unlocked"
        part = ", partial" if self.found is not None and self.found.golden.part else ""
        with_what = ", with a golden that no lock entry pins" if unpinned else ""
        return f"{count} of the family {self.family} were compared{part}{with_what}"

    @property
    def left_out(self) -> str:
        """:attr:`sentence` where a part was compared, or none though the lock pins a golden; else empty."""
        if self.found is not None and not self.found.not_run:
            return self.sentence if self.found.golden.part else ""
        return "" if self.pin is None else self.sentence

    def finding(self) -> Finding:
        """That they had to be compared and were not."""
        hint = "have the worldflux side be a live backend whose backend.yaml names a `match:`"
        return Finding("components_not_compared", f"{self.sentence}; to mend: {hint}")


def find_partial(suite: Suite, golden: Golden) -> Iterator[Finding]:
    """That a suite declares a part of the components, and requires all of them."""
    if golden.part and suite.requires_components:
        names = ", ".join(c.name for c in golden.compared)
        text = f"{golden.part}: the suite declares {names}, and requires all by `component_match: "
        yield Finding("components_partial", f"{text}{suite.component_match}`")
