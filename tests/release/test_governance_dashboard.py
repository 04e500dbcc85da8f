"""``report`` and the dashboard: readable, whole, escaped, and made of nothing but the documents."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.reporting.aggregate_markdown import aggregate_report
from pytest_worldflux_parity.reporting.aggregates import aggregate_of_rows, row_of_run
from pytest_worldflux_parity.reporting.dashboard import dashboard
from pytest_worldflux_parity.reporting.drawing import LARGEST_SCALE, WIDTH
from pytest_worldflux_parity.reporting.estimates import panels_of_run
from tests.release.judged_runs import Document, earlier, read, run_path, write

Command = Callable[..., tuple[int, str, str]]
SUITES = ("good", "live", "losses", "worse")
VOID = {"meta", "br", "rect", "line", "circle", "path"}
NASTY = "</style></td><script>alert(1)</script>\" onload='x' &amp; \x00| `"


class Page(HTMLParser):
    """Reads a page: its tags, attributes and text; notes what is not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def aggregate_of(runs: list[Document]) -> Document:
    rows = [row_of_run(run, "run.json") for run in runs]
    return aggregate_of_rows(
        rows, not_judged={}, time="2026-01-01", aggregate_json="a.json", report_md=None, dashboard_html=None
    )


def page_of(*runs: Document, equivalence: tuple[Document, ...] = ()) -> Page:
    page = Page(dashboard(aggregate_of(list(runs)), list(runs), equivalence))
    assert not page.wrong
    assert not page.open
    return page


@pytest.fixture
def runs(judged: Path) -> list[Document]:
    return [read(run_path(judged, suite)) for suite in SUITES]


def test_a_run_writes_its_dashboard_and_names_it(judged: Path) -> None:
    folder = judged / "reports" / "parity" / "r"
    artifacts = read(folder / "aggregate.json")["evidence_bundle"]["artifacts"]
    assert artifacts["dashboard_html"] == "dashboard.html"
    assert all(
        (folder / artifacts[key]).is_file() for key in ("dashboard_html", "report_md", "aggregate_json")
    )
    page = Page((folder / "dashboard.html").read_text(encoding="utf-8"))
    assert not page.wrong
    assert "3 of 4 suites pass" in page.text


def test_the_page_loads_nothing(runs: list[Document]) -> None:
    page = page_of(*runs)
    used = {tag for tag, _ in page.tags}
    assert not used & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "image", "use"}
    names = {name for _, attributes in page.tags for name in attributes}
    assert not {n for n in names if n.startswith("on")} | names & {"src", "href", "xlink:href", "action"}
    style = "".join(re.findall(r"<style>(.*?)</style>", dashboard(None, runs), re.S))
    assert "url(" not in style
    assert "@import" not in style
    policy = next(m["content"] for m in page.named("meta") if m.get("http-equiv"))
    assert policy
    assert policy.startswith("default-src 'none'")


def test_it_is_for_phones_dark_rooms_and_screen_readers(runs: list[Document]) -> None:
    page = page_of(*runs)
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.named("meta")
    assert "prefers-color-scheme:dark" in dashboard(None, runs)
    assert page.named("html") == [{"lang": "en"}]
    assert [tag for tag, _ in page.tags if tag in ("h1", "h2", "h3")][:2] == ["h1", "h2"]
    assert len(page.named("h1")) == len(page.named("main")) == 1
    tables = page.named("table")
    assert len(page.named("caption")) == len(tables) > len(SUITES)
    assert all(th.get("scope") in ("col", "row") for th in page.named("th"))
    # Drawings are hidden from screen readers since the numbers stand beside them.
    assert page.named("svg")
    assert all(svg["aria-hidden"] == "true" for svg in page.named("svg"))
    # Verdicts are words, not colours.
    assert {"✓ pass", "✗ fail"} <= set(re.findall(r"[✓✗?!] \w+", page.text))


def test_every_number_of_a_suite_is_there(runs: list[Document]) -> None:
    page = page_of(*runs)
    good = runs[0]
    calibrated = good["metrics"]["episode_return"]["calibrated"]
    # Of positive scores a contrast d is the ratio (1 - d / 2) / (1 + d / 2).
    value, high, low = (-d / (1 + d / 2) for d in (calibrated[k] for k in ("contrast", "lower", "upper")))
    assert f"{value:+.1%}[{low:+.1%}, {high:+.1%}]from -4.9%" in page.text
    for run in runs:
        assert run["suite"]["suite_id"] in page.text
        assert run["verdict_reason"] in page.text
        for task in run["suite"]["tasks"]:
            assert task in page.text
        for name in run["metrics"]:
            assert name in page.text
    assert "8 official and 8 worldflux results, 8 pairs, 0 missing" in page.text
    markdown = aggregate_report(aggregate_of(runs), runs)
    assert f"| {value:+.1%} | [{low:+.1%}, {high:+.1%}] | from -4.9% |" in markdown
    assert markdown.count("\n## ") == len(runs)


def test_intervals_are_drawn_where_they_are(runs: list[Document]) -> None:
    """A bar stands at the numbers of its row, on the scale of its table."""
    text = dashboard(aggregate_of(runs[:1]), runs[:1])
    [panel] = panels_of_run(runs[0])
    found = re.findall(r'class="bar" x1="([\d.]+)" y1="9.0" x2="([\d.]+)"', text)
    ends = [row.shown.interval for row in panel.rows]
    assert len(found) == len(ends) == 3
    bound = panel.rows[0].shown.bounds[0]
    assert bound == pytest.approx(-0.05 / 1.025)
    biggest = max(abs(x) for x in (*ends[0], *ends[1], *ends[2], 2 * bound) if x is not None)
    for drawn, row in zip(found, ends, strict=True):
        for x, value in zip(drawn, row, strict=True):
            assert value is not None
            assert float(x) == pytest.approx(WIDTH / 2 + value / biggest * (WIDTH / 2 - 8), abs=0.06)


def test_what_leaves_the_scale_is_an_arrow(runs: list[Document]) -> None:
    run = earlier(runs[0])
    run["stats"].update(mean_drop_ratio=-388.0, ci_lower_ratio=-1000.0, ci_upper_ratio=3 * LARGEST_SCALE)
    page = dashboard(aggregate_of([run]), [run])
    assert page.count('class="arrow"') == 2
    assert 'class="dot"' not in page
    assert "+38800.0%" in page


def nasty(value: Any) -> Any:
    """A document in which every name and sentence is an attack; numbers and codes stay."""
    keep = {
        "pass",
        "fail",
        "inconclusive",
        "calibrated",
        "equivalence",
        "drop_ratio",
        "official",
        "worldflux",
    }
    if isinstance(value, dict):
        return {k: nasty(v) for k, v in value.items()}
    if isinstance(value, list):
        return [nasty(v) for v in value]
    return NASTY + value if isinstance(value, str) and value not in keep else value


def test_everything_is_escaped(runs: list[Document]) -> None:
    attacked = [nasty(run) for run in runs]
    attacked[0]["metrics"] = {NASTY + k: v for k, v in attacked[0]["metrics"].items()}
    attacked[0]["missing"]["upstream_only"] = [{"task": NASTY, "seed": 1, "reason": NASTY, "detail": NASTY}]
    aggregate = nasty(aggregate_of(runs))
    aggregate["not_judged"] = [{"suite": NASTY, "reason": NASTY}]
    text = dashboard(aggregate, attacked, title=NASTY)
    page, honest = Page(text), page_of(*runs)
    assert not page.wrong
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in honest.tags}
    assert not [a for _, attributes in page.tags for a in attributes if a.startswith("on")]
    assert "\x00" not in text
    assert "alert(1)" in page.text
    markdown = aggregate_report(aggregate, attacked)
    assert "<script" not in markdown
    widths = {line.replace("\\|", "").count("|") for line in markdown.splitlines() if line.startswith("|")}
    assert widths == {5, 6, 10}


def proof(effect: str, cells: dict[str, Document]) -> Document:
    """What the dashboard reads of an equivalence report."""
    empty = {"status": "ok", "reason": "", "official_mean": 10.0, "worldflux_mean": 10.1, "mean_effect": 0.01,
             "ci90_effect": [-0.01, 0.03], "equivalence_bounds_effect": [-0.05, 0.05], "pass": True,
             "different": False, "seed_ids": {"official": [0, 1], "worldflux": [0, 1]},
             "rule": {"effect": effect, "equivalence_margin": 0.05, "alpha": 0.05}}  # fmt: skip
    tasks = [{"task_id": task, "family": "fake", "metrics": {"auc_return": {**empty, **own}}}
             for task, own in cells.items()]  # fmt: skip
    keys = ("parity_pass_final", "parity_pass_frequentist", "parity_pass_bayesian", "validity_pass")
    final = {**dict.fromkeys(keys, False), "component_match_pass": None, "verdict": "inconclusive",
             "verdict_reason": "too few seeds", "tasks_total": 2, "tasks_pass_all_metrics": 1,
             "missing_pairs": 0}  # fmt: skip
    counts = {"complete_task_seed_pairs": 4}
    config = {"parity_claim_level": None, "holm_scope": "primary"}
    return {"suite_id": "a_proof", "tasks": tasks, "global": final, "completeness": counts, "config": config}


def test_proof_suites_have_rows_of_their_own(runs: list[Document]) -> None:
    undefined = {"status": "undefined", "reason": "scores are not positive", "mean_effect": None,
                 "ci90_effect": None, "equivalence_bounds_effect": None, "pass": False}  # fmt: skip
    report = proof("log_ratio", {"alpha": {}, "beta": undefined})
    page = page_of(*runs[:1], equivalence=(report,))
    # A log ratio of 0.03 is a difference of 3.0 %, one of 0.05 of 5.1 %.
    assert "[-1.0%, +3.0%]" in page.text
    assert "undefined: scores are not positive" in page.text
    assert "component_match_pass: not asked for" in page.text
    assert Page(dashboard(None, [], [report])).wrong == []
    assert "1 of 2 tasks are within their bounds" in aggregate_report(aggregate_of(runs), [], [report])


def test_the_command(copied: Path, command: Command) -> None:
    folder = copied / "reports" / "parity" / "r"
    arguments = ("report", "--aggregate", folder / "aggregate.json", "--output", "out/report.md")
    status, out, err = command(*arguments, "--dashboard", "out/page.html")
    assert (status, err) == (0, "")
    assert out.split() == ["out/report.md", "out/page.html"]
    assert "3 of 4 suites pass" in (copied / "out" / "report.md").read_text(encoding="utf-8")
    assert not Page((copied / "out" / "page.html").read_text(encoding="utf-8")).wrong
    # The earlier system's documents, which lie elsewhere, and one that is gone: the row stays.
    write(copied / "runs" / "good.json", earlier(read(run_path(copied, "good"))))
    assert command("aggregate", "--runs-glob", "runs/*.json", "--output", "old.json")[0] == 0
    assert command("report", "--aggregate", "old.json", "--output", "old.md")[0] == 0
    (copied / "runs" / "good.json").unlink()
    assert command("report", "--aggregate", "old.json", "--output", "old.md")[0] == 0
    assert "| good | fake | **pass** |" in (copied / "old.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("r/aggregate.json", {"all_suites_pass": True}, "aggregate_differs"),
        ("r/good/run.json", {"pass": False, "verdict": "fail"}, "aggregate_differs"),
        ("r/good/run.json", {"counts": {}}, "is missing in counts"),
        ("r/aggregate.json", {"schema_version": "x"}, "schema_version is 'x'"),
    ],
)
def test_a_report_of_contradictions_is_refused(
    copied: Path, command: Command, file: str, change: Document, said: str
) -> None:
    path = copied / "reports" / "parity" / file
    write(path, {**read(path), **change})
    folder = copied / "reports" / "parity" / "r"
    status, _, err = command("report", "--aggregate", folder / "aggregate.json", "--output", "report.md")
    assert status == 1
    assert said in err
    assert err.count("\n") == 1
    assert not (copied / "report.md").exists()


def test_it_does_not_replace_what_it_is_made_of(copied: Path, command: Command) -> None:
    aggregate = copied / "reports" / "parity" / "r" / "aggregate.json"
    before = aggregate.read_bytes()
    assert command("report", "--aggregate", aggregate, "--output", aggregate)[0] == 1
    run = run_path(copied, "good")
    assert command("report", "--aggregate", aggregate, "--output", "a.md", "--dashboard", run)[0] == 1
    assert command("report", "--aggregate", aggregate, "--output", "a.md", "--dashboard", "a.md")[0] == 1
    assert aggregate.read_bytes() == before
    assert json.loads(run.read_text())["pass"] is True


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    numbers=st.lists(st.floats(-1e50, 1e50), min_size=3, max_size=3).map(sorted),
    text=st.text(max_size=40),
)
def test_any_number_and_text_gives_a_whole_page(judged: Path, numbers: list[float], text: str) -> None:
    run = earlier(read(run_path(judged, "good")))
    keys = ("ci_lower_ratio", "mean_drop_ratio", "ci_upper_ratio")
    run["stats"].update(zip(keys, numbers, strict=True))
    run["stats"]["verdict_reason"] = text
    run["suite"]["suite_id"] = text
    page = page_of(run)
    for svg in re.findall(r'(?:x|x1|x2|cx|width)="([^"]*)"', dashboard(aggregate_of([run]), [run])):
        assert 0 <= float(svg) <= WIDTH, svg
    assert len(page.named("h2")) == 1
