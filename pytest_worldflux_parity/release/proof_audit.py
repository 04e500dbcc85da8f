"""The documents of a proof run -> how they contradict themselves and each other.

What needs the raw records is for :mod:`..evidence.checking`; here every count, boolean, correction and
verdict that follows from the documents themselves is computed again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import StatisticsError
from ..judgement.gates import Finding
from ..judgement.stats.holm import holm
from ..reporting.proof_documents import COMPONENTS, COVERAGE, EQUIVALENCE, STABILITY, VALIDITY
from ..suite.suite import SYSTEMS
from .audit import close, differences

HELD = {"pass": True, "fail": False, "inconclusive": None}

Document = Mapping[str, Any]
Documents = Mapping[str, Document]


def proof_findings(documents: Documents) -> list[Finding]:
    """How documents that keep their schemas contradict themselves or each other; empty where they do not.

    Args:
        documents: file name -> document: all five of a proof run.
    """
    parts = (_together, _coverage, _gates, _cells, _tasks, _verdict, _stability)
    try:
        return [finding for part in parts for finding in part(documents)]
    except StatisticsError as error:
        return [Finding("not_computable", error.line())]


def has_statistics(equivalence: Document) -> bool:
    """Whether a report has an effect of any metric of any task."""
    return any(cell["mean_effect"] is not None for _, _, cell in _all_cells(equivalence))


def missing_pairs(documents: Documents) -> int:
    """How many expected results the documents lack, by the lists or the counts, whichever say more."""
    coverage, report = documents[COVERAGE], documents[EQUIVALENCE]
    counts: tuple[int, ...] = (
        coverage["missing_pairs"],
        len(coverage["missing_entries"]),
        sum(row["missing_pairs"] for row in coverage["tasks"]),
        report["global"]["missing_pairs"],
        len(report["completeness"]["missing_entries"]),
    )
    return max(counts)


def _together(documents: Documents) -> Iterator[Finding]:
    """All documents are of one suite, and all or none are of made-up numbers."""
    ids = {name: document["suite_id"] for name, document in documents.items()}
    own = ids[EQUIVALENCE]
    for name, suite_id in ids.items():
        if suite_id != own:
            yield Finding("other_suite", f"{name} is of {suite_id!r}, {EQUIVALENCE} of {own!r}")
    marked = sorted(name for name, document in documents.items() if document.get("fixture") is True)
    if marked and len(marked) < len(documents):
        text = f"only {', '.join(marked)} say that the numbers are made up"
        yield Finding("fixture_unmarked", text)


def _differ(code: str, stated: Any, wanted: Any, what: str, why: str) -> Iterator[Finding]:
    if type(stated) is not type(wanted) or stated != wanted:
        yield Finding(code, f"{what} is {stated!r}, {why} {wanted!r}")


def _coverage(documents: Documents) -> Iterator[Finding]:
    """What was expected, what is missing, and every count of it."""
    coverage, report = documents[COVERAGE], documents[EQUIVALENCE]
    entries, tasks = coverage["missing_entries"], coverage["tasks"]
    stated = {key: coverage[key] for key in report["completeness"]}
    for text in differences(stated, report["completeness"], COVERAGE):
        yield Finding("coverage_differs", text)
    names = [task["task_id"] for task in report["tasks"]]
    listed = [row["task_id"] for row in tasks]
    yield from _differ("coverage_differs", listed, names, "the tasks of coverage", "those of equivalence are")
    by_reason = dict(Counter(entry["reason"] for entry in entries))
    counts = {
        "missing_pairs": len(entries),
        "expected_pairs": sum(row["expected_pairs"] for row in tasks),
        "missing_by_reason": by_reason,
        "pass": coverage["expected_pairs"] > 0 and not entries,
        **({"expected_pairs": wanted} if (wanted := _expected(report)) is not None else {}),
    }
    for key, value in counts.items():
        yield from _differ("counts_differ", coverage[key], value, f"{COVERAGE} {key}", "its own data give")
    if (coverage["verdict"] == "pass") is not coverage["pass"]:
        yield Finding("verdict_differs", f"coverage is {coverage['verdict']}, pass is {coverage['pass']}")
    for row in tasks:
        yield from _missing_of_task(row, entries)


def _expected(report: Document) -> int | None:
    """How many (task, seed, system) the seed policy asks for; None where only the pilot would tell."""
    policy, plan = report["config"]["seed_policy"], report["seed_plan"]
    if policy["mode"] == "fixed":
        own = report["config"].get("task_seeds", {})
        return len(SYSTEMS) * sum(len(own.get(t["task_id"], policy["values"])) for t in report["tasks"])
    if plan is None or report["global"]["pilot"]:
        return None
    return sum(len(task["seeds"]) for task in plan["tasks"]) * len(SYSTEMS)


def _missing_of_task(row: Document, entries: Sequence[Document]) -> Iterator[Finding]:
    own = [entry for entry in entries if entry["task_id"] == row["task_id"]]
    seeds = {s: sorted(entry["seed"] for entry in own if entry["system"] == s) for s in SYSTEMS}
    if row["missing_pairs"] != len(own) or row["missing_seeds"] != seeds:
        text = f"lists {row['missing_pairs']} missing, missing_entries has {len(own)}"
        yield Finding("counts_differ", text, row["task_id"])


def _gates(documents: Documents) -> Iterator[Finding]:
    """Validity and components: their documents, and what the equivalence report says of them."""
    report, validity, match = (documents[name] for name in (EQUIVALENCE, VALIDITY, COMPONENTS))
    issues = validity["issues"]
    stated = {key: validity[key] for key in ("pass", "issue_count", "issues_by_code")}
    for text in differences(report["validity"], stated, "validity"):
        yield Finding("gate_differs", text)
    counts = {
        "issue_count": len(issues),
        "issues_by_code": dict(Counter(issue["code"] for issue in issues)),
        "pass": HELD[validity["verdict"]],
    }
    for key, value in counts.items():
        yield from _differ("gate_differs", validity[key], value, f"{VALIDITY} {key}", "its own data give")
    if (validity["verdict"] == "fail") is not bool(issues):
        yield Finding("verdict_differs", f"validity is {validity['verdict']} and has {len(issues)} issues")
    there = report["completeness"]["expected_pairs"] - report["completeness"]["missing_pairs"]
    if validity["records_checked"] < there:
        text = f"{validity['records_checked']} records were checked, and {there} are judged"
        yield Finding("gate_differs", text)
    yield from _components(report, match)


def _components(report: Document, match: Document) -> Iterator[Finding]:
    summary, required = report["component_match"], report["config"]["component_match_required"]
    rows = match["results"]
    wanted = {
        "required": (summary["required"], required),
        "its document's required": (match["required"], required),
        "pass": (summary["pass"], HELD[match["verdict"]] if required else None),
        "all_pass": (match["all_pass"], required and match["verdict"] == "pass"),
        "result_count": (summary.get("result_count"), len(rows)),
    }
    for key, (stated, value) in wanted.items():
        yield from _differ("gate_differs", stated, value, f"component match {key}", "the documents give")
    held = all(row["shape_match"] is True and row.get("pass", row["rtol_pass"]) is True for row in rows)
    if match["all_pass"] and not (rows and held):
        text = "all_pass is true, and a component does not match" if rows else "all_pass, and nothing matched"
        yield Finding("verdict_differs", f"{COMPONENTS}: {text}")


def _all_cells(report: Document) -> Iterator[tuple[Document, str, Document]]:
    """(task, metric, cell), in the order of the document."""
    for task in report["tasks"]:
        for metric, cell in task["metrics"].items():
            yield task, metric, cell


def _p_values(report: Document) -> list[float]:
    cells = (cell for _, _, cell in _all_cells(report))
    return [cell["tost"]["p_value_for_holm"] if cell["tost"] else 1.0 for cell in cells]


def _cells(documents: Documents) -> Iterator[Finding]:
    """Holm's correction, and whether each metric of each task passed by it."""
    report = documents[EQUIVALENCE]
    cells, p = list(_all_cells(report)), _p_values(report)
    firsts = [i for i, (task, metric, _) in enumerate(cells) if metric == task["task_primary_metric"]]
    every = dict(enumerate(map(float, holm(p))))
    primary = dict(zip(firsts, map(float, holm([p[i] for i in firsts])), strict=True))
    for i, (task, metric, cell) in enumerate(cells):
        for key, adjusted in (("holm_all_metrics", every.get(i)), ("holm_primary", primary.get(i))):
            for text in _correction(cell[key], adjusted, cell["rule"]["alpha"]):
                yield Finding("holm_differs", f"{metric}.{key} {text}", task["task_id"])
        scope = report["config"]["holm_scope"]
        within = every[i] if scope == "all_metrics" else primary.get(i, p[i])
        yield from _cell(task["task_id"], metric, cell, within, report["config"]["seed_policy"]["mode"])


def _correction(stated: Document | None, adjusted: float | None, alpha: float) -> Iterator[str]:
    if stated is None or adjusted is None:
        if (stated is None) is not (adjusted is None):
            yield "is not there" if stated is None else "is there, and the metric is not the primary one"
        return
    if not close(stated["p_adjusted"], adjusted):
        yield f"is {stated['p_adjusted']!r}, the p-values give {adjusted!r}"
    if stated["pass"] is not (stated["p_adjusted"] < alpha):
        yield f"says pass {stated['pass']} at alpha {alpha}"


def _cell(task: str, metric: str, cell: Document, within: float, mode: str) -> Iterator[Finding]:
    """Whether a metric passed: both tests at their level. What a pilot costs stands in no document."""
    better = cell["noninferiority"] is not None
    if better and mode == "fixed":
        better = cell["noninferiority"]["pass_raw"]
    passed = cell["status"] == "ok" and within < cell["rule"]["alpha"] and better
    if cell["pass"] is not passed and (mode == "fixed" or cell["pass"]):
        yield Finding("verdict_differs", f"{metric} has pass {cell['pass']}, its tests give {passed}", task)
    bayes = cell["bayesian"]
    if bayes and bayes["pass_all"] is not (bayes["pass_equivalence"] and bayes["pass_noninferiority"]):
        yield Finding("verdict_differs", f"{metric}: bayesian.pass_all does not follow from its parts", task)


def _tasks(documents: Documents) -> Iterator[Finding]:
    """What each task and all of them come to."""
    report = documents[EQUIVALENCE]
    final, tasks = report["global"], report["tasks"]
    for task in tasks:
        cells = task["metrics"]
        wanted = {
            "task_pass_primary": cells.get(task["task_primary_metric"], {}).get("pass"),
            "task_pass_all_metrics": all(cell["pass"] for cell in cells.values()),
        }
        for key, value in wanted.items():
            for found in _differ("verdict_differs", task[key], value, key, "the metrics give"):
                yield Finding(found.code, found.detail, task["task_id"])
        if task["task_pass_bayesian"] and not all(_agrees(cell) for cell in cells.values()):
            yield Finding("verdict_differs", "task_pass_bayesian, and a metric disagrees", task["task_id"])
    every = bool(tasks) and all(task["task_pass_all_metrics"] for task in tasks)
    bayesian = bool(tasks) and all(task["task_pass_bayesian"] for task in tasks)
    enabled = report["bayesian"]["enable"]
    counts = {
        "tasks_total": len(tasks),
        "tasks_pass_primary": sum(task["task_pass_primary"] for task in tasks),
        "tasks_pass_all_metrics": sum(task["task_pass_all_metrics"] for task in tasks),
        "missing_pairs": report["completeness"]["missing_pairs"],
        "parity_pass_primary": bool(tasks) and all(task["task_pass_primary"] for task in tasks),
        "parity_pass_all_metrics": every,
        "parity_pass_frequentist": every,
        "parity_pass_bayesian": bayesian if enabled else None,
        "validity_pass": report["validity"]["pass"] is True,
        "component_match_pass": report["component_match"]["pass"] is True
        if report["config"]["component_match_required"]
        else None,
    }
    for key, value in counts.items():
        yield from _differ("verdict_differs", final[key], value, f"global.{key}", "the document gives")


def _agrees(cell: Document) -> bool:
    return cell["status"] == "ok" and cell["bayesian"] is not None and cell["bayesian"]["pass_all"] is True


def _verdict(documents: Documents) -> Iterator[Finding]:
    """A pass has everything that a pass needs."""
    report = documents[EQUIVALENCE]
    final, bayesian = report["global"], report["bayesian"]
    passes = final["verdict"] == "pass"
    if final["parity_pass_final"] is not passes:
        text = f"parity_pass_final is {final['parity_pass_final']}, verdict is {final['verdict']}"
        yield Finding("verdict_differs", text)
    cells = [cell for _, _, cell in _all_cells(report)]
    needs = {
        "something expected": report["completeness"]["expected_pairs"] > 0 and bool(cells),
        "no missing results": missing_pairs(documents) == 0,
        "validity": documents[VALIDITY]["pass"] is True,
        "the component match": final["component_match_pass"] is not False,
        "every metric shown": final["parity_pass_all_metrics"],
        "no difference shown": not any(cell["different"] for cell in cells),
        "the Bayesian check": not bayesian["dual_pass_required"] or final["parity_pass_bayesian"] is True,
        "no pilot": not final["pilot"],
    }
    lacking = [name for name, held in needs.items() if not held]
    if passes and lacking:
        yield Finding("verdict_differs", f"the verdict is pass without {', '.join(lacking)}")


def _stability(documents: Documents) -> Iterator[Finding]:
    report, found = documents[EQUIVALENCE]["global"], documents[STABILITY]
    rerun = found["rerun_consistency"]
    for key in ("verdict", "parity_pass_final"):
        yield from _differ(
            "stability_differs", found["global"][key], report[key], f"{STABILITY} {key}", "equivalence has"
        )
    flags = {
        "verdict_flip_detected": "verdict_flips",
        "pairwise_metric_sign_flip_detected": "sign_flips",
        "bayesian_frequentist_mismatch_detected": "mismatches",
    }
    for flag, rows in flags.items():
        yield from _differ("stability_differs", rerun[flag], bool(rerun[rows]), flag, "its own list gives")
    shaken = any(rerun[flag] for flag in flags)
    status = "verdict_failed" if not report["parity_pass_final"] else "unstable" if shaken else "stable"
    yield from _differ("stability_differs", found["status"], status, "status", "its own data give")
