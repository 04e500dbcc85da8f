"""Terminal, report, dashboard and junit say the same of one judgement: number, sign, word and reason."""

from __future__ import annotations

import html
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.judgement.proof.decision import judge_proof
from pytest_worldflux_parity.judgement.quick import Judgement, judge
from pytest_worldflux_parity.judgement.stats.measurements import Observed, Value
from pytest_worldflux_parity.reporting.aggregate_markdown import aggregate_report
from pytest_worldflux_parity.reporting.aggregates import aggregate_of_rows, row_of_run
from pytest_worldflux_parity.reporting.dashboard import dashboard
from pytest_worldflux_parity.reporting.documents import metric_fields
from pytest_worldflux_parity.reporting.estimates import EFFECT, HEADER, panels_of, panels_of_decision
from pytest_worldflux_parity.reporting.markdown import quick_report
from pytest_worldflux_parity.reporting.proof_markdown import equivalence_markdown
from pytest_worldflux_parity.reporting.terminal import quick_summary
from pytest_worldflux_parity.suite.suite import SYSTEMS, Metric, Task
from tests.conftest import Project
from tests.judgement.proof_examples import HELD, METRICS, columns, fixed, observed, proof_tasks
from tests.judgement.test_core_judgement import evidence, suite
from tests.reporting.test_proof_documents import document

SCORES = st.lists(st.floats(20.0, 200.0), min_size=2, max_size=5)
RULES: tuple[str, ...] = ("calibrated", "drop_ratio", "equivalence")
Row = tuple[str, ...]
# The columns whose cells are words and numbers of the result itself.
COLUMNS = HEADER[3:]


def judged(metric: Metric, sides: dict[str, list[list[float]]]) -> Judgement:
    """A suite of one metric and a task for each list of scores."""
    tasks = tuple(Task(f"t{i}") for i in range(len(sides["official"])))
    values = {
        (system, metric.name, task.id): dict(enumerate(map(Value, scores)))
        for system in SYSTEMS
        for task, scores in zip(tasks, sides[system], strict=True)
    }
    return judge(evidence(Observed(values), suite=suite(metric, tasks=tasks)))


def run_of(judgement: Judgement) -> dict[str, Any]:
    """The document of a judged suite, as far as pages read it."""
    own, metric = judgement.evidence, judgement.evidence.suite.primary
    stats = dict.fromkeys(("sample_size", "mean_drop_ratio", "ci_upper_ratio", "pass_non_inferiority"))
    points = ("upstream_points", "worldflux_points", "paired", "upstream_only", "worldflux_only")
    source = {"path": None, "format": "live"}
    metrics = {metric.name: metric_fields(judgement.metrics[0], own)}
    return {
        "suite": {"suite_id": "s", "family": "f", "margin_ratio": metric.margin, "confidence": 0.95},
        "stats": stats, "counts": dict.fromkeys(points, 0), "missing": {}, "warnings": judgement.warnings,
        "verdict": judgement.verdict, "verdict_reason": judgement.reason, "gates": {},
        "pass": judgement.verdict == "pass", "metrics": metrics,
        "sources": dict.fromkeys(("upstream", "worldflux"), source),
    }  # fmt: skip


def of_terminal(judgement: Judgement) -> list[Row]:
    lines = [line for line, _ in quick_summary([(judgement, ())])]
    (start,) = (n for n, line in enumerate(lines) if line.split()[:2] == ["metric", "task"])
    rows = [
        re.split(r" {2,}", line.strip()) for line in lines[start + 1 :] if not line.startswith(f"  {EFFECT}")
    ]
    return [tuple(row[3:]) for row in rows]


def of_markdown(text: str, first: str) -> list[Row]:
    """The rows of the table whose header begins with a column, from ``official`` on."""
    lines = text.splitlines()
    (start,) = (n for n, line in enumerate(lines) if line.startswith(f"| {first} |"))
    header = [cell.strip() for cell in lines[start].split("|")]
    where = [header.index(name) for name in COLUMNS]
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.split("|")]
        rows.append(tuple(cells[n] for n in where))
    return rows


def of_dashboard(page: str) -> list[Row]:
    """The rows of the one table with drawings."""
    rows = [re.findall(r"<td.*?</td>", line) for line in page.splitlines() if "<svg" in line]
    cells = [[html.unescape(re.sub(r"<.*?>", "", cell)) for cell in row[1:]] for row in rows]
    return [(*row[:-1], re.sub(r"^[✓✗?] | .*", "", row[-1])) for row in cells]


@settings(deadline=None, max_examples=40)
@given(
    rule=st.sampled_from(RULES),
    pairs=st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=3),
    sign=st.sampled_from([1.0, -1.0]),
    higher=st.booleans(),
)
def test_all_pages_show_the_same_rows_of_a_quick_suite(
    rule: str, pairs: list[tuple[list[float], list[float]]], sign: float, higher: bool
) -> None:
    sides = {system: [[sign * x for x in pair[n]] for pair in pairs] for n, system in enumerate(SYSTEMS)}
    judgement = judged(Metric("m", rule, 0.05, higher_is_better=higher), sides)
    rows = of_terminal(judgement)
    about: dict[str, Any] = {"not_judged": {}, "notes": {}, "run_id": "r", "device": "cpu", "time": "t"}
    assert of_markdown(quick_report([judgement], **about, log_tails={}), "metric") == rows
    run = run_of(judgement)
    names: dict[str, Any] = {"aggregate_json": "a", "report_md": None, "dashboard_html": None}
    aggregate = aggregate_of_rows([row_of_run(run, "r")], not_judged={}, time="t", **names)
    assert of_markdown(aggregate_report(aggregate, [run]), "task") == rows
    page = dashboard(aggregate, [run])
    assert of_dashboard(page) == rows
    # The first row has the word of the verdict's own test case.
    assert rows[0][-1] == judgement.metrics[0].verdict
    (panel,) = panels_of(judgement)
    assert page.count('class="band"') == sum(row.shown.bounds != (None, None) for row in panel.rows)
    tasks = panel.rows[-len(pairs) :]
    assert sorted(row.task for row in tasks) == [f"t{n}" for n in range(len(pairs))]
    for row in tasks if rule != "drop_ratio" or len(pairs) > 1 else ():
        official, worldflux = (np.mean(sides[s][int(row.task[1:])]) for s in SYSTEMS)
        assert row.shown.value == pytest.approx((worldflux - official) / abs(official), abs=1e-9)
    worst = [(("fail", "inconclusive", "-", "pass").index(r.word), -r.shown.badness) for r in tasks]
    assert worst == sorted(worst)


@settings(deadline=None, max_examples=20)
@given(u=SCORES, w=SCORES, effect=st.sampled_from(["log_ratio", "normalized_difference"]))
def test_all_pages_show_the_same_rows_of_a_proof(u: list[float], w: list[float], effect: str) -> None:
    n = min(len(u), len(w))
    tasks = proof_tasks(1, n, METRICS[:1], effect=effect)
    decision = judge_proof(fixed(n), tasks, observed(columns(u[:n], w[:n])), HELD)
    (panel,) = panels_of_decision(decision)
    rows = [row.cells()[3:] for row in panel.rows]
    assert of_markdown(equivalence_markdown(decision, time="t"), "metric") == rows
    assert of_dashboard(dashboard(None, [], [document(decision)])) == rows
    official, worldflux = (np.array(side[:n]) for side in (u, w))
    if effect == "log_ratio":
        official, worldflux = np.exp(np.log(official).mean()), np.exp(np.log(worldflux).mean())
    wanted = (np.mean(worldflux) - np.mean(official)) / np.mean(official)
    assert panel.rows[0].shown.value == pytest.approx(wanted, abs=1e-9)


def cases(project: Project) -> dict[str, tuple[str, str]]:
    """junit: suite and verdict case -> (how it ended, what it says)."""
    found = {}
    for case in ElementTree.parse(project.root / "junit.xml").getroot().iter("testcase"):
        name = f"{case.get('classname', '').split('.')[-2]} {case.get('name')}"
        (end,) = [x for x in case if x.tag in ("failure", "skipped")] or [None]
        said = (end.tag, end.get("message", "")) if end is not None else ("passed", "")
        found[name] = said
    return found


def test_one_loss_of_a_fifth_reads_alike_everywhere(project: Project) -> None:
    """By all rules, and of a metric whose lower values are better; in terminal, pages and junit."""
    worse = {"level": 100.0, "worldflux_factor": 0.8, "loss_factor": 1.25}
    few: dict[str, Any] = {"tasks": ["alpha"], "recipe": worse}
    one = {"name": "episode_return", "margin": 0.05}
    for rule in RULES:
        project.suite(rule, metrics=[{**one, "rule": rule}], **few)
    losses = {
        "name": "loss.late",
        "rule": "calibrated",
        "margin": 0.05,
        "higher_is_better": False,
        "floor": 0.01,
    }
    project.suite("losses", metrics=[losses], **few)
    result = project.run("--junitxml=junit.xml")
    project.proof("proof", **few)
    shown = [*result.outlines, *project.run("--junitxml=proof.xml", run_id="p").outlines]
    for name, effect in (*((rule, r"-2[01]\.\d%") for rule in RULES), ("losses", r"\+2[56]\.\d%")):
        table = shown[shown.index(f"parity {name}: FAIL") :]
        (row,) = [line for line in table[:6] if "alpha" in line and "fail" in line.split()[-1:]]
        number = re.search(f" ({effect}) ", row)
        assert number, row
        text = number[1]
        section = project.report().partition(f"## {name}\n")[2].partition("\n## ")[0]
        assert f"| {text} | [" in section
        page = (project.run_dir() / "dashboard.html").read_text(encoding="utf-8")
        drawn = page.partition(f"<h2>{name}</h2>")[2].partition("</section>")[0]
        assert f'<td class="number">{text}</td>' in drawn
        question = "equivalence" if name == "equivalence" else "non-inferiority"
        ended, said = cases(project)[f"{name} verdict[{question}]"]
        assert ended == "failure"
        assert said.startswith("fail: ")
        # One decimal in a table, two in a sentence of all tasks.
        assert text in said or f"effect {text[:-2]}" in said
    (row,) = [
        line for line in shown if "final_return_mean" in line and "alpha" in line and line.endswith("fail")
    ]
    assert re.search(r" -2[01]\.\d% ", row)


def test_what_is_only_inconclusive_is_not_called_a_failure(project: Project) -> None:
    noisy = {"level": 100.0, "spread": 2.0}
    project.suite("unsure", tasks=["alpha"], recipe=noisy)
    project.suite("good")
    result = project.run("--junitxml=junit.xml")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["parity unsure: INCONCLUSIVE", "*episode_return *alpha * inconclusive"])
    ended, said = cases(project)["unsure verdict[non-inferiority]"]
    assert (ended, said.partition(":")[0]) == ("failure", "inconclusive")
    page = (project.run_dir() / "dashboard.html").read_text(encoding="utf-8")
    assert "? inconclusive</span> 1 of 2 suites pass." in page
    assert "✗ fail" not in page
    assert "| unsure | **inconclusive** |" in project.report()
    project.suite("worse", recipe={"level": 100.0, "worldflux_factor": 0.8})
    project.run(run_id="two")
    assert "✗ fail</span> 1 of 3 suites pass." in (project.run_dir("two") / "dashboard.html").read_text(
        "utf-8"
    )


CRASH = '    print("ValueError: the replay buffer is empty", file=sys.stderr)\n    sys.exit(3)\n'
LOGGED = """    import atexit, logging
    atexit.register(logging.getLogger("tracker").warning, "5 files are not synced")
    raise ValueError("the replay buffer is empty")
"""


@pytest.mark.parametrize("track", ["quick", "proof"])
def test_a_crash_is_one_line_with_its_reason_its_side_and_its_log(project: Project, track: str) -> None:
    program = project.root / "backends" / "program.py"
    text = program.read_text(encoding="utf-8")
    assert CRASH in text
    program.write_text(text.replace(CRASH, LOGGED), encoding="utf-8")
    recipe = {"level": 100.0, "behaviour": "crash", "only": ["worldflux/alpha/1"]}
    (project.suite if track == "quick" else project.proof)("crash", tasks=["alpha"], recipe=recipe)
    result = project.run("--junitxml=junit.xml")
    log = "crash/executions/alpha/seed_1/worldflux/attempt_1/stderr.log"
    why = "fake_worldflux: exit status 1: ValueError: the replay buffer is empty"
    assert "5 files are not synced" in (project.run_dir() / log).read_text(encoding="utf-8").splitlines()[-1]
    found = cases(project)
    assert found["crash alpha[seed=1]"] == ("failure", f"worldflux: {why}; log: reports/parity/r/{log}")
    line = f"failed (worldflux, alpha, seed 1): {why}; log: {log}"
    assert found["crash verdict[coverage]"] == ("failure", f"fail: {line}")
    said = result.stdout.str()
    assert f"coverage: {line}\n" in said or f"coverage: fail: {line}\n" in said
    assert "(and 1 more)" not in said
    where = project.run_dir() / ("report.md" if track == "quick" else "crash/equivalence_report.md")
    assert f"worldflux alpha seed 1: failed ({why}; log: {log})" in where.read_text(encoding="utf-8")


def test_the_logs_of_every_suite_are_in_the_report(project: Project) -> None:
    for name in ("one", "other"):
        recipe = {"level": 100.0, "behaviour": "crash", "only": ["worldflux/alpha/0"]}
        project.suite(name, tasks=["alpha"], seeds=1, recipe=recipe)
    project.run()
    logs = project.report().partition("## Logs of failed runs")[2]
    assert [f"{name}: worldflux alpha seed 0:" in logs for name in ("one", "other")] == [True, True]
