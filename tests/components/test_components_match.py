"""One run of a match program, without pytest: what is right passes, and each thing that is wrong is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pytest_worldflux_parity import schemas, wire
from pytest_worldflux_parity.cli import main as cli
from pytest_worldflux_parity.errors import GoldenError
from pytest_worldflux_parity.execution import match_program
from pytest_worldflux_parity.execution.copies import PROGRAM_FOLDER
from pytest_worldflux_parity.execution.launching import Sealed, seal_program_now
from pytest_worldflux_parity.inputs import matches
from pytest_worldflux_parity.inputs.backends import load_backends
from pytest_worldflux_parity.inputs.golden import read_arrays, read_golden
from pytest_worldflux_parity.judgement import assemble
from pytest_worldflux_parity.judgement.gates.components import ComponentEvidence
from pytest_worldflux_parity.reporting import component_report
from tests.components import goldens
from tests.conftest import FAKES, alive

# behaviour -> how the first finding begins
WRONG = {
    "wrong_heads": "component_mismatch: heads: output reward differs by 0.001 of its largest magnitude, "
    "tolerance 1e-05 (stage heads, the first that diverges in data-flow order)",
    "wrong_from_encoder": "component_mismatch: encoder: output z differs by",
    "nan": "component_mismatch: encoder: output z is not finite in 1 of 20 elements",
    "missing_output": "component_mismatch: loss: output value is missing",
    "extra_output": "component_mismatch: heads: output second is not one of the golden's",
    "unknown_output": "output_unexpected: decoder/image belongs to no component of the golden",
    "other_shape": "component_mismatch: encoder: output z is of shape (4, 5), not (5, 4)",
    "blind": "perturbation_not_caught: heads: reward_kernel (a weight is larger by a thousandth) moves no "
    "output by more than",
    "half_blind": "output_not_sensitive: heads: no perturbation moves 1 of 2 outputs beyond the tolerance of "
    "1e-05: positive",
    "copies": "match_failed: fake_worldflux: exit status 1: KeyError: ",
    "large_perturbed": "match_failed: ",
    "many_perturbations": "match_failed: fake_worldflux: match.json: perturbations has 308 entries, "
    "and may have 256",
    "never_perturbed": "perturbation_missing: loss was never perturbed",
    "perturbs_nothing_known": "perturbation_not_caught: decoder: odd (the learning rate is 2 % higher): the "
    "golden has no such component",
    "perturbed_nan": "perturbation_not_caught: encoder: kernel (a weight is larger by a hundredth): output "
    "z is not finite",
    "unmapped": "parameter_unmapped: official parameter enc.bias is mapped to none of ours",
    "mapped_twice": "parameter_size_mismatch: enc.bias is of shape (4,), ours, encoder/kernel, of (3, 4)",
    "left_over": "parameter_not_covered: our parameter head/bias stands for no official one",
    "crash": "match_failed: fake_worldflux: exit status 3: ValueError: the encoder has no weights",
    "no_match_json": "match_failed: fake_worldflux: exit status 0 but no match.json",
    "half_json": "match_failed: fake_worldflux: match.json: not JSON",
    "torn_npz": "match_failed: ",
    "pickle": "match_failed: ",
    "other_tree": "match_failed: fake_worldflux: match.json is of the source tree 0000000000000000...",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with the fake backends, the one of which can be matched, and a root of its own."""
    shutil.copytree(FAKES, tmp_path / "backends")
    goldens.declare(tmp_path / "backends", "  deadline_sec: 60\n")
    (tmp_path / "pytest.ini").touch()
    return tmp_path


def spec_of(project: Path) -> matches.MatchSpec:
    backend = load_backends([project / "backends"])["fake_worldflux"]
    return matches.match_spec(backend, project / "upstream_lock.json")


def sealed(spec: matches.MatchSpec, project: Path) -> Sealed:
    return seal_program_now(spec.backend, project, project / PROGRAM_FOLDER)


def match(project: Path, behaviour: str) -> ComponentEvidence:
    goldens.behave(project / "golden", behaviour)
    spec = spec_of(project)
    folder = project / "out"
    match_program.match_once(spec, folder, project, sealed(spec, project))
    evidence = assemble.evidence_of(spec, folder)
    # Its document keeps its schema, whatever is wrong.
    document = wire.load_object(component_report.write_report(evidence, project, project))
    assert document["all_pass"] is evidence.passed
    assert document["golden"]["path"] == "golden"
    return evidence


def test_a_faithful_program_matches(project: Path) -> None:
    evidence = match(project, "ok")
    assert evidence.passed, evidence.findings
    assert evidence.result is not None
    assert [c.component.stage for c in evidence.result.components] == list(goldens.STAGES)
    assert (evidence.result.mapped, evidence.result.own, evidence.result.covered) == (3, 3, 3)
    assert max(c.worst.badness for c in evidence.result.components) < 1e-12
    document = wire.load_object(project / match_program.REPORT)
    assert document["perturbations"]["caught"] == document["perturbations"]["total"] == 8
    assert document["first_divergence"] is None
    request = wire.load_object(project / "out" / "attempt_1" / "match_request.json")
    schemas.check(request, "match_request.v1", str)


# A match program as the page has it, a file beside its backend.yaml; of one output, which is wrong.
OWN = """
import sys
from pathlib import Path
import numpy as np
from pytest_worldflux_parity import wire

def compute(golden, threads):
    assert Path(sys.argv[1]).name == "checkout"
    told = dict(perturbed={}, mapping={}, parameters={}, perturbations=[], packages={})
    return {"outputs": {"encoder": {"z": np.zeros((5, 4))}}, **told}

sys.exit(wire.match_main("mine", "fake", "HINT", compute, sys.argv[-1:]))
"""


def test_a_file_beside_its_backend_is_a_match_program(project: Path) -> None:
    backend = project / "backends/fake_worldflux"
    (backend / "own.py").write_text(OWN)
    manifest = backend / "backend.yaml"
    before, _, after = manifest.read_text().partition("match:\n")
    argv = '["{python}", "{backend_dir}/own.py", "{backend_dir}/../../../checkout"]'
    manifest.write_text(f"{before}match:\n  argv: {argv}\n" + after.partition("\n")[2])
    found = match(project, "ok").findings
    assert "match_failed" not in {finding.code for finding in found}, found
    assert any(finding.detail.startswith("encoder: output z differs by 1 of its") for finding in found)


@pytest.mark.parametrize("behaviour", WRONG)
def test_what_is_wrong_is_named(project: Path, behaviour: str) -> None:
    evidence = match(project, behaviour)
    assert not evidence.passed
    found = evidence.findings[0].line()
    assert found.startswith(WRONG[behaviour])
    assert ("it unpacks to 640" in found) == (behaviour == "large_perturbed"), "64 MB, of a golden of 2 kB"
    first = wire.load_object(project / match_program.REPORT)["first_divergence"]
    assert (first is not None) is WRONG[behaviour].startswith("component_mismatch")


def test_the_program_is_given_weights_and_inputs_alone(project: Path) -> None:
    """So that it cannot hand back what it should compute; the copy is no golden itself."""
    match(project, "ok")
    given, whole = project / "out" / "attempt_1" / "golden", project / "golden"
    stored = read_arrays(whole / "arrays.npz", GoldenError)
    copied = read_arrays(given / "arrays.npz", GoldenError)
    assert copied.keys() == {k for k in stored if not k.startswith("outputs/")}
    assert all(np.array_equal(copied[k], stored[k]) for k in copied)
    document = wire.load_object(given / "manifest.json")
    assert document["given_of"] == read_golden(whole).identity
    assert wire.read_golden(given, "fake", "record it").components["heads"] == ["reward", "positive"]
    with pytest.raises(GoldenError, match="a golden without its outputs"):
        read_golden(given)


def test_a_wrong_component_needs_its_own_perturbation(project: Path) -> None:
    """What is off the golden anyway does not show that a perturbation was seen."""
    lines = [f.line() for f in match(project, "wrong_and_blind").findings]
    assert any(x.startswith("perturbation_not_caught: heads: reward_kernel") for x in lines)


def test_all_that_diverges_is_listed_and_the_first_named(project: Path) -> None:
    evidence = match(project, "wrong_from_encoder")
    assert evidence.result is not None
    assert [c.component.name for c in evidence.result.components if not c.passed] == [
        "encoder", "heads", "loss"
    ]  # fmt: skip
    assert [("first" in f.line()) for f in evidence.findings] == [True, False, False]


def test_objects_are_refused_and_not_loaded(project: Path) -> None:
    text = match(project, "pickle").error
    assert "outputs.npz: not an npz file of plain arrays: " in text


def test_a_program_that_hangs_is_ended(project: Path) -> None:
    path = project / "backends" / "fake_worldflux" / "backend.yaml"
    path.write_text(path.read_text().replace("deadline_sec: 60", "deadline_sec: 2"))
    evidence = match(project, "hang")
    assert evidence.error.startswith("fake_worldflux: deadline of 2 s passed; to mend: raise match.deadline")
    pids = [int(p.read_text()) for p in project.glob("out/*/pid") if p.read_text()]
    assert not [p for p in pids if alive(p)]


def test_what_the_program_left_is_what_is_compared(project: Path) -> None:
    """A file that somebody changed after the run is not compared."""
    assert match(project, "ok").passed
    spec = spec_of(project)
    path = project / "out" / "attempt_1" / "outputs.npz"
    path.write_bytes(path.read_bytes() + b"\0")
    assert "outputs.npz is not the file that the match program left" in (
        assemble.evidence_of(spec, project / "out").error
    )


def test_a_finished_run_is_used_again_and_a_failed_one_once_retired(project: Path) -> None:
    flag = project / "go"
    goldens.behave(project / "golden", "flaky", until=str(flag))
    spec = spec_of(project)

    def once() -> str:
        return match_program.match_once(spec, project / "out", project, sealed(spec, project)).error

    assert once() == "fake_worldflux: exit status 1: not yet"
    flag.touch()
    assert once() == "fake_worldflux: exit status 1: not yet", "nobody else tries again in the same session"
    match_program.retire_failed(spec, project / "out")
    assert [once(), once()] == ["", ""]
    match_program.retire_failed(spec, project / "out")
    assert once() == ""
    assert sorted(p.name for p in (project / "out").glob("attempt_*")) == ["attempt_1", "attempt_2"]
    # Another backend is another request.
    (project / "backends" / "fake_worldflux" / "notes.txt").write_text("x")
    assert match_program.last_run(spec, project / "out") is None


def test_the_command_prints_a_table(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = goldens.behave(project / "other", "wrong_heads")
    goldens.behave(project / "golden", "ok")
    command = ["--root", str(project), "component-match", "fake_worldflux"]
    assert cli.main(command) == 0
    out = capsys.readouterr().out
    assert "components: 6 of 6 match, 11 of 11 outputs shown sensitive, 8 of 8 perturbations caught" in out
    assert out.splitlines()[-1].endswith("component_match_fake_worldflux/component_match_report.json")
    assert cli.main([*command, "--golden", str(golden), "--output", str(project / "o")]) == 1
    out = capsys.readouterr().out
    assert "component_mismatch: heads: output reward differs by 0.001" in out
    assert "components: 5 of 6 match" in out
    assert cli.main([*command[:-1], "fake_official"]) == 1
    assert "fake_official has no match program" in capsys.readouterr().err
