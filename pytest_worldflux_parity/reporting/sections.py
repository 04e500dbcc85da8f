"""Documents -> what pages say of each suite, whatever they are written in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .aggregates import row_of_run
from .estimates import Panel, counts_text, panels_of_equivalence, panels_of_run
from .labels import Labels, describe_labels

Lists = Mapping[str, Sequence[str]]

LISTED_MISSING = 20
FINAL_KEYS = (
    "parity_pass_final", "parity_pass_frequentist", "parity_pass_bayesian", "validity_pass",
    "component_match_pass",
)  # fmt: skip


@dataclass(frozen=True)
class Section:
    """What is said of one suite, in this order.

    Attributes:
        counts: how many results there are, as a sentence. head, tail: title of a list -> its items, before
            the panels and after them; a list without items is not shown. labels: of the suite.
    """

    suite_id: str
    verdict: str
    reason: str
    counts: str
    head: Lists
    panels: Sequence[Panel]
    tail: Lists = field(default_factory=dict)
    labels: Labels = field(default_factory=dict)


def section_of_run(run: Mapping[str, Any]) -> Section:
    """Of a ``worldflux.parity.run.v1`` document."""
    row = row_of_run(run, "")
    labels = row.get("labels", {})
    gates = [f"{name}: {gate['verdict']}. {gate['reason']}" for name, gate in run.get("gates", {}).items()]
    missing = list(_missing_texts(run["missing"]))
    more = [f"and {len(missing) - LISTED_MISSING} more in run.json"] if len(missing) > LISTED_MISSING else []
    return Section(
        row["suite_id"],
        row["verdict"],
        row["verdict_reason"],
        f"{counts_text(run)}.{_label_sentence(labels)}",
        {"Warnings": run.get("warnings", ())},
        panels_of_run(run),
        {"Gates": gates, "Missing": missing[:LISTED_MISSING] + more, "Sources": list(_source_texts(run))},
        labels,
    )


def section_of_proof(report: Mapping[str, Any]) -> Section:
    """Of an ``equivalence_report.json``."""
    labels = report["config"].get("labels", {})
    final, words = report["global"], {True: "yes", False: "no", None: "not asked for"}
    counts = f"{final['tasks_pass_all_metrics']} of {final['tasks_total']} tasks pass in all metrics"
    return Section(
        report["suite_id"],
        final["verdict"],
        final["verdict_reason"],
        f"{counts}, {final['missing_pairs']} results are missing.{_label_sentence(labels)}",
        {"Final keys": [f"{key}: {words[final[key]]}" for key in FINAL_KEYS]},
        panels_of_equivalence(report),
        labels=labels,
    )


def _label_sentence(labels: Labels) -> str:
    return f" {describe_labels(labels)}." if labels else ""


def _missing_texts(missing: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    sides = {"upstream_only": "worldflux", "worldflux_only": "official"}
    for key, rows in missing.items():
        for row in rows:
            reason = f": {row['reason']}" if row.get("reason") else ""
            yield f"{sides[key]} {row['task']} seed {row['seed']}{reason}"


def _source_texts(run: Mapping[str, Any]) -> Iterator[str]:
    for side, name in (("upstream", "official"), ("worldflux", "worldflux")):
        source = run["sources"][side]
        sha256 = run.get("artifact_integrity", {}).get(f"{side}_input_sha256")
        what = source["path"] or f"live, {source.get('adapter', '')}"
        hashed = f", sha256 {sha256[:16]}" if sha256 else ""
        replaced = ", given on the command line" if "replaces" in source else ""
        yield f"{name}: {what}{hashed}{replaced}"
