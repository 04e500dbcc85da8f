"""(proof suite, evidence of its parts) -> gates and decision of the whole.

The gates are those of every suite and what :mod:`.proof.validity` asks beside them; a gate that has
nothing to look at does not hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ..execution.records import is_readable
from ..suite.pairs import RunKey
from ..suite.proof import ProofSuite
from ..suite.seed_plan import SeedPlan
from .all_gates import Gate, Word, components_gate, gate_of, gates_of, noted_warnings
from .gates import Finding
from .gates.components import ComponentEvidence
from .gates.coverage import apart_findings, tolerated
from .gates.fixture import BANNER
from .judgement_input import Evidence, ran
from .proof.decision import Begun, begin_cells, judge_proof
from .proof.results import ProofDecision, ProofGates
from .proof.validity import alike_findings, requirement_findings, unknown_backends
from .run_log import RunLog
from .stats.measurements import Missing, Observed, Value
from .walls import Isolation, isolation_of

VALIDITY = ("validity", "independence")
NO_CLAIM = "no claim: this run is not evidence for a public claim"


@dataclass(frozen=True)
class ProofEvidence:
    """Everything that the verdict on a proof suite rests on.

    Attributes:
        parts: of the suite's parts, in its order.
        plan: the sealed plan of seeds of ``auto_power``, None in the pilot.
        commits: family -> the locked commit of its official program, None where none is locked.
        live: components against recordings of this run's own official checkpoints, by family.
        doubts: findings about the suite as a whole: what changed, what the lock does not know.
        noted: what came beside the programs, and changed nothing that ran.
    """

    proof: ProofSuite
    parts: tuple[Evidence, ...]
    plan: SeedPlan | None
    commits: Mapping[str, str | None]
    live: Mapping[str, ComponentEvidence]
    doubts: tuple[Finding, ...] = ()
    noted: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[Mapping[str, Any], ...]:
        """The lines that count, of all parts."""
        return tuple(line for part in self.parts for line in part.lines)

    @property
    def log(self) -> RunLog:
        """What the run's log says of itself."""
        return self.parts[0].log if self.parts else RunLog()

    @property
    def isolation(self) -> Isolation:
        """What kept the programs in their folders."""
        matches = (*(part.components for part in self.parts), *self.live.values())
        return isolation_of(ran(self.lines, matches))

    def sentence(self, reason: str) -> str:
        """The sentence of the verdict: of a claim also that programs ran open."""
        within = self.isolation
        count = sum(within.ran_open.values())
        if self.proof.is_claim and count:
            reason = f"with {count} of {within.walled + count} runs and matches open: {reason}"
        return self.parts[0].sentence(reason) if self.parts else reason


@dataclass(frozen=True)
class ProofJudgement:
    """The verdict on a proof suite."""

    evidence: ProofEvidence
    gates: tuple[Gate, ...]
    decision: ProofDecision

    @property
    def verdict(self) -> Word:
        return self.decision.verdict

    @property
    def reason(self) -> str:
        return self.decision.reason

    @property
    def suite_id(self) -> str:
        return self.evidence.proof.suite_id

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """Of all gates."""
        return tuple(f for gate in self.gates for f in gate.findings)

    @property
    def fixture(self) -> bool:
        """Whether records are made up, so that nothing of the run is evidence."""
        return any(part.fixtures for part in self.evidence.parts)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of the run before the verdict."""
        proof = self.evidence.proof
        fixture = (BANNER,) if self.fixture else ()
        elsewhere = (tolerated(part.suite, part.observed) for part in self.evidence.parts)
        return (
            *fixture,
            *(() if proof.is_claim else (NO_CLAIM,)),
            *proof.warnings,
            *(text for text in elsewhere if text),
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(w for gate in self.gates for w in gate.warnings)

    def gate(self, name: str) -> Gate:
        return next(g for g in self.gates if g.name == name)


def begin(
    proof: ProofSuite, plan: SeedPlan | None, parts: Sequence[Evidence]
) -> AbstractContextManager[Begun]:
    """Test the values of a suite's parts while the block gathers the rest of its evidence."""
    return begin_cells(proof.settings, proof.tasks(plan), _observed(parts))


def judge_proof_suite(evidence: ProofEvidence, begun: Begun | None = None) -> ProofJudgement:
    """The verdict on a proof suite.

    Args:
        begun: what :func:`begin` gives, where it was asked.
    """
    with nullcontext(begun) if begun else begin(evidence.proof, evidence.plan, evidence.parts) as cells:
        gates = _gates(evidence)
        decision = judge_proof(
            evidence.proof.settings,
            evidence.proof.tasks(evidence.plan),
            _observed(evidence.parts),
            _proof_gates(gates),
            plan=evidence.plan,
            begun=cells,
        )
    decision = replace(decision, reason=evidence.sentence(decision.reason))
    return ProofJudgement(evidence, gates, decision)


def _gates(evidence: ProofEvidence) -> tuple[Gate, ...]:
    per_part = [gates_of(part) for part in evidence.parts]
    return (
        _components(evidence),
        _merged("coverage", (g for gates in per_part for g in gates if g.name == "coverage")),
        _validity(evidence, [g for gates in per_part for g in gates if g.name in VALIDITY]),
    )


def _observed(parts: Sequence[Evidence]) -> Observed:
    values: dict[tuple[str, str, str], Mapping[int, Value]] = {}
    missing: list[Missing] = []
    repeated: set[RunKey] = set()
    for part in parts:
        values.update(part.observed.values)
        missing += part.observed.missing
        repeated |= part.observed.repeated
    return Observed(values, tuple(sorted(missing)), repeated=frozenset(repeated))


def _components(evidence: ProofEvidence) -> Gate:
    """Of every family; one that the suite wants and that nobody compared is open, not held."""
    proof = evidence.proof
    if proof.component_match == "none":
        # A manifest of the earlier system may claim parity and ask for none.
        left_out = [p.compared.finding() for p in evidence.parts if p.golden and proof.is_claim]
        return gate_of("components", left_out, "the suite asks for none", ())
    compared: dict[str, ComponentEvidence | None] = {p.suite.family: p.components for p in evidence.parts}
    found = [(f, compared[f]) for f in proof.families]
    if proof.component_match == "live":
        found += [(f"{f}, from this run's checkpoint", evidence.live.get(f)) for f in proof.families]
    return _merged("components", (_named(name, match) for name, match in found))


def _named(name: str, match: ComponentEvidence | None) -> Gate:
    if match is None:
        return Gate("components", "inconclusive", f"{name}: components were not compared")
    gate = components_gate(match)
    return Gate("components", gate.verdict, f"{name}: {gate.reason}", gate.warnings, gate.findings)


def _validity(evidence: ProofEvidence, gates: Sequence[Gate]) -> Gate:
    found = [*evidence.doubts, *(f for g in gates for f in g.findings), *_required(evidence)]
    warnings = (
        *(w for g in gates for w in g.warnings),
        *noted_warnings(evidence.noted),
        *_unknown_words(evidence),
    )
    if found:
        return gate_of("validity", found, "", warnings)
    if not evidence.lines:
        return Gate("validity", "inconclusive", "there is no record yet whose validity could be checked")
    undecided = next((g for g in gates if g.verdict != "pass"), None)
    if undecided is not None:
        return Gate("validity", "inconclusive", undecided.reason, warnings)
    return Gate(
        "validity", "pass", f"all {len(evidence.lines)} records are what the suite asks for", warnings
    )


def _required(evidence: ProofEvidence) -> Iterator[Finding]:
    proof = evidence.proof
    if proof.is_claim:
        yield from unknown_backends(_readable(evidence.lines), proof.requirements)
        for part in evidence.parts:
            yield from part.packages
    for part in evidence.parts:
        # A manifest names no step at which sides are compared: where they end is what they trained.
        if proof.is_claim or proof.commands:
            yield from apart_findings(part.suite, part.observed)
        commit = evidence.commits.get(part.suite.family)
        readable = _readable(part.lines)
        for line in readable:
            required = proof.requirements.get(line["task_id"])
            task = next((t for t in part.suite.tasks if t.id == line["task_id"]), None)
            if required is not None and task is not None:
                yield from requirement_findings(line, task, required, commit)
        yield from alike_findings(readable)


def _readable(lines: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What cannot be read has a finding of its own."""
    return [line for line in lines if is_readable(line)]


def _unknown_words(evidence: ProofEvidence) -> Iterator[str]:
    """Of what a claim could not rest on, where this is none: a stranger's environments have other names."""
    proof = evidence.proof
    if not proof.is_claim:
        found = list(unknown_backends(_readable(evidence.lines), proof.requirements))
        for text in dict.fromkeys(f.detail for f in found):
            yield f"for a claim this would be a finding: {text}"


def _merged(name: str, gates: Iterable[Gate]) -> Gate:
    """Several gates as one: broken where one is, else open where one is."""
    every = list(gates)
    if not every:
        return Gate(name, "fail", "the suite has no part", (), (Finding("nothing_expected", "no part"),))
    for word in ("fail", "inconclusive", "pass"):
        own = [g for g in every if g.verdict == word]
        if own:
            break
    return Gate(
        name,
        own[0].verdict,
        "; ".join(g.reason for g in own),
        tuple(w for g in every for w in g.warnings),
        tuple(f for g in every for f in g.findings),
    )


def _proof_gates(gates: Sequence[Gate]) -> ProofGates:
    by_name = {g.name: g for g in gates}
    held = {"pass": True, "fail": False, "inconclusive": None}
    told = [g for g in gates if g.name != "coverage"]
    return ProofGates(
        validity=held[by_name["validity"].verdict],
        component_match=held[by_name["components"].verdict],
        broken=tuple(f"{g.name}: {g.reason}" for g in told if g.verdict == "fail"),
        open=tuple(f"{g.name}: {g.reason}" for g in told if g.verdict == "inconclusive"),
    )
