"""Suite files: what is refused, where, and with which advice; and that nothing else ever comes out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.errors import SuiteError
from pytest_worldflux_parity.suite import suite_file
from pytest_worldflux_parity.suite.suite import ArtifactSide, BackendSide, Budget

GOOD = """\
schema_version: worldflux.parity.suite.v1
suite_id: small
family: tdmpc2
track: quick
tasks:
  - cartpole-balance
  - id: walker-walk
    recipe: {lr: 3e-4}
    budget: {step: 2000}
seeds: {official: 10, worldflux: [0, 1, 2]}
official:
  artifact: {path: oracle.json, format: canonical_json}
recipe: {lr: 1e-3, compile: false, note: "false"}
eval_protocol:
  eval_interval: 1000
  windows: {late: [401, 500]}
budget: {step: 1000, tolerance: 0.05}
metrics:
  - {name: episode_return, rule: calibrated, margin: 0.05}
  - {name: loss.late, rule: equivalence, margin: 0.1, tasks: [walker-walk]}
"""

LEGACY: dict[str, Any] = {
    "suite_id": "old", "family": "dreamerv3", "metric": "episode_return", "higher_is_better": True,
    "margin_ratio": 0.05, "confidence": 0.95, "tasks": ["atari_pong"],
    "upstream": {"repo": "r", "commit": "c", "format": "dreamerv3_scores_json_gz", "path": "u.json.gz"},
    "worldflux": {"format": "canonical_json", "path": "w.json"},
}  # fmt: skip


def load(folder: Path, text: str | bytes) -> Any:
    path = folder / "suite.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return suite_file.load(path)


def test_a_suite_with_everything(tmp_path: Path) -> None:
    suite = load(tmp_path, GOOD)
    first, second = suite.tasks
    assert first.recipe == {"lr": 0.001, "compile": False, "note": "false"}
    assert second.recipe == {"lr": 0.0003, "compile": False, "note": "false"}
    assert (first.budget, second.budget) == (Budget(1000, 0.05), Budget(2000, 0.05))
    assert first.eval_protocol == {"eval_interval": 1000, "windows": {"late": [401, 500]}}
    assert suite.seeds == {"official": tuple(range(10)), "worldflux": (0, 1, 2)}
    assert suite.sides["official"] == ArtifactSide(tmp_path / "oracle.json", "canonical_json")
    assert suite.sides["worldflux"] == BackendSide("worldflux_tdmpc2_native"), "the family's own"
    assert [m.name for m in suite.metrics_of("cartpole-balance")] == ["episode_return"]
    assert [m.name for m in suite.metrics_of("walker-walk")] == ["episode_return", "loss.late"]
    assert not suite.legacy


def test_an_older_suite(tmp_path: Path) -> None:
    suite = load(tmp_path, json.dumps(LEGACY))
    assert (suite.legacy, suite.track, suite.primary.rule) == (True, "quick", "drop_ratio")
    assert suite.seeds == {"official": None, "worldflux": None}
    assert suite.sides["official"].duplicates == "last_point", "as the earlier system had it, without a word"


REFUSED = {
    "unknown key": (
        "suite_id: small",
        "suite_idd: small",
        2,
        "unknown key 'suite_idd'; did you mean 'suite_id'?; valid: bins, budget, ",
    ),
    "a name with what no name holds": (
        "suite_id: small",
        "suite_id: smäll one",
        2,
        "suite_id is 'smäll one', not a name of letters, digits, '_', '.' and '-' that begins with a letter",
    ),
    "missing key": ("suite_id: small\n", "", 1, "key 'suite_id' is missing; to mend: add `suite_id:`"),
    "unknown key of a metric": (
        "margin: 0.05}",
        "margn: 0.05}",
        19,
        "unknown key 'margn'; did you mean 'margin'?",
    ),
    "unknown rule": (
        "rule: calibrated",
        "rule: calibratd",
        19,
        "metrics.0.rule is 'calibratd'; did you mean 'calibrated'?; valid: drop_ratio, calibrated,",
    ),
    "text for a boolean": (
        "margin: 0.05}",
        'margin: 0.05, higher_is_better: "false"}',
        19,
        'metrics.0.higher_is_better is "false" (str); valid: boolean',
    ),
    "margin out of range": (
        "margin: 0.05",
        "margin: 5",
        19,
        "metrics.0.margin: ",
    ),
    "text for a number": ("margin: 0.05", "margin: 5%", 19, 'metrics.0.margin is "5%" (str); valid: number'),
    "schema version": (
        "suite.v1",
        "suite.v9",
        1,
        "is 'worldflux.parity.suite.v9'; did you mean 'worldflux.parity.suite.v1'?",
    ),
    "no schema version": (
        "schema_version: worldflux.parity.suite.v1\n",
        "",
        1,
        "key 'schema_version' is missing; to mend: add `schema_version: ",
    ),
    "track": ("track: quick", "track: qick", 4, "track is 'qick'; did you mean 'quick'?"),
    "task twice": (
        "  - id: walker-walk",
        "  - id: cartpole-balance",
        7,
        "task 'cartpole-balance' is named twice",
    ),
    "seed twice": ("[0, 1, 2]", "[0, 1, 0]", 10, "seed 0 is named twice"),
    "seed that is none": ("[0, 1, 2]", "[0, 1, 2.0]", 10, "seeds.worldflux.2 is 2.0 (float); valid: integer"),
    "negative seed": ("[0, 1, 2]", "[0, 1, -2]", 10, "seeds.worldflux.2: "),
    "no seeds": ("[0, 1, 2]", "[]", 10, "seeds.worldflux: "),
    "metric twice": ("name: loss.late", "name: episode_return", 20, "metric 'episode_return' is named twice"),
    "metric on an unknown task": (
        "tasks: [walker-walk]",
        "tasks: [walker-wall]",
        20,
        "loss.late: no task 'walker-wall'; did you mean 'walker-walk'?",
    ),
    "task without a metric": (
        "rule: calibrated, ",
        "rule: calibrated, tasks: [walker-walk], ",
        6,
        "no metric is judged on task 'cartpole-balance'",
    ),
    "family without backends": (
        "family: tdmpc2",
        "family: tdmpc",
        3,
        "the family 'tdmpc' has no default backend; did you mean 'tdmpc2'?",
    ),
    "unknown format": (
        "canonical_json}",
        "canonical_jso}",
        12,
        "official.artifact.format is 'canonical_jso'; did you mean 'canonical_json'?",
    ),
    "reversed window": (
        "[401, 500]",
        "[500, 401]",
        16,
        "window 'late' is [500, 401]; to mend: write [first, last]",
    ),
    "key twice": ("track: quick", "track: quick\ntrack: quick", 5, "key 'track' stands twice"),
    "not YAML": ("track: quick", "track: [quick", 5, "not YAML: "),
    "a tag of YAML's own": ("track: quick", "track: !!str quick", 4, "the tag tag:yaml.org,2002:str means"),
    "a tag": ("track: quick", "track: !python quick", 4, "the tag !python means nothing here"),
    "half a character": ("suite_id: small", 'suite_id: "\\ud800"', 2, "not YAML: "),
    "task with a line's end": (
        "  - cartpole-balance",
        '  - "cartpole\\n"',
        6,
        "tasks.0 is 'cartpole\\n', not the name of a task",
    ),
    "number without end": ("step: 1000", "step: 1e400", 17, "1e400 is too large for a number"),
    "step as text": ("step: 1000", "step: 1_000_", 17, 'budget.step is "1_000_" (str); valid: integer'),
}


@pytest.mark.parametrize(("old", "new", "line", "text"), REFUSED.values(), ids=REFUSED)
def test_refusals_name_line_value_and_mend(tmp_path: Path, old: str, new: str, line: int, text: str) -> None:
    assert GOOD.count(old) == 1 or old in ("suite.v1", "margin: 0.05", "margin: 0.05}", "step: 1000")
    with pytest.raises(SuiteError) as caught:
        load(tmp_path, GOOD.replace(old, new, 1))
    told = caught.value.line()
    assert told.startswith(f"{tmp_path / 'suite.yaml'}:{line}: "), told
    assert text in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "the file is empty"),
        (b"- a\n- b\n", "a suite is a mapping of keys"),
        (b"\xff\xfe\x00", "not YAML"),
        (b"a: b: c", "not YAML"),
        (b"[" * 100_000, "nested more than 50 deep"),
        (b"a: 1\nb:\n  c: " + b"[{" * 100_000, "nested more than 50 deep"),
        (b"- " * 100_000, "nested more than 50 deep"),
        (b"a: &a [*a]", "nested without end"),
        (b"a: &a [1]\nb: &b [" + b"*a," * 999 + b"]\nc: [" + b"*b," * 999 + b"]", "more than 50000 values"),
        (json.dumps({**LEGACY, "margin_ratio": "0.05"}).encode(), "margin_ratio is"),
        (json.dumps({**LEGACY, "higher_is_better": "false"}).encode(), "higher_is_better is"),
        (json.dumps({**LEGACY, "thresold": 1}).encode(), "unknown key 'thresold'"),
        (json.dumps({**LEGACY, "tasks": []}).encode(), "tasks"),
    ],
)  # fmt: skip
def test_other_refusals(tmp_path: Path, text: bytes, told: str) -> None:
    with pytest.raises(SuiteError) as caught:
        load(tmp_path, text)
    assert told in caught.value.line()
    assert caught.value.where.startswith(str(tmp_path / "suite.yaml"))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"absent\.yaml: cannot be read: "):
        suite_file.load(tmp_path / "absent.yaml")
    with pytest.raises(SuiteError, match=f"{re.escape(str(tmp_path))}: cannot be read: "):
        suite_file.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 0.0003), ("1e3", 1000), ("3e6", 3_000_000), ("3.0e6", 3e6), (".5", 0.5), ("1.", 1.0),
        ("-3", -3), ("0", 0), ("089", 89), ("0x10", "0x10"), ("1_000", 1000), ("10_000_000", 10_000_000),
        ("1_000.5", 1000.5), ("_1", "_1"), ("1_", "1_"), ("12:30", "12:30"), ("true", True), ("~", None),
        ('"1"', "1"), ("'true'", "true"), ('"no"', "no"), ('".inf"', ".inf"), ("none", "none"),
        ("2001-01-01", "2001-01-01"),
    ],
)  # fmt: skip
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    document, _ = suite_file.parse_yaml(f"x: {text}".encode(), "x.yaml")
    assert document == {"x": value}
    assert type(document["x"]) is type(value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("on", 'on is true in YAML 1.1 and a word in 1.2: write true, or "on"'),
        ("No", 'No is false in YAML 1.1 and a word in 1.2: write false, or "No"'),
        ("010", '010 is 8 in YAML 1.1 and 10 in 1.2: write 8, 10 or "010"'),
        ("-.inf", '-.inf is no number that can be compared: leave it out, or write "-.inf"'),
    ],
)
def test_what_two_versions_of_yaml_read_otherwise_is_refused(text: str, told: str) -> None:
    for document in (f"a: 1\nx: {text}\n", f"a: 1\nx: [1, {text}]\n", f"a: 1\nx: {{y: {text}}}\n"):
        with pytest.raises(SuiteError) as caught:
            suite_file.parse_yaml(document.encode(), "x.yaml")
        assert caught.value.line() == f"x.yaml:2: {told}"


MERGES = {
    "a mapping": ("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n", {"x": 1, "y": 3}),
    "the key before": ("a: &a {x: 1, y: 2}\nb: {y: 3, <<: *a}\n", {"x": 1, "y": 3}),
    "a list": ("a: [&a {x: 1}, &b {x: 2, y: 2}]\nb: {<<: [*a, *b]}\n", {"x": 1, "y": 2}),
    "through another": ("a: [&a {x: 1}, &b {<<: *a, y: 2}]\nb: {<<: *b}\n", {"x": 1, "y": 2}),
    "in quotes": ('b: {"<<": 1}\n', {"<<": 1}),
}


@pytest.mark.parametrize("how", MERGES)
def test_merge_keys(how: str) -> None:
    text, value = MERGES[how]
    document, lines = suite_file.parse_yaml(text.encode(), "x.yaml")
    assert document["b"] == value
    assert all(("b", key) in lines for key in value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("b: {<<: 1}", "<< takes a mapping, or a list of mappings"),
        ("a: &a [1]\nb: {<<: *a}", "<< takes a mapping, or a list of mappings"),
        ("a: &a {x: 1}\nb: {<<: *a, <<: *a}", "key '<<' stands twice"),
        ("a: &a {<<: *a}", "nested without end"),
    ],
)
def test_merges_that_mean_nothing(text: str, told: str) -> None:
    with pytest.raises(SuiteError, match=re.escape(told)):
        suite_file.parse_yaml(text.encode(), "x.yaml")


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """The good suite, or the older one, after a few cuts, copies and insertions."""
    text = draw(st.sampled_from([GOOD, json.dumps(LEGACY, indent=1)])).encode()
    piece = st.one_of(
        st.binary(max_size=4),
        st.sampled_from(
            b': |- |[|]|{|}|&a |*a|<<: |!!int |null|true|-1|1e9|2.0|"|\n|\t|  |? |%|#|\xc3'.split(b"|")
        ),
    )  # fmt: skip
    for _ in range(draw(st.integers(1, 4))):
        at, length = draw(st.integers(0, len(text))), draw(st.integers(0, 12))
        text = text[:at] + draw(piece) + text[at + length :]
    return text


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=mutated())
def test_a_mutated_suite_loads_or_says_why(tmp_path: Path, text: bytes) -> None:
    """Whatever stands in the file, the loader gives a suite or a SuiteError of one line."""
    try:
        suite = load(tmp_path, text)
    except SuiteError as error:
        told = error.line()
    else:
        told = f"{tmp_path / 'suite.yaml'} is a suite"
        assert suite.tasks
        assert suite.metrics
    assert told.startswith(str(tmp_path / "suite.yaml"))
    assert "\n" not in told
