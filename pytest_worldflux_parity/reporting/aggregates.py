"""Rows, one a suite -> ``worldflux.parity.aggregate.v1``, whatever the rows were made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..judgement.stats.noninferiority import reason_of
from .labels import label_fields, with_labels

AGGREGATE_SCHEMA = "worldflux.parity.aggregate.v1"

SUMMARY = ("suite", "family", "verdict", "pairs", "reason")

Row = Mapping[str, Any]


def aggregate_of_rows(
    rows: Sequence[Row],
    *,
    not_judged: Mapping[str, str],
    time: str,
    aggregate_json: str,
    report_md: str | None,
    dashboard_html: str | None,
) -> dict[str, Any]:
    """The document over suites. Paths are relative to the document's folder; None where there is no file.

    Args:
        rows: as :func:`row_of_run` and :func:`row_of_proof` make them.
        not_judged: suites that could not be judged -> why. They count as not passed.
    """
    passed = [row["pass"] for row in rows]
    paths = [row["run_path"] for row in rows]
    return {
        "schema_version": AGGREGATE_SCHEMA,
        "generated_at_utc": time,
        "run_count": len(rows) + len(not_judged),
        "suite_pass_count": sum(passed),
        "suite_fail_count": len(passed) + len(not_judged) - sum(passed),
        "all_suites_pass": all(passed) and not not_judged,
        "global_non_inferiority": _global_non_inferiority(rows),
        "families": list(_count_by_family(rows)),
        "suites": [dict(row) for row in rows],
        "not_judged": [{"suite": s, "reason": why} for s, why in not_judged.items()],
        "run_paths": paths,
        **fixture_mark(any(row.get("fixture") for row in rows)),
        "evidence_bundle": {
            "bundle_kind": "parity_aggregate",
            "artifacts": {
                "run_jsons": list(paths),
                "aggregate_json": aggregate_json,
                "dashboard_html": dashboard_html,
                "report_md": report_md,
            },
        },
    }


def fixture_mark(fixture: bool) -> dict[str, bool]:
    """The key of a document of made-up numbers; no other document has it."""
    return {"fixture": True} if fixture else {}


def _global_non_inferiority(rows: Sequence[Row]) -> dict[str, Any]:
    """Whether the documented rule passes in every suite that it could be applied to."""
    documented = [row for row in rows if row["ci_upper_ratio"] is not None]
    return {
        "suites_with_statistics": len(documented),
        "pass_non_inferiority": all(r["pass_non_inferiority"] for r in documented) if documented else None,
        "max_ci_upper_ratio": max((r["ci_upper_ratio"] for r in documented), default=None),
    }


def verdict_of(row: Row) -> str:
    """The word of a row; the earlier system's know pass and fail only."""
    return str(row.get("verdict", "pass" if row["pass_non_inferiority"] else "fail"))


def summary_rows(rows: Iterable[Row], not_judged: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """What pages show above the suites: the columns of ``SUMMARY`` of each."""
    for row in rows:
        pairs, reason = str(row.get("sample_size") or "-"), str(row.get("verdict_reason", ""))
        reason = with_labels(reason, row.get("labels", {}))
        yield row["suite_id"], ", ".join(map(str, families_of(row))), verdict_of(row), pairs, reason
    for suite, why in not_judged.items():
        yield suite, "-", "not judged", "-", why


def not_judged_of(aggregate: Row) -> dict[str, str]:
    """The suites of an aggregate that could not be judged -> why."""
    return {lost["suite"]: lost["reason"] for lost in aggregate.get("not_judged", ())}


def families_of(row: Row) -> Sequence[str]:
    """The families that the suite of a row speaks for; a proof suite may have several."""
    return tuple(row.get("families") or (row["family"],))


def _count_by_family(rows: Sequence[Row]) -> Iterable[dict[str, Any]]:
    for family in sorted({family for row in rows for family in families_of(row)}):
        own = [row["pass"] for row in rows if family in families_of(row)]
        yield {"family": family, "runs": len(own), "pass": sum(own), "fail": len(own) - sum(own)}


def row_of_run(run: Mapping[str, Any], run_path: str) -> dict[str, Any]:
    """The row of a ``worldflux.parity.run.v1`` document; the earlier system's know pass and fail only."""
    suite, stats = run["suite"], run["stats"]
    return {
        "suite_id": suite["suite_id"],
        "family": suite["family"],
        "verdict": run.get("verdict", "pass" if run["pass"] else "fail"),
        "pass": run["pass"],
        "sample_size": stats["sample_size"],
        "margin_ratio": suite["margin_ratio"],
        "confidence": suite["confidence"],
        "mean_drop_ratio": stats["mean_drop_ratio"],
        "ci_upper_ratio": stats["ci_upper_ratio"],
        "pass_non_inferiority": stats["pass_non_inferiority"],
        "verdict_reason": run.get("verdict_reason")
        or stats.get("verdict_reason")
        or _reason_from_numbers(suite, stats),
        "run_path": run_path,
        **label_fields(suite.get("labels", {})),
        **fixture_mark(run.get("fixture") is True),
    }


def _reason_from_numbers(suite: Mapping[str, Any], stats: Mapping[str, Any]) -> str:
    """A sentence for a document that has none, from its own numbers."""
    numbers = {**stats, "margin_ratio": suite["margin_ratio"], "confidence": suite["confidence"]}
    higher = suite.get("higher_is_better", True)
    return reason_of(numbers, stats["pass_non_inferiority"], higher_is_better=higher)


def row_of_proof(report: Mapping[str, Any], run_path: str) -> dict[str, Any]:
    """The row of an ``equivalence_report.json``. It has no drop ratio; ``pass`` is ``parity_pass_final``.

    ``margin_ratio`` and ``confidence`` are null where the metrics of the suite differ in them.
    """
    final = report["global"]
    rules = [cell["rule"] for task in report["tasks"] for cell in task["metrics"].values()]
    families = sorted({task["family"] for task in report["tasks"]})
    return {
        "suite_id": report["suite_id"],
        "family": families[0] if len(families) == 1 else "mixed",
        "families": families,
        "track": "proof",
        "verdict": final["verdict"],
        "pass": final["parity_pass_final"],
        "sample_size": report["completeness"]["complete_task_seed_pairs"] or None,
        "margin_ratio": _only_value({rule["equivalence_margin"] for rule in rules}),
        "confidence": _only_value({1 - rule["alpha"] for rule in rules}),
        "mean_drop_ratio": None,
        "ci_upper_ratio": None,
        "pass_non_inferiority": None,
        "missing_pairs": final["missing_pairs"],
        "claim": report["config"]["parity_claim_level"] or "none",
        "verdict_reason": final["verdict_reason"],
        "run_path": run_path,
        **label_fields(report["config"].get("labels", {})),
        **fixture_mark(report.get("fixture") is True),
    }


def _only_value(values: set[float]) -> float | None:
    return next(iter(values)) if len(values) == 1 else None
