"""Secrets, paths and names that a program writes: cleaned at its end, or the pair fails at once."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pytest_worldflux_parity.cli.main import main
from tests.conftest import Project
from tests.session.test_proof_commands import SUITE, commands

SECRET = "hunter2-and-more"
OTHER = "s3cr3t/of+the=other"
# What the candidate says, by what it is called in a test.
SAYS = """
def says(request):
    import base64, socket
    secret, other = os.environ["MY_TOKEN"], os.environ["MY_PASSWORD"]
    home = os.path.expanduser("~")
    print("login", secret, secret.upper(), base64.b64encode(("user:" + secret).encode()).decode())
    print("https://me:pa55word@example.org/x", other.encode().hex(), "Bearer abcdefghijkl1234567")
    print(f"file://{home}/data -I{home}/include", f"carol@{socket.gethostname()}:{home}", file=sys.stderr)
    with open(os.path.join(request.out_dir, "progress.jsonl"), "a") as file:
        file.write(json.dumps({"step": 5, "note": f"{home}/x {secret}", "count": 1234567890}) + chr(10))
    own = record(request)
    own.metadata.update(extra(request, home, secret, socket.gethostname()))
    wire.write_record(request.out_dir, own)


def extra(request, home, secret, host):
    return EXTRA
"""
PLACES = '{"host": host, "data": home + "/games", "files": [request.out_dir + "/progress.jsonl"]}'


def saying(project: Project, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = project.root / "backends" / "program.py"
    text = program.read_text(encoding="utf-8").replace(
        "\nBEHAVIOURS = {", SAYS.replace("EXTRA", extra) + "\n\nBEHAVIOURS = {"
    )
    program.write_text(text.replace("ok, crash,", "ok, says, crash,"), encoding="utf-8")
    monkeypatch.setenv("HOME", str(project.root.parent))
    monkeypatch.setenv("MY_TOKEN", SECRET)
    monkeypatch.setenv("MY_PASSWORD", OTHER)
    monkeypatch.setenv("MY_COUNT_SECRET", "1234567890")


def everything(folder: Path) -> str:
    """All that stands in a run directory, and in its bundle."""
    texts = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        # The copies of programs are what ran; nothing publishes them.
        if ".program" in path.parts:
            continue
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                texts += [f"{path}!{n}\n{archive.read(n).decode()}" for n in archive.namelist()]
        else:
            texts.append(f"{path.name}\n{path.read_text(encoding='utf-8')}")
    return "\n".join(texts).replace(str(folder), "")


def statement(bundle: Path) -> dict[str, Any]:
    with zipfile.ZipFile(bundle) as archive:
        found: dict[str, Any] = json.loads(archive.read("statement.json"))
    return found


def test_what_a_program_says_is_cleaned_before_it_is_hashed(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saying(project, PLACES, monkeypatch)
    project.proof(recipe={"level": 100.0, "behaviour": "says", "only": ["worldflux/alpha/0"]})
    result = project.run("--junitxml=junit.xml", f"--rootdir={project.root}")
    assert result.ret == pytest.ExitCode.OK, "an honest program passes"
    attempt = project.run_dir() / "fake_proof/executions/alpha/seed_0/worldflux/attempt_1"
    record = (attempt / "metrics.json").read_bytes()
    line = next(x for x in project.lines("fake_proof") if x["system"] == "worldflux" and x["seed"] == 0)
    assert line["artifacts_sha256"]["metrics"] == hashlib.sha256(record).hexdigest()
    assert line["metrics"]["metadata"]["data"] == "<home>/games"
    assert line["metrics"]["metadata"]["host"] == "<host>"
    assert line["metrics"]["metadata"]["files"] == ["progress.jsonl"], "named from its folder"
    text = everything(project.run_dir())
    assert f'"{socket.gethostname()}"' not in text
    # pytest itself names the host there.
    text += (project.root / "junit.xml").read_text(encoding="utf-8")
    encoded = base64.b64encode(f"user:{SECRET}".encode()).decode()
    for leak in (
        SECRET,
        SECRET.upper(),
        encoded,
        OTHER,
        OTHER.encode().hex(),
        "pa55word",
        "abcdefghijkl1234567",
    ):
        assert leak not in text, leak
    assert "carol" not in text
    progress = (attempt / "progress.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    assert json.loads(progress)["count"] == 1234567890, "a number stays one"
    bundle = project.run_dir() / "fake_proof" / "evidence_bundle.zip"
    predicate = statement(bundle)["predicate"]["bundle"]
    cleaned = {row["name"]: row["taken_out"] for row in predicate["cleaned"]}
    below = "run/fake_proof/executions/alpha/seed_0"
    assert cleaned[f"{below}/worldflux/attempt_1/metrics.json"] == {"<home>": 1, "<host>": 1}
    assert cleaned[f"{below}/worldflux/attempt_1/stdout.tail.log"]["<redacted:MY_TOKEN>"] == 3
    assert f"{below}/official/attempt_1/metrics.json" not in cleaned, "nothing was taken out of it"
    assert predicate["redacted"] == ["MY_PASSWORD", "MY_TOKEN", "bearer_token", "url_password"]
    assert main(["verify", str(bundle)]) == 5, capsys.readouterr().out


@pytest.mark.parametrize(
    ("extra", "place"),
    [
        ('{"env": {"X": "a " + secret}}', "metadata.env.X holds the value of MY_TOKEN"),
        (
            '{"url": "https://me:pa55word99@example.org"}',
            "metadata.url holds what has the form of a url_password",
        ),
        (
            '{"wandb": {"api_key": "0aA1bB2cC3dD4eE5fF6g"}}',
            "metadata.wandb.api_key holds what has the form of",
        ),
    ],
)
def test_a_secret_in_a_record_fails_its_pair_at_once(
    project: Project, extra: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    saying(project, extra, monkeypatch)
    project.suite(recipe={"behaviour": "says", "only": ["worldflux/alpha/0"]}, retries=3)
    result = project.run()
    result.stdout.fnmatch_lines([f"worldflux: fake_worldflux: metrics.json: {place}*; to mend: *"])
    lines = [
        x for x in project.lines() if (x["system"], x["task_id"], x["seed"]) == ("worldflux", "alpha", 0)
    ]
    assert [(x["status"], x["error_kind"]) for x in lines] == [("failed", "leak")], "it is not tried again"
    assert sum(x["success"] for x in project.lines()) == 11, "and no other pair fails"
    text = everything(project.run_dir())
    assert not [leak for leak in (SECRET, "pa55word99", "0aA1bB2cC3") if leak in text]
    assert (project.run_dir() / "fake_quick" / "evidence_bundle.zip").exists(), (
        "evidence is never refused for it"
    )


def test_digits_and_short_values_fail_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    saying(project, '{"id": "1234567890", "stage": "alpha", "password": "12345678"}', monkeypatch)
    monkeypatch.setenv("DB_PASS", "alpha")
    project.suite(recipe={"behaviour": "says", "only": ["worldflux/alpha/0"]})
    assert project.run().ret == pytest.ExitCode.OK
    assert {x["task_id"] for x in project.lines()} == {"alpha", "beta"}


def test_names_of_metrics_stay_whatever_machines_and_people_are_called(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = project.root / "backends" / "program.py"
    host = socket.gethostname()
    text = program.read_text(encoding="utf-8")
    once = "loss + rng.gauss(0, 0.01)"
    both = text.replace(f'"loss.late": {once}', f'"loss/late": {once}, "{host}.loss": {once}')
    program.write_text(both, encoding="utf-8")
    home = project.root.parent / "late"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    names = ("loss/late", f"{host}.loss")
    project.suite(
        tasks=["alpha"], metrics=[{"name": n, "rule": "equivalence", "margin": 0.05} for n in names]
    )
    assert project.run().ret == pytest.ExitCode.OK, "no metric is lost"


def test_a_secret_that_is_a_word_of_every_record_fails_none(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    saying(project, '{"db": "postgresql 15", "container": "docker://tf:2.16.1-gpu@sha256:ab"}', monkeypatch)
    for name, word in {"CI_AUTH": "effective", "APP_KEY": "metadata", "DB_PASSWORD": "postgres"}.items():
        monkeypatch.setenv(name, word)
    project.suite(tasks=["alpha"], recipe={"behaviour": "says", "only": ["worldflux/alpha/0"]})
    result = project.run()
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["parity: the value of APP_KEY is a word of every record*", "*CI_AUTH*"])
    assert "postgresql 15" in json.dumps(project.lines())


def test_what_a_terminal_and_a_mailer_make_of_a_key_is_cleaned(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "ghp_" + "aB3" * 12
    saying(project, PLACES, monkeypatch)
    program = project.root / "backends" / "program.py"
    said = f'print("\\x1b[32m{key}", json.dumps({{"m": "a\\n{key}"}}), "t%3D{key} MY_{key} --{key}")'
    broken = 'print(base64.encodebytes(b"x" * 40 + secret.encode() + b"y" * 60).decode())'
    text = program.read_text(encoding="utf-8")
    program.write_text(
        text.replace('    print("login"', f'    {said}\n    {broken}\n    print("login"'), encoding="utf-8"
    )
    project.suite(tasks=["alpha"], seeds=1, recipe={"behaviour": "says", "only": ["worldflux/alpha/0"]})
    project.run()
    left = everything(project.run_dir())
    assert "<redacted:github_token>" in left, "it was printed"
    assert key not in left
    pieces = base64.encodebytes(b"x" * 40 + SECRET.encode() + b"y" * 60).decode().split()
    assert not [piece for piece in pieces if piece in left]


def test_what_a_killed_worker_left_is_cleaned_by_the_next(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    saying(project, PLACES, monkeypatch)
    project.suite(tasks=["alpha"], seeds=2, recipe={"behaviour": "says", "only": ["worldflux/alpha/1"]})
    assert project.run("suites/quick/fake_quick.yaml::alpha[seed=0]").ret == pytest.ExitCode.TESTS_FAILED
    folder = project.run_dir() / "fake_quick" / "executions" / "alpha" / "seed_1" / "worldflux" / "attempt_1"
    first = folder.parents[2] / "seed_0" / "worldflux" / "attempt_1"
    folder.mkdir(parents=True)
    request = json.loads((first / "request.json").read_text(encoding="utf-8"))
    (folder / "stdout.log").write_text(f"{SECRET} {project.root}/x\n", encoding="utf-8")
    os.mkfifo(folder / "stderr.log")
    (folder / "request.json").write_text(json.dumps({**request, "out_dir": str(folder)}), encoding="utf-8")
    project.run("--parity-resume")
    assert (folder / "stdout.log").read_text(encoding="utf-8") == "<redacted:MY_TOKEN> <root>/x\n"
    assert str(project.root) not in (folder / "request.json").read_text(encoding="utf-8")
    assert not (folder / "stderr.log").exists(), "and nobody waits for a pipe"


def test_option_values_are_cleaned(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", SECRET)
    monkeypatch.setenv("HOME", str(project.root.parent))
    project.suite(tasks=["alpha"], seeds=1)
    project.run(f"--junitxml={project.root}/j.xml", "-k", f"not {SECRET}", "-o", "cache_dir=/some/where/else")
    arguments = project.document("run.json")["arguments"]
    assert "--junitxml=<root>/j.xml" in arguments
    assert "not <redacted:MY_TOKEN>" in arguments
    assert not [a for a in arguments if "/some/where" in a or SECRET in a]


def test_the_reason_of_a_resume_is_cleaned_everywhere(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "ghp_" + "aB3" * 12
    monkeypatch.setenv("HOME", str(project.root.parent))
    project.suite(tasks=["alpha"], seeds=1)
    project.run()
    reason = f"--parity-retry-failed=reset {key} in {project.root.parent}/x"
    result = project.run("--parity-resume", reason)
    text = everything(project.run_dir()) + result.stdout.str()
    assert "failed runs tried again: reset <redacted:github_token> in <home>/x" in text
    assert key not in text
    assert f"{project.root.parent}/x" not in text


def test_an_interpreter_below_the_home_folder_gets_its_evidence(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The usual place of an environment; a manifest names it, and is held as it is."""
    home = project.root.parent
    python = home / "envs" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    monkeypatch.setenv("HOME", str(home))
    suite_id = commands(project, defaults={})
    suite = project.root / SUITE
    document = json.loads(suite.read_text(encoding="utf-8"))
    for task in document["tasks"]:
        for system in ("official", "worldflux"):
            task[system]["command"][0] = str(python)
    suite.write_text(json.dumps(document), encoding="utf-8")
    project.run()
    lines = project.lines(suite_id)
    assert [line["success"] for line in lines] == [True] * 8, [line["error"] for line in lines]
    bundle = project.run_dir() / suite_id / "evidence_bundle.zip"
    with zipfile.ZipFile(bundle) as archive:
        assert archive.read("inputs/suite.yaml") == suite.read_bytes()
    code = main(["verify", str(bundle)])
    assert (code, "does not follow" in capsys.readouterr().out) == (1, False), "no pass, and it follows"
