"""What a policy does not admit of a judged run: each thing by its name, and nothing of a whole run."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from pytest_worldflux_parity.inputs.lock import GoldenPin
from pytest_worldflux_parity.judgement.facts import Facts, Program, Rule
from pytest_worldflux_parity.judgement.gates.compared import Compared
from pytest_worldflux_parity.judgement.gates.recipes import ComparedRecipes
from pytest_worldflux_parity.judgement.run_log import AttemptCounts, RunLog
from pytest_worldflux_parity.judgement.walls import NO_ISOLATION, Isolation
from pytest_worldflux_parity.release.admission import admission_findings
from pytest_worldflux_parity.release.release_policy import LISTED, REQUIRED, SuiteRule
from pytest_worldflux_parity.suite.recipe_terms import RecipeTerms, Twin

NOW = datetime(2026, 1, 11, tzinfo=UTC)
COMMIT = "a" * 40
CAMPAIGN = {
    "schema_version": "worldflux.parity.campaign_table.v1", "adapter": "ours", "commit": COMMIT,
    "command": ["python", "train.py"],
}  # fmt: skip
OFFICIAL = Program("official", "", "theirs", "https://host/owner/name", COMMIT, "0" * 64)
CANDIDATE = Program("worldflux", "", "ours", None, None, "1" * 64)
OFFICIAL_TABLE = replace(OFFICIAL, is_table=True, pinned=True)
TABLE = replace(CANDIDATE, is_table=True, provenance=CAMPAIGN)
WHOLE = Facts(
    suite_id="s", suite_sha256="2" * 64, track="quick", claim="none", verdict="pass",
    programs=(OFFICIAL, CANDIDATE), components={}, tasks=1,
    seeds={"official": (10, 10), "worldflux": (4, 4)},
    rules=(Rule("episode_return", "calibrated", 0.05, 0.05, (-0.01, 0.01), True),),
    budgets=((1000, 0.0),), choices={},
    attempts={"official": AttemptCounts(), "worldflux": AttemptCounts(ok=4)},
    log=RunLog(), lost_lines=0, resumed=False, warnings=(), apart=(), run_id="r",
    time="2026-01-01T00:00:00+00:00",
    device="cpu", machine={}, project={"commit": COMMIT, "changed": False}, fixture=False,
    isolation=Isolation(walled=4),
)  # fmt: skip
NEEDED = SuiteRule("suites/quick/s.yaml", "fake", REQUIRED)


def codes(rule: SuiteRule, facts: Facts) -> list[str]:
    return [finding.code for finding in admission_findings(rule, facts, NOW)]


def tables(**candidate: Any) -> tuple[Program, ...]:
    return OFFICIAL_TABLE, replace(TABLE, provenance={**CAMPAIGN, **candidate})


def test_a_whole_run_has_nothing_to_admit() -> None:
    assert codes(NEEDED, WHOLE) == []
    assert (
        codes(NEEDED, replace(WHOLE, programs=(OFFICIAL_TABLE, TABLE), project=None, isolation=NO_ISOLATION))
        == []
    )


def test_the_lock_of_the_command_line_is_a_choice_unless_it_is_the_judges() -> None:
    chosen = replace(WHOLE, choices={"lock": "with the lock mine.json in place of the project's"})
    assert codes(NEEDED, chosen) == ["overrides"]
    assert codes(NEEDED, replace(chosen, same_lock=True)) == []


def side(**counts: int) -> Facts:
    """Facts with these attempts of the candidate."""
    return replace(WHOLE, attempts={"official": AttemptCounts(), "worldflux": AttemptCounts(**counts)})


def test_what_its_program_cannot_have_caused_has_not_failed() -> None:
    """A session that was lost behind walls, a node that went down, a job that was preempted."""
    assert codes(NEEDED, side(ok=4, lost=9, excused=9)) == []
    assert codes(NEEDED, side(ok=4, lost=9, excused=8)) == []
    assert codes(NEEDED, side(ok=4, lost=9, excused=7)) == ["failed_attempts"]


@pytest.mark.parametrize("ended", ["failed", "killed", "lost"])
def test_one_attempt_of_a_side_may_fail_and_one_in_fifty(ended: str) -> None:
    assert codes(NEEDED, side(ok=4, **{ended: 1})) == []
    assert codes(NEEDED, side(ok=4, **{ended: 2})) == ["failed_attempts"]
    assert codes(NEEDED, side(ok=98, **{ended: 2})) == []
    assert codes(NEEDED, side(ok=97, **{ended: 2})) == ["failed_attempts"]


def test_each_side_has_a_share_of_its_own() -> None:
    """Runs of the official program pay for no failure of the candidate."""
    many = replace(
        side(ok=4, failed=2), attempts={**side(ok=4, failed=2).attempts, "official": AttemptCounts(900)}
    )
    assert codes(NEEDED, many) == ["failed_attempts"]
    both = {"official": AttemptCounts(ok=4, failed=1), "worldflux": AttemptCounts(ok=4, failed=1)}
    assert codes(NEEDED, replace(WHOLE, attempts=both)) == []


# What is a finding -> facts that have it; by its name it is admitted.
ADMITTED: dict[str, dict[str, Any]] = {
    "overrides": {"choices": {"seeds": "--parity-seeds 7 in place of the suite's seeds"}},
    "lost_lines": {"lost_lines": 2},
    "oracle_commit_unknown": {"programs": (replace(OFFICIAL, commit=None), CANDIDATE)},
    "no_isolation": {"isolation": Isolation(3, {"--parity-isolate=off": 1})},
    "component_match_missing": {"components": {"fake": Compared("fake", GoldenPin("s", "4" * 64, ()))}},
}
ADMITTED["recipe_ignored"] = {
    "recipes": {"": ComparedRecipes(RecipeTerms(ignored={"jit": "it changes no number"}), (3, 3))}
}
ADMITTED["recipe_mapped"] = {
    "recipes": {"": ComparedRecipes(RecipeTerms(twins={"lr": Twin("rate")}), (3, 3))}
}
OF_CLAIMS: dict[str, dict[str, Any]] = {
    "project_changed": {"project": {"commit": COMMIT, "changed": True}},
    "no_project_commit": {"project": None},
    "resumed": {"resumed": True},
    "repeated_attempts": {
        "attempts": {"official": AttemptCounts(), "worldflux": AttemptCounts(ok=4, repeated=1)}
    },
    "warnings": {"warnings": ("2 results were recovered without their exit status",)},
}


@pytest.mark.parametrize("name", [*ADMITTED, *OF_CLAIMS])
def test_each_is_a_finding_until_it_is_admitted_by_its_name(name: str) -> None:
    facts = replace(WHOLE, claim="proof_grade", **{**ADMITTED, **OF_CLAIMS}[name])
    for rule in (NEEDED, replace(NEEDED, stage=LISTED)):
        assert codes(rule, facts) == [name]
        assert codes(replace(rule, admit=frozenset([name])), facts) == []
    asked = replace(facts, claim="none")
    assert codes(NEEDED, asked) == ([name] if name in ADMITTED else [])
    assert codes(replace(NEEDED, stage=LISTED), asked) == [], "nobody needs it, and it claims nothing"


def test_results_of_earlier_runs_are_admitted_by_no_name() -> None:
    facts = replace(WHOLE, choices={"reuse": "said"}, reused=("4 of 8 results are reused from early",))
    admit = frozenset(["overrides", "results_reused", "warnings"])
    assert codes(replace(NEEDED, admit=admit), facts) == ["results_reused"]
    assert codes(replace(NEEDED, stage=LISTED), facts) == []
    assert codes(replace(NEEDED, stage=LISTED), replace(facts, claim="proof_grade")) == ["results_reused"]


def test_a_share_of_attempts_may_fail() -> None:
    facts = side(ok=18, failed=2)
    assert codes(NEEDED, facts) == ["failed_attempts"]
    assert codes(replace(NEEDED, failed_attempts=0.1), facts) == []
    assert codes(replace(NEEDED, failed_attempts=0.09), facts) == ["failed_attempts"]
    assert codes(replace(NEEDED, failed_attempts=0.0), side(ok=19, failed=1)) == ["failed_attempts"]


LACKING: dict[str, tuple[Program, ...]] = {
    "nothing said": (OFFICIAL_TABLE, replace(TABLE, provenance={})),
    "another schema": tables(schema_version="mine.v1"),
    "no adapter": tables(adapter=""),
    "no program": tables(commit=None),
    "nothing run": tables(command=None, tasks={"alpha": {"seeds": []}}),
    "no mappings": tables(command=None, tasks=[1], inputs=[2], commit=None),
}


@pytest.mark.parametrize("name", LACKING)
def test_a_table_of_a_candidate_names_its_runs(name: str) -> None:
    facts = replace(WHOLE, programs=LACKING[name])
    assert codes(NEEDED, facts) == ["table_without_runs"]
    assert codes(replace(NEEDED, admit=frozenset(["candidate_table"])), facts) == []


def test_runs_or_a_command_are_enough() -> None:
    for said in (
        {"command": None, "tasks": {"alpha": {"seeds": [0]}}},
        {"commit": None, "source_tree_sha256": "3" * 64},
        {"commit": None, "inputs": {"program_sha256": "3" * 64}},
    ):
        assert codes(NEEDED, replace(WHOLE, programs=tables(**said))) == []


def test_an_official_table_is_pinned_whatever_is_admitted() -> None:
    every = replace(NEEDED, admit=frozenset([*ADMITTED, *OF_CLAIMS, "candidate_table"]))
    facts = replace(WHOLE, programs=(replace(OFFICIAL_TABLE, pinned=False), CANDIDATE))
    assert codes(every, facts) == ["table_not_pinned"]
    made_up = replace(OFFICIAL_TABLE, pinned=False, provenance={"fixture": True})
    assert codes(every, replace(WHOLE, programs=(made_up, CANDIDATE))) == [], "--allow-fixtures is asked for"
    assert codes(every, replace(WHOLE, apart=("alpha: official at 1000 frames",))) == ["frames_apart"]


BOUNDS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "seeds": ({"least_seeds": 4}, {"least_seeds": 5}, "too_few_seeds"),
    "margins": ({"largest_margin": 0.05}, {"largest_margin": 0.04}, "margin_too_wide"),
    "age": ({"largest_age_days": 10}, {"largest_age_days": 9.9}, "too_old"),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_a_bound_holds_up_to_itself(name: str) -> None:
    held, broken, code = BOUNDS[name]
    assert codes(replace(NEEDED, **held), WHOLE) == []
    assert codes(replace(NEEDED, **broken), WHOLE) == [code]


@pytest.mark.parametrize("time", ["2026-02-01T00:00:00+00:00", "yesterday", ""])
def test_a_time_to_come_or_no_time_is_too_old(time: str) -> None:
    assert codes(replace(NEEDED, largest_age_days=99), replace(WHOLE, time=time)) == ["too_old"]
    assert codes(NEEDED, replace(WHOLE, time=time)) == []
