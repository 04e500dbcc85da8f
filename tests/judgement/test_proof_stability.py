"""Stability: what counts as a flip, and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_worldflux_parity import schemas
from pytest_worldflux_parity.judgement.proof.stability import read_report, stability
from pytest_worldflux_parity.reporting.proof_documents import stability_document
from pytest_worldflux_parity.session.conclude_suite import stability_case


def report(
    final: bool = True,
    verdict: str | None = None,
    interval: list[float | None] | None = None,
    *,
    suite: str | None = "s",
    time: str = "2026-01-01",
    bayesian: bool = True,
    passed: bool = True,
) -> dict[str, Any]:
    """An equivalence report of one metric of one task, with what stability reads of it."""
    metric = {
        "ci90_effect": interval if interval is not None else [-0.01, 0.02],
        "ci90_ratio": [0.99, 1.02],
        "pass": passed,
        "bayesian": {"pass_all": bayesian},
    }
    summary: dict[str, Any] = {"parity_pass_final": final}
    if verdict:
        summary["verdict"] = verdict
    return {
        "suite_id": suite,
        "generated_at": time,
        "tasks": [{"task_id": "t", "metrics": {"final_return_mean": metric}}],
        "global": summary,
    }


def test_a_single_run() -> None:
    found = stability(report(), {})
    assert (found.status, found.mode) == ("stable", "single_run")
    assert stability(report(final=False), {}).status == "verdict_failed"


def test_a_verdict_that_flips_is_unstable() -> None:
    found = stability(report(), {"a": report(), "b": report(final=False, verdict="fail")})
    assert (found.status, found.mode) == ("unstable", "multi_run")
    assert found.verdict_flips == (("a", "b"), ("b", "this run"))
    old = stability(report(), {"a": report(final=False)})
    assert old.verdict_flips, "an older report that did not pass had failed"


def test_what_was_open_and_then_shown_did_not_flip() -> None:
    found = stability(report(), {"pilot": report(final=False, verdict="inconclusive")})
    assert (found.status, found.verdict_flips) == ("stable", ())


def test_a_sign_flips_only_where_both_intervals_exclude_zero() -> None:
    above, below, around = [0.01, 0.03], [-0.03, -0.01], [-0.03, 0.001]
    found = stability(report(interval=above), {"a": report(interval=below)})
    assert found.status == "unstable"
    assert (found.sign_flips[0].below, found.sign_flips[0].above) == ("a", "this run")
    assert not stability(report(interval=above), {"a": report(interval=around)}).sign_flips
    among = stability(report(interval=around), {"a": report(interval=below), "b": report(interval=above)})
    assert among.sign_flips, "also between two earlier reports"
    assert not stability(report(interval=[None, None]), {"a": report(interval=above)}).sign_flips


def test_both_names_of_an_atari_task_are_one() -> None:
    def named(task: str, interval: list[float | None]) -> dict[str, Any]:
        document = report(interval=interval)
        document["tasks"][0]["task_id"] = task
        return document

    now, earlier = named("atari100k_pong", [0.01, 0.03]), named("atari_pong", [-0.03, -0.01])
    [flip] = stability(now, {"a": earlier}).sign_flips
    assert (flip.task, flip.below) == ("atari100k_pong", "a"), "as the current report has it"
    [flip] = stability(earlier, {"a": now}).sign_flips
    assert (flip.task, flip.above) == ("atari_pong", "a")
    found = stability(report(), {"a": earlier, "b": now})
    assert [f.task for f in found.sign_flips] == ["atari_pong"], "also where the current one has it not"


@pytest.mark.parametrize("verdict", ["pass", "PASS", "maybe", "fail"])
def test_a_verdict_that_contradicts_itself_hides_no_flip(verdict: str) -> None:
    assert stability(report(), {"a": report(final=False, verdict=verdict)}).verdict_flips
    failed = report(final=False, verdict="fail")
    assert stability(report(verdict=verdict), {"a": failed}).verdict_flips
    assert stability(failed, {"a": report(verdict=verdict)}).verdict_flips
    assert not stability(report(verdict=verdict), {"a": report()}).verdict_flips


def test_two_tests_that_disagree_are_unstable() -> None:
    found = stability(report(bayesian=False), {})
    assert (found.status, found.current.mismatches) == ("unstable", (("t", "final_return_mean"),))


def test_reports_of_other_suites_and_other_things_are_left_out_by_name() -> None:
    found = stability(report(), {"x": report(final=False, suite="other"), "y": {}, "z": {"global": {}}})
    assert found.history == ()
    assert found.not_compared == {
        "x": "it is of the suite other",
        "y": "no global.parity_pass_final in it",
        "z": "no global.parity_pass_final in it",
    }
    assert len(stability(report(), {"old": report(suite=None)}).history) == 1
    with pytest.raises(ValueError, match="this run: no global"):
        stability({}, {})


@pytest.mark.parametrize("now", [report(), report(final=False), report(bayesian=False)])
def test_the_verdict_case_says_what_was_not_compared(now: dict[str, Any]) -> None:
    other = {"x": report(suite="other"), "y": report(suite="another")}
    [with_others, alone] = [stability_case(stability(now, history)).text for history in (other, {})]
    assert with_others == f"{alone}; 2 named reports could not be compared"


INTERVALS: list[Any] = ["x", [1], [1, 2, 3], ["1", 2], [True, 2], [2, 1], [float("nan"), 1], {}, 0]


def broken(change: Any) -> dict[str, Any]:
    document = report(interval=[-0.03, -0.01])
    change(document["tasks"])
    return document


ROWS: dict[str, Any] = {
    "tasks[0] is no task": lambda rows: rows.__setitem__(0, 3),
    "tasks[1] is no task": lambda rows: rows.append({"metrics": {}}),
    "tasks[1] is 't' again": lambda rows: rows.append(rows[0]),
    "tasks[0] (t) has no metrics": lambda rows: rows[0].pop("metrics"),
    "tasks[0] (t): metrics.final_return_mean is no": lambda rows: rows[0]["metrics"].update(
        final_return_mean=[]
    ),
    "tasks[0] (t): metrics.final_return_mean has no": lambda rows: rows[0]["metrics"][
        "final_return_mean"
    ].pop("ci90_effect"),
    "no tasks in it": lambda rows: rows.clear(),
    **{
        f"metrics.final_return_mean has ci90_effect {x!r}": lambda rows, x=x: rows[0]["metrics"][
            "final_return_mean"
        ].update(ci90_effect=x)
        for x in INTERVALS
    },
}


@pytest.mark.parametrize("words", ROWS)
def test_a_row_that_cannot_be_read_hides_no_flip(words: str) -> None:
    """It would be a sign flip, and is named; the command refuses the whole report by its file and row."""
    assert stability(report(interval=[0.01, 0.03]), {"a": broken(lambda rows: None)}).sign_flips
    document = broken(ROWS[words])
    found = read_report(document, "a")
    assert isinstance(found, str)
    assert words in found
    assert stability(report(), {"a": document}).not_compared == {"a": found}
    with pytest.raises(ValueError, match="this run: "):
        stability(document, {})


def test_a_metric_that_could_not_be_tested_has_no_interval() -> None:
    untested = {"status": "missing", "ci90_effect": None}
    found = stability(
        report(), {"a": broken(lambda rows: rows[0]["metrics"].update(final_return_mean=untested))}
    )
    assert (len(found.history), found.not_compared) == (1, {})


def test_what_an_earlier_report_lacks_is_said() -> None:
    now = report()
    now["tasks"].append({**now["tasks"][0], "task_id": "u"})
    found = stability(now, {"a": report()})
    assert found.in_part == {"a": "could be compared in part only: it has no final_return_mean of u"}
    said = stability_case(found).text
    assert "; a could be compared in part only: it has no final_return_mean of u" in said
    document = stability_document(found, time="now", input="equivalence_report.json")
    schemas.check(document, "stability.v1", str)
    assert document["not_compared"] == [{"name": "a", "reason": found.in_part["a"]}]
    assert stability(report(), {"a": now}).in_part == {}


def test_all_that_an_earlier_report_lacks_is_said() -> None:
    now = report()
    now["tasks"] += [{**now["tasks"][0], "task_id": f"u{i}"} for i in range(7)]
    said = stability(now, {"a": report()}).in_part["a"]
    assert all(f"final_return_mean of u{i}" in said for i in range(7))


def test_the_document() -> None:
    history = {"b": report(interval=[-3, -2]), "a": report(time="2025", interval=[1, 2]), "c": {}}
    found = stability_document(stability(report(), history), time="now", input="equivalence_report.json")
    schemas.check(found, "stability.v1", str)
    consistency = found["rerun_consistency"]
    assert consistency["mode"] == "multi_run"
    assert consistency["verdict_flip_detected"] is False
    assert consistency["pairwise_metric_sign_flip_detected"] is True
    assert consistency["bayesian_frequentist_mismatch_detected"] is False
    assert [h["name"] for h in found["history"]] == ["a", "b"], "by time"
    assert found["tasks"][0]["metrics"]["final_return_mean"] == {"effect_sign": 0, "sign_flip": True}
