"""(proof suite, evidence of its parts) -> gates and decision of the whole.

The gates are those of every suite and what :mod:`.proof.validity` asks beside them; a gate that has
nothing to look at does not hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ..execution.records import is_readable
from ..suite.proof import ProofSuite
from ..suite.recipe_terms import RecipeTerms
from ..suite.seed_plan import SeedPlan
from .all_gates import NO_RECORD, Gate, components_gate, gate_of, gates_of, noted_warnings
from .gates import Finding
from .gates.components import ComponentEvidence
from .gates.coverage import apart_findings, describe_tolerated
from .gates.fixture import BANNER
from .judgement_input import Evidence, list_what_ran
from .proof.decision import judge_proof
from .proof.results import ProofDecision, ProofGates
from .proof.validity import alike_findings, keys_beside, proof_findings, unknown_backends
from .run_log import RunLog
from .stats.arrays import Verdict
from .stats.measurements import Observed
from .walls import Isolation, isolation_of

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
        return isolation_of(list_what_ran(self.lines, matches))

    def sentence(self, reason: str) -> str:
        """The sentence of the verdict: of a claim also that programs ran open."""
        within = self.isolation
        count = sum(within.ran_open.values())
        if self.proof.is_claim and count:
            reason = f"with {count} of {within.walled + count} runs and matches open: {reason}"
        return self.parts[0].sentence(reason, self.parts[1:]) if self.parts else reason


@dataclass(frozen=True)
class ProofJudgement:
    """The verdict on a proof suite."""

    evidence: ProofEvidence
    gates: tuple[Gate, ...]
    decision: ProofDecision

    @property
    def verdict(self) -> Verdict:
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
        elsewhere = (describe_tolerated(part.suite, part.observed) for part in self.evidence.parts)
        first = [BANNER] * self.fixture + [NO_CLAIM] * (not proof.is_claim)
        return (*first, *proof.warnings, *filter(None, elsewhere), *self._recipe_notes)

    @property
    def _recipe_notes(self) -> Iterator[str]:
        """On what terms recipes were compared, of each part whose suite names some."""
        for part in self.evidence.parts:
            if part.suite.recipe_terms != RecipeTerms() and part.recipe.sentence:
                yield f"recipe{f' of {part.label}' if part.label else ''}: {part.recipe.sentence}"

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(w for gate in self.gates for w in gate.warnings)

    def gate(self, name: str) -> Gate:
        return next(g for g in self.gates if g.name == name)


def judge_proof_suite(evidence: ProofEvidence) -> ProofJudgement:
    """The verdict on a proof suite."""
    proof, gates = evidence.proof, _judge_gates(evidence)
    observed, tasks = _join_observed(evidence.parts), proof.tasks(evidence.plan)
    decision = judge_proof(proof.settings, tasks, observed, _summarise_gates(gates), plan=evidence.plan)
    decision = replace(decision, reason=evidence.sentence(decision.reason))
    return ProofJudgement(evidence, gates, decision)


def _judge_gates(evidence: ProofEvidence) -> tuple[Gate, ...]:
    """Components and coverage as in a quick suite; validity holds what every other gate found."""
    per_part = [gate for part in evidence.parts for gate in gates_of(part)]
    return (
        _judge_all_components(evidence),
        merge_gates("coverage", (g for g in per_part if g.name == "coverage")),
        _judge_whole_validity(evidence, [g for g in per_part if g.name not in ("coverage", "components")]),
    )


def _join_observed(parts: Sequence[Evidence]) -> Observed:
    found = [part.observed for part in parts]
    return Observed(
        {key: values for one in found for key, values in one.values.items()},
        tuple(sorted(missing for one in found for missing in one.missing)),
        repeated=frozenset().union(*(one.repeated for one in found)),
    )


def _judge_all_components(evidence: ProofEvidence) -> Gate:
    """Of every family; one that the suite wants and that nobody compared is open, not held."""
    proof = evidence.proof
    if proof.component_match == "none":
        # A manifest of the earlier system may claim parity and ask for none.
        left_out = [p.compared.finding() for p in evidence.parts if p.golden and proof.is_claim]
        return gate_of("components", left_out, "the suite asks for none")
    # Two parts may be of one family, with other programs.
    found = [(p.suite, p.label or p.suite.family, p.components) for p in evidence.parts]
    if proof.component_match == "live":
        suites = {p.suite.family: p.suite for p in evidence.parts}
        found += [(s, f"{f}, from this run's checkpoint", evidence.live.get(f)) for f, s in suites.items()]
    nobody = gate_of("components", (), undecided="components were not compared")
    gates = ((name, components_gate(match, suite) if match else nobody) for suite, name, match in found)
    return merge_gates("components", (replace(g, reason=f"{name}: {g.reason}") for name, g in gates))


def _judge_whole_validity(evidence: ProofEvidence, gates: Sequence[Gate]) -> Gate:
    found = [*evidence.doubts, *(f for g in gates for f in g.findings), *_required_findings(evidence)]
    warnings = [*(w for g in gates for w in g.warnings), *noted_warnings(evidence.noted)]
    warnings += _warn_of_unknown_words(evidence)
    if not found and not evidence.lines:
        return Gate("validity", "inconclusive", NO_RECORD)
    undecided = next((g.reason for g in gates if g.verdict != "pass"), "")
    held = f"all {len(evidence.lines)} records are what the suite asks for"
    return gate_of("validity", found, held, warnings, undecided)


def _required_findings(evidence: ProofEvidence) -> Iterator[Finding]:
    proof = evidence.proof
    if proof.is_claim:
        for part in evidence.parts:
            yield from part.packages
    for part in evidence.parts:
        # A manifest names no step at which sides are compared: where they end is what they trained.
        if proof.is_claim or proof.commands:
            yield from apart_findings(part.suite, part.observed)
        commit = evidence.commits.get(part.suite.family)
        for line in part.lines:
            yield from proof_findings(proof, part.suite, line, commit)
        yield from alike_findings(_select_readable(part.lines), keys_beside(part.suite))


def _select_readable(lines: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What cannot be read has a finding of its own."""
    return [line for line in lines if is_readable(line)]


def _warn_of_unknown_words(evidence: ProofEvidence) -> list[str]:
    """Of what a claim could not rest on, where this is none: a stranger's environments have other names."""
    proof = evidence.proof
    if proof.is_claim:
        return []
    found = unknown_backends(_select_readable(evidence.lines), proof.requirements)
    return list(dict.fromkeys(f"for a claim this would be a finding: {f.detail}" for f in found))


def merge_gates(name: str, gates: Iterable[Gate]) -> Gate:
    """Several gates as one: broken where one is, else open where one is."""
    every = list(gates)
    if not every:
        return gate_of(name, [Finding("nothing_expected", "the suite has no part")])
    words: tuple[Verdict, ...] = ("fail", "inconclusive", "pass")
    word = next(w for w in words if any(g.verdict == w for g in every))
    return Gate(
        name,
        word,
        "; ".join(g.reason for g in every if g.verdict == word),
        tuple(w for g in every for w in g.warnings),
        tuple(f for g in every for f in g.findings),
    )


def _summarise_gates(gates: Sequence[Gate]) -> ProofGates:
    words = {"pass": True, "fail": False, "inconclusive": None}
    verdicts = {g.name: words[g.verdict] for g in gates}
    told = [(g.verdict, f"{g.name}: {g.reason}") for g in gates if g.name != "coverage"]
    broken, undecided = (tuple(t for v, t in told if v == word) for word in ("fail", "inconclusive"))
    return ProofGates(verdicts["validity"], verdicts["components"], broken=broken, open=undecided)
