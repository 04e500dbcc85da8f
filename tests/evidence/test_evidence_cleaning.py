"""No absolute path and no secret of the environment leaves the machine, and every tie between files stays."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from evidence_examples import BELOW, SUITE_ID, Example, Verify, make_run, sha256, write
from hypothesis import example, given, settings
from hypothesis import strategies as st
from manipulations import FIRST, LINES, members_of

from pytest_worldflux_parity.errors import EvidenceError
from pytest_worldflux_parity.evidence.cleaning import Cleaner, cleaner, looks_secret

SECRET = 'tök"en\\with/all\n-of-it'
ENVIRON = {
    "GITHUB_TOKEN": "ghp_0123456789abcdef",
    "WANDB_API_KEY": SECRET,
    "DB_PASSWORD": "short",
    "EDITOR": "an-editor-that-is-no-secret",
}


@pytest.fixture
def own(tmp_path: Path) -> Example:
    return make_run(tmp_path / "me")


def texts(members: dict[str, bytes]) -> dict[str, str]:
    return {n: data.decode() for n, data in members.items() if not n.endswith(".npz")}


def attempt_of(example: Example) -> Path:
    return example.run_dir / SUITE_ID / "executions" / "task-0" / "seed_0" / "official" / "attempt_1"


def test_no_absolute_path_is_in_any_member(example: Example) -> None:
    found = texts(members_of(example.build("paths.zip").path.read_bytes()))
    home = str(example.root.parent)
    assert not [n for n, text in found.items() if home in text]
    assert "<root>/.worldflux/envs/official/bin/python" in found[LINES]
    assert '"<run>/example_proof/executions/task-0' in found[LINES]
    assert "a/b/c" in found[LINES], "what is no absolute path stays"


def test_no_secret_is_in_any_member(own: Example, verify: Verify) -> None:
    attempt = attempt_of(own)
    (attempt / "stdout.log").write_text(
        f"login with {SECRET} done\nand ghp_0123456789abcdef\n", encoding="utf-8"
    )
    request = json.loads((attempt / "request.json").read_text(encoding="utf-8"))
    write(attempt / "request.json", {**request, "env": ENVIRON})
    info = replace(own, environ={**own.environ, **ENVIRON}).build()
    found = texts(members_of(info.path.read_bytes()))
    assert info.redacted == ("DB_PASSWORD", "GITHUB_TOKEN", "WANDB_API_KEY")
    joined = "\n".join(found.values())
    for part in ("ghp_0123456789abcdef", "tök", "t\\u00f6k", "with/all", "-of-it"):
        assert part not in joined, part
    assert "an-editor-that-is-no-secret" in joined
    below = f"{BELOW}/executions/task-0/seed_0/official/attempt_1"
    written = json.loads(found[f"{below}/request.json"])["env"]
    assert written["GITHUB_TOKEN"] == "<redacted:GITHUB_TOKEN>"
    assert written["WANDB_API_KEY"] == "<redacted:WANDB_API_KEY>"
    assert verify(info.path.read_bytes())[0] == 5


def test_hashes_follow_what_was_cleaned(example: Example) -> None:
    """A line names the sha256 of its metrics.json: of the one that is in the bundle."""
    members = members_of(example.build("ties.zip").path.read_bytes())
    line = json.loads(members[LINES].splitlines()[0])
    assert line["artifacts_sha256"]["metrics"] == sha256(members[FIRST])
    before = (example.run_dir / FIRST.removeprefix("run/")).read_bytes()
    assert before != members[FIRST]
    rows = json.loads(members["statement.json"])["predicate"]["bundle"]["cleaned"]
    assert {"name": FIRST, "sha256_before": sha256(before), "sha256_after": sha256(members[FIRST])} in rows
    match = json.loads(members[f"{BELOW}/component_match/attempt_1/match_run.json"])
    own = sha256(members[f"{BELOW}/component_match/attempt_1/match.json"])
    assert match["artifacts_sha256"]["match.json"] == own


def test_what_did_not_fit_in_the_run_does_not_fit_in_the_bundle(own: Example, verify: Verify) -> None:
    path = attempt_of(own) / "metrics.json"
    path.write_text(
        path.read_text(encoding="utf-8").replace('"numpy": "2"', '"numpy": "3"'), encoding="utf-8"
    )
    code, said = verify(own.build().path.read_bytes())
    assert (code, "attempt_1/metrics.json is not the file that was stored" in said) == (2, True), said


@pytest.mark.parametrize("name", ["inputs/suite.yaml", "inputs/golden/fake/manifest.json"])
def test_what_was_sealed_is_not_changed_but_refused(own: Example, name: str) -> None:
    document = json.dumps({"table": f"{own.root}/tables/a.json"}).encode()
    with pytest.raises(EvidenceError, match=r"replaced by <root>, and is not to be changed"):
        replace(own, inputs={**own.inputs, name: document}).build()


def test_an_interpreter_that_the_suite_names_is_no_secret(own: Example) -> None:
    suite = json.loads((own.root / "suite.yaml").read_text(encoding="utf-8"))
    suite["command"] = [f"{sys.prefix}/bin/python", "train.py"]
    write(own.root / "suite.yaml", suite)
    members = members_of(own.build().path.read_bytes())
    assert json.loads(members["inputs/suite.yaml"]) == suite


def test_a_word_of_the_suite_is_no_secret(own: Example) -> None:
    """TOKENS=example_proof would take the suite's own name out of every document."""
    environ = {**own.environ, "MODEL_TOKENS": "example_proof"}
    with pytest.raises(EvidenceError, match=r"suite.yaml: .* be replaced by <redacted:MODEL"):
        replace(own, environ=environ).build()


def test_a_secret_that_would_break_a_document(own: Example) -> None:
    write(attempt_of(own) / "request.json", {"seed": 123456789})
    environ = {**own.environ, "MY_SECRET": "123456789"}
    with pytest.raises(EvidenceError, match=r"is no document any more without one of <redacted:MY"):
        replace(own, environ=environ).build()


def test_a_log_without_lines_gives_no_half_of_a_secret(own: Example) -> None:
    secret = "s3cr3t-" * 8
    log = attempt_of(own) / "stdout.log"
    name = f"{BELOW}/executions/task-0/seed_0/official/attempt_1/stdout.tail.log"
    for shift in range(0, 700, 50):
        log.write_text("." * 50 + secret + "." * (3700 + shift), encoding="utf-8")
        tail = members_of(replace(own, environ={"A_SECRET": secret}).build().path.read_bytes())[name].decode()
        assert "s3cr" not in tail, shift
        assert len(tail) <= 4000


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("GITHUB_TOKEN", True), ("AWS_SECRET_ACCESS_KEY", True), ("PGPASSWORD", True), ("api_key", True),
        ("OPENAI_APIKEY", True), ("GOOGLE_APPLICATION_CREDENTIALS", True), ("SSH_PRIVATE", True),
        ("DB_PASS", True), ("NPM_AUTH", True), ("GH_PAT", True), ("SENTRY_DSN", True), ("mykey", True),
        ("PATH", False), ("HOME", False), ("PWD", False), ("PATIENCE", False), ("AUTHOR", False),
        ("KEYBOARD", False), ("SSH_AUTH_SOCK", False), ("PASSAGE", False),
    ],
)  # fmt: skip
def test_names_that_look_like_secrets(name: str, secret: bool) -> None:
    assert looks_secret(name) is secret


CLEANER = cleaner(
    Path("/data/me/project"), Path("/data/me/project/reports/parity/r"), {"HOME": "/data/me"},
    [b"python: /opt/conda/bin/python"],
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("/data/me/project/a.py", "<root>/a.py"),
        ("/data/me/project/reports/parity/r/x", "<run>/x"),
        ("cd /data/me && ls", "cd <home> && ls"),
        ("in /data/me/project.", "in <root>."),
        ("/data/me/projects/a", "<home>/projects/a"),
        ("/data/meow/x", "<dir-d7bc77b2>/x"),
        ("/mnt/data/me/x", "<dir-1dd1179c>/x"),
        ('{"a":"\\/data\\/me\\/project\\/b"}', '{"a":"<root>\\/b"}'),
        ('{"a":"\\u002fdata/m\\u0065/x"}', '{"a":"<home>/x"}'),
        ('{"e":"no\\n/data/me/x"}', '{"e":"no\\n<home>/x"}'),
        ("file:///data/me/x", "file://<home>/x"),
        ("PYTHONPATH=/data/me/project:/opt/other/lib", "PYTHONPATH=<root>:<dir-28800a4a>/lib"),
        ("/opt/conda/bin/python -c", "/opt/conda/bin/python -c"),
        ("train/loss/x 1/2 and/or http://a.b/c/d", "train/loss/x 1/2 and/or http://a.b/c/d"),
        ("GET /health", "GET /health"),
        ("", ""),
    ],
)
def test_paths(text: str, clean: str) -> None:
    assert CLEANER.data(text.encode()).decode() == clean


def test_paths_that_differ_stay_different() -> None:
    assert CLEANER.data(b"/a/x/f.json") != CLEANER.data(b"/a/y/f.json")


def test_a_folder_has_one_name_in_every_bundle() -> None:
    assert CLEANER.data(b"/a/x/f.json /a/x/g.json") == b"<dir-30388766>/f.json <dir-30388766>/g.json"
    assert Cleaner({}, {}, ()).data(b"/a/x/h.json") == b"<dir-30388766>/h.json"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
NEEDLES = st.text(st.characters(exclude_categories=["Cs"]), min_size=8, max_size=15)


@settings(max_examples=50, deadline=None)
@example(document=None, secret="0000000\\", ascii_only=False)
@given(document=VALUES, secret=NEEDLES.filter(lambda s: len(s.strip()) >= 8), ascii_only=st.booleans())
def test_a_secret_in_any_document_is_found_and_the_rest_stays(
    document: object, secret: str, ascii_only: bool
) -> None:
    """However JSON spells it; and what holds none keeps its bytes."""
    clean = Cleaner({secret: "<redacted:X>"}, {}, ("X",))
    plain = json.dumps(document, ensure_ascii=ascii_only)
    if not clean.found(plain.encode("utf-8", "surrogatepass").decode("utf-8", "replace").encode()):
        text = json.dumps({"a": document, "b": f"<{secret}>"}, ensure_ascii=ascii_only)
        raw = text.encode("utf-8", "replace")
        found = json.loads(clean.data(raw))
        assert found["b"] == "<<redacted:X>>"
        assert not clean.found(clean.data(raw))
