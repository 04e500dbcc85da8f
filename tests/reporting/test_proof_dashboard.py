"""Every kind of equivalence report has its rows in the dashboard and in the report of an aggregate."""

from __future__ import annotations

import math

import pytest

from pytest_worldflux_parity.reporting.dashboard import dashboard
from pytest_worldflux_parity.reporting.estimates import interval_text, panels_of_equivalence
from tests.reporting.test_proof_documents import DECISIONS, document


@pytest.mark.parametrize("name", DECISIONS)
def test_a_panel_per_metric_and_a_row_per_task(name: str) -> None:
    report = document(DECISIONS[name])
    panels = panels_of_equivalence(report)
    assert {p.metric for p in panels} == {m for task in report["tasks"] for m in task["metrics"]}
    for panel in panels:
        cells = {task["task_id"]: task["metrics"][panel.metric] for task in report["tasks"]}
        assert sorted(cells) == sorted(row.task for row in panel.rows)
        for row in panel.rows:
            cell, value = cells[row.task], row.shown.value
            assert (row.word == "pass") is cell["pass"]
            assert row.note or cell["status"] == "ok"
            if cell["mean_effect"] is not None and cell["rule"]["effect"] == "log_ratio":
                assert value == pytest.approx(math.exp(cell["mean_effect"]) - 1)
                assert value == pytest.approx(cell["ratio_mean"] - 1)
    page = dashboard(None, [], [report], not_judged={"another.yaml": "<no such file>"})
    assert page.count("<svg") == sum(len(panel.rows) for panel in panels)
    assert f"{report['global']['verdict']}</span>" in page
    assert "&lt;no such file&gt;" in page


def test_the_numbers_of_a_pass_are_on_the_page() -> None:
    report = document(DECISIONS["pass"])
    page = dashboard(None, [], [report])
    for panel in panels_of_equivalence(report):
        assert panel.verdict == "pass"
        for row in panel.rows:
            assert interval_text(row.shown.interval) in page
