"""A policy and the suites of an expectation -> the rule of each suite, by its id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from ..errors import DocumentError, ParityError
from ..evidence.signing import PublicKey
from ..judgement.facts import Facts
from ..judgement.gates import Finding
from ..suite import proof_file, suite_file
from ..suite.suite import ArtifactSide
from .admission import admission_findings
from .expectation import Expectation
from .release_policy import LISTED, REQUIRED, STRICT, WHERE_TABLE, Policy, SuiteRule, read_policy


@dataclass(frozen=True)
class Rules:
    """What a policy asks of each suite.

    Attributes:
        by_id: a rule with the stage ``required_where_table`` has become ``required`` or ``listed``.
        tracks: suite id -> its track, where a file says so.
        without_table: ids of suites that would be required if their table were there.
        unknown: paths that the policy names and no suite can be read from, and why.
    """

    policy: Policy | None = None
    by_id: Mapping[str, SuiteRule] = field(default_factory=dict)
    tracks: Mapping[str, str] = field(default_factory=dict)
    without_table: frozenset[str] = frozenset()
    unknown: Mapping[str, str] = field(default_factory=dict)

    def of(self, suite_id: str) -> SuiteRule:
        """The rule of a suite; one that asks for nothing but evidence where the policy names none."""
        return self.by_id.get(suite_id) or replace(STRICT, suite=suite_id, stage=LISTED)

    @property
    def signers(self) -> tuple[PublicKey, ...]:
        """Keys that the policy knows."""
        return tuple(self.policy.signers.values()) if self.policy else ()

    def of_other_track(self, suite_id: str, track: str) -> Iterator[Finding]:
        """That what goes by the id of a suite of the policy is of its track."""
        own = self.tracks.get(suite_id, track)
        if self.policy is not None and own != track:
            text = f"{self.policy.path} names the {own} suite {suite_id!r}, and this is a {track} suite"
            yield Finding("not_in_policy", text)

    def admit(self, *, must: bool) -> Callable[[Facts], Sequence[Finding]]:
        """What the policy does not admit of facts; nothing where there is none.

        Args:
            must: whether it has to name the suite.
        """

        def findings(facts: Facts) -> Sequence[Finding]:
            if self.policy is None:
                return ()
            if must and facts.suite_id not in self.by_id:
                text = f"{self.policy.path} names no suite with the id {facts.suite_id!r}"
                return [Finding("not_in_policy", text)]
            other = self.of_other_track(facts.suite_id, facts.track)
            return [*other, *admission_findings(self.of(facts.suite_id), facts)]

        return findings

    def requiring(self, suite_ids: Iterable[str]) -> Rules:
        """These rules, where suites of a command line are required too."""
        more = {s: replace(self.of(s), stage=REQUIRED) for s in suite_ids}
        return replace(self, by_id={**self.by_id, **more})


def rules_of(expected: Expectation, *, must: bool = False) -> Rules:
    """The rules of an expectation's policy.

    Args:
        must: whether the policy has to be there.

    Raises:
        DocumentError: the policy cannot be read, or names two files of one suite.
    """
    if not must and not expected.policy.exists():
        return Rules()
    policy = read_policy(expected.policy)
    if policy.by_id:
        return Rules(policy, policy.rules)
    found: dict[str, SuiteRule] = {}
    tracks, unknown, absent = dict[str, str](), dict[str, str](), set[str]()
    for name, rule in policy.rules.items():
        try:
            suite_id, track, has_table = _read_suite_of_rule(expected, expected.root / name)
        except ParityError as error:
            # In a rehearsal only the suites beside its lock file are there.
            if not expected.rehearsal:
                unknown[name] = error.line()
            continue
        if suite_id in found:
            raise DocumentError(f"{found[suite_id].suite} and {name} are one suite", where=str(policy.path))
        if rule.stage == WHERE_TABLE and not has_table:
            absent.add(suite_id)
        stage = (REQUIRED if has_table else LISTED) if rule.stage == WHERE_TABLE else rule.stage
        found[suite_id], tracks[suite_id] = replace(rule, stage=stage), track
    if expected.rehearsal:
        found = {s: r for s, r in found.items() if expected.suite_path(s, tracks[s]) is not None}
    return Rules(policy, found, tracks, frozenset(absent), unknown)


def rules_of_suite(policy: Path, suite: Path) -> Rules:
    """The rules that a policy has for a reader's own suite file, which stands in no project of his.

    The policy's row is the one whose file has the same name.

    Raises:
        ParityError: the policy or the suite cannot be read.
    """
    named = read_policy(policy)
    if named.by_id:
        return Rules(named, named.rules)
    track = suite_file.read(suite).track
    suite_id = (proof_file if track == "proof" else suite_file).load(suite).suite_id
    rows = [rule for name, rule in named.rules.items() if PurePosixPath(name).name == suite.name]
    if len(rows) != 1:
        return Rules(named)
    # Whoever names a suite has decided that it counts.
    return Rules(named, {suite_id: replace(rows[0], stage=REQUIRED)}, {suite_id: track})


def _read_suite_of_rule(expected: Expectation, path: Path) -> tuple[str, str, bool]:
    """Id and track of a suite, and whether the candidate's table is there where it names one.

    Raises:
        SuiteError: it cannot be read.
    """
    track = suite_file.read(path).track
    if track == "proof":
        return proof_file.load(path).suite_id, track, True
    suite = suite_file.load(path)
    own = expected.suite_path(suite.suite_id, track) if expected.rehearsal else None
    side = (suite_file.load(own) if own else suite).sides["worldflux"]
    return suite.suite_id, track, not isinstance(side, ArtifactSide) or expected.has(side.path)
