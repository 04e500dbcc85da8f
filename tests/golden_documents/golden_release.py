"""Examples of a release and of campaigns."""

from __future__ import annotations

from golden_stage import Stage

from tests.release.judged_runs import judged_project
from tests.session.test_campaign_sessions import COMMAND, DOCUMENT, PROGRAM

RUN = "reports/parity/r"
TABLE = {
    "scores": [
        {"task": t, "seed": s, "step": 1000, "score": s + 0.5} for t in ("alpha", "beta") for s in (0, 1)
    ]
}


def release(stage: Stage) -> None:
    """A required suite that passes, one that does not, one that was never run, and missing pairs."""
    judged_project(stage.root)
    stage.session("quick", "suites/quick/good.yaml", "suites/quick/worse.yaml")
    for name, suites in (("good", ["good"]), ("all", ["good", "worse"])):
        runs = [f"{RUN}/{suite}/run.json" for suite in suites]
        stage.command("aggregate", "--output", f"out/{name}.json", "--runs-glob", *runs)
        own = [
            "--run",
            runs[-1],
            "--aggregate",
            f"out/{name}.json",
            "--lock",
            "reports/parity/upstream_lock.json",
        ]
        stage.command("validate", *own, "--required-suite", suites[-1])
        stage.command("validate", *own, "--required-suite", "absent")
        stage.command("report", "--aggregate", f"out/{name}.json", "--output", f"out/{name}.md")
    policy = ("--policy", "reports/parity/suite_policy.json")
    stage.command("coverage", "--aggregate", "out/good.json", *policy)
    stage.command("coverage", "--aggregate", "out/all.json", *policy, "--enforce-pass")
    stage.take("out/*")


def campaign(stage: Stage) -> None:
    """A table exported, a program of ours run, and one of somebody else's."""
    stage.project()
    stage.write("program.py", PROGRAM)
    stage.write("suites/campaign/in.json", TABLE)
    stage.write("suites/campaign/c.yaml", DOCUMENT)
    theirs = {
        **DOCUMENT["sources"]["worldflux"],
        "adapter": "theirs",
        "command_template": ["python3", *COMMAND[1:]],
    }
    other = {
        **DOCUMENT,
        "suite_id": "commands",
        "sources": {"worldflux": {**theirs, "output_path": "own.json"}},
    }
    stage.write("suites/campaign/commands.yaml", other)
    stage.session("campaign", "--parity-source=both", "suites/campaign/c.yaml")
    # Before the next session, which names the tables by their hashes: each writing states its second.
    stage.command("campaign", "export", "suites/campaign/c.yaml", "--source", "oracle")
    stage.session("campaign", "--parity-source=worldflux", "suites/campaign/commands.yaml", run_id="other")
    stage.take("out/*.json", "suites/campaign/own.json")


RELEASE = (release, campaign)
