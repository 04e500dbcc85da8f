"""What a decision is made of: gates, cells within their families, tasks, and the whole."""

from __future__ import annotations

from dataclasses import dataclass

from ...suite.proof_settings import ProofSettings, ProofTask
from ...suite.seed_plan import SeedPlan
from ..stats.arrays import Verdict
from ..stats.measurements import Missing
from .cells import Cell


@dataclass(frozen=True)
class ProofGates:
    """What the gates before the statistics said.

    Attributes:
        validity: None where it had nothing to look at, which is not a pass.
        component_match: None where there is no report.
        broken: a sentence for each gate that is broken, coverage left out. open: for each undecided one.
    """

    validity: bool | None = None
    component_match: bool | None = None
    broken: tuple[str, ...] = ()
    open: tuple[str, ...] = ()


@dataclass(frozen=True)
class JudgedCell:
    """One metric of one task within its families.

    Attributes:
        p_value: what the correction was over: of TOST, adjusted for a pilot, 1 where it cannot pass.
        holm_primary: None for a secondary metric. passed: TOST and non-inferiority, corrected as the
            suite says.
        different: a difference beyond the bounds is shown (Holm over everything).
        passed_bayesian: None where the suite asks for none.
        seeds_needed: seeds per side for the wanted power, or None; ``advice`` says it in words.
    """

    cell: Cell
    p_value: float
    holm_primary: float | None
    holm_all_metrics: float
    p_outside_holm: float
    passed: bool
    different: bool
    passed_bayesian: bool | None
    seeds_needed: int | None = None
    advice: str = ""

    @property
    def name(self) -> str:
        return f"{self.cell.task} {self.cell.rule.name}"


@dataclass(frozen=True)
class JudgedTask:
    """One task. ``cells`` in the order of the suite's metrics, the primary one first."""

    task: ProofTask
    cells: tuple[JudgedCell, ...]

    @property
    def passed_primary(self) -> bool:
        return bool(self.cells) and self.cells[0].passed

    @property
    def passed_all_metrics(self) -> bool:
        return bool(self.cells) and all(c.passed for c in self.cells)

    @property
    def passed_bayesian(self) -> bool | None:
        """None where the suite asks for no Bayesian check."""
        if any(c.passed_bayesian is None for c in self.cells):
            return None
        return bool(self.cells) and all(c.passed_bayesian for c in self.cells)


@dataclass(frozen=True)
class ProofDecision:
    """The decision and everything that it rests on.

    Attributes:
        missing: every (task, seed, system) that is expected and not there, or lacks a metric.
        task_seeds, complete_task_seeds: how many (task, seed) are expected, and complete.
        expected: how many (task, seed, system) are expected.
        pilot: nothing was judged, since this is the pilot of ``auto_power``. plan: the plan of the seeds,
            to be sealed after a pilot.
        seeds_needed: per side, of the cell that needs most; None where unknown or of no help.
    """

    settings: ProofSettings
    tasks: tuple[JudgedTask, ...]
    gates: ProofGates
    missing: tuple[Missing, ...]
    task_seeds: int
    complete_task_seeds: int
    expected: int
    family: int
    pilot: bool
    plan: SeedPlan | None
    verdict: Verdict
    reason: str
    seeds_needed: int | None

    @property
    def missing_pairs(self) -> int:
        """How many (task, seed, system) are missing; the name is that of the earlier system."""
        return len(self.missing)

    @property
    def cells(self) -> tuple[JudgedCell, ...]:
        return tuple(c for t in self.tasks for c in t.cells)

    @property
    def pass_primary(self) -> bool:
        return bool(self.tasks) and all(t.passed_primary for t in self.tasks)

    @property
    def pass_all_metrics(self) -> bool:
        return bool(self.tasks) and all(t.passed_all_metrics for t in self.tasks)

    @property
    def pass_bayesian(self) -> bool | None:
        if not self.settings.bayesian.enable:
            return None
        return bool(self.tasks) and all(t.passed_bayesian for t in self.tasks)

    @property
    def pass_final(self) -> bool:
        """Whether everything holds that must: the key ``parity_pass_final``."""
        return self.verdict == "pass"
