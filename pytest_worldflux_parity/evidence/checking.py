"""A bundle that is what it was when it was built: does its verdict follow from its data?"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import wire
from ..errors import EvidenceError, ParityError
from ..schemas.json_text import read_json
from . import statement
from .attempts import all_files
from .bundle import OpenedBundle, open_bundle
from .gaps import find_gaps
from .log import LogSummary, summarise_lines
from .members import (
    ENVIRONMENT,
    EQUIVALENCE,
    LINES,
    RUN,
    VERDICT,
    unknown_members,
)
from .signing import PublicKey

Recompute = Callable[[Path], Mapping[str, dict[str, Any] | str]]

PASS, NOT_A_PASS, DOES_NOT_FOLLOW, TAMPERED, UNREADABLE = range(5)
OF_PROOF = ("coverage_report.json", "validity_report.json", EQUIVALENCE, "stability_report.json")
RELATIVE = 1e-9
# Of numbers about one: what remains of a difference that is nothing.
ABSOLUTE = 1e-15
# What a reader of things that a stranger put together can meet: any of these is an answer, and no traceback.
BROKEN = (
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, OSError, RecursionError,
    TypeError, ValueError,
)  # fmt: skip
_TIMES = frozenset(["generated_at", "generated_at_utc"])


@dataclass(frozen=True)
class Checked:
    """What was found out about an opened bundle.

    Attributes:
        findings: why its verdict does not follow from its data, one line each; empty where it does.
        recomputed: names of the documents that were made again.
    """

    bundle: OpenedBundle
    findings: tuple[str, ...]
    recomputed: tuple[str, ...]

    @property
    def verdict(self) -> str:
        return str(self.bundle.predicate["verdict"])

    @property
    def exit_code(self) -> int:
        if self.findings:
            return DOES_NOT_FOLLOW
        passed = self.verdict == "pass" and self.bundle.predicate["parity_pass_final"] is True
        return PASS if passed else NOT_A_PASS


def check(
    path: Path,
    into: Path,
    *,
    key: Path | None,
    recompute: Recompute,
    signers: Sequence[PublicKey] = (),
) -> Checked:
    """Open a bundle and hold everything that it concludes against what its records give.

    Args:
        into: an empty folder to unpack into.
        key, signers: as of :func:`open_bundle`.
        recompute: folder of an unpacked bundle -> name of each report within it -> the report made again
            from the raw records and the inputs: a JSON document, or a text as it must stand there.

    Raises:
        EvidenceError, TamperedError: as :func:`open_bundle`.
    """
    bundle = open_bundle(path, into, key=key, signers=signers)
    try:
        reports = recompute(bundle.folder)
        made = {name: _as_json(report) for name, report in reports.items() if not isinstance(report, str)}
        texts = {name: report for name, report in reports.items() if isinstance(report, str)}
        findings = tuple(_bundle_findings(bundle, made, texts))
    except ParityError as error:
        return _without_recomputation(bundle, error.line())
    # What a stranger put together can break any reader; that is an answer too, and no traceback.
    except BROKEN as error:
        return _without_recomputation(bundle, f"{type(error).__name__}: {error}".partition("\n")[0])
    return Checked(bundle, findings, tuple(sorted(reports)))


def _without_recomputation(bundle: OpenedBundle, why: str) -> Checked:
    # By their names in the bundle: the folder is gone when this is read.
    text = why.replace(f"{bundle.folder}/", "").replace(f"{bundle.folder.resolve()}/", "")
    return Checked(bundle, (f"nothing can be recomputed: {text}",), ())


def _as_json(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document as it would be read from a file."""
    plain: dict[str, Any] = json.loads(wire.canonical_json(document))
    return plain


def _bundle_findings(
    bundle: OpenedBundle, made: Mapping[str, Mapping[str, Any]], texts: Mapping[str, str]
) -> Iterator[str]:
    below = f"{RUN}{bundle.predicate['suite_id']}/"
    yield from _unlisted_findings(bundle, below, {**made, **texts})
    yield from (f"{name} is no member that this plugin writes" for name in unknown_members(bundle.names))
    yield from _session_findings(bundle)
    yield from _log_findings(bundle, str(bundle.predicate["suite_id"]))
    for name in sorted(made.keys() & set(bundle.names)):
        yield from _document_findings(bundle.folder / name, name, made[name])
    for name in sorted(texts.keys() & set(bundle.names)):
        yield from _text_findings(bundle.folder / name, name, texts[name])
    reports = {n.removeprefix(below): document for n, document in made.items() if n.startswith(below)}
    words = [*statement.summarise_reports({}), *(["fixture"] if "fixture" in bundle.predicate else [])]
    stated = {word: bundle.predicate[word] for word in words}
    for text in differences(stated, statement.summarise_reports(reports), ""):
        yield f"the statement: {text}"


def _session_findings(bundle: OpenedBundle) -> Iterator[str]:
    """Which run the statement is on; what of ``run.json`` decides is held against the records."""
    # As it was recomputed from: in an ASCII locale a suite's name may hold half surrogate pairs.
    session = wire.load_object(bundle.folder / RUN / "run.json")
    words = ("run_id", "device")
    stated, sealed = ({w: said[w] for w in words if w in said} for said in (bundle.predicate, session))
    both = stated.keys() & sealed.keys()
    for text in differences({w: stated[w] for w in both}, {w: sealed[w] for w in both}, ""):
        yield f"the statement: {text}"


def _log_findings(bundle: OpenedBundle, suite_id: str) -> Iterator[str]:
    """What the log names and is not there, and whether it gives what is said of where its programs ran."""
    path = bundle.folder / RUN / suite_id / LINES
    log = LogSummary()
    if path.exists():
        with open(path, "rb") as handle:
            log = summarise_lines(handle)
    attempts = all_files(bundle.folder / RUN, suite_id)
    files = {f"{path}/{name}" for path, names in attempts.items() for name in names}
    yield from find_gaps(log, files, attempts)
    if ENVIRONMENT not in bundle.names:
        yield f"{ENVIRONMENT} is missing, and the data give it"
        return
    made = _as_json(log.environment_document())
    yield from _document_findings(bundle.folder / ENVIRONMENT, ENVIRONMENT, made)


def _unlisted_findings(bundle: OpenedBundle, below: str, made: Mapping[str, object]) -> Iterator[str]:
    """Documents that are concluded and cannot be recomputed, or that the data give and are not there."""
    concluded = {n for n in bundle.names if n.startswith(RUN) and n.endswith(("_report.json", "_report.md"))}
    concluded |= {below + VERDICT} & set(bundle.names)
    always = (VERDICT,) if below + VERDICT in made else OF_PROOF
    for name in sorted(concluded | {below + report for report in always}):
        if name not in made:
            yield f"{name} does not follow from the data: nothing gives such a document"
    for name in sorted(made.keys() - set(bundle.names)):
        yield f"{name} is missing, and the data give it"


def _document_findings(path: Path, name: str, made: Mapping[str, Any]) -> Iterator[str]:
    try:
        _, stated = read_json(path, EvidenceError)
    except EvidenceError as error:
        yield f"{name}: {error.what}"
        return
    if not isinstance(stated, dict):
        yield f"{name}: is no JSON object"
        return
    yield from (f"{name}: {text}" for text in differences(stated, made, ""))


def _text_findings(path: Path, name: str, made: str) -> Iterator[str]:
    """Where a text is not what the data give, line by line; what it shows of numbers is rounded already."""
    # By its bytes: another end of a line, read as text, would be the same.
    stated, wanted = path.read_bytes().decode("utf-8", "replace").split("\n"), made.split("\n")
    if len(stated) != len(wanted):
        yield f"{name}: it has {len(stated)} lines, the data give {len(wanted)}"
    for i, (one, other) in enumerate(zip(stated, wanted, strict=False), 1):
        if one != other:
            yield f"{name}: line {i} is {_json_excerpt(one)}, the data give {_json_excerpt(other)}"


def differences(stated: Any, made: Any, at: str) -> Iterator[str]:
    """Where a document is not what the data give: floats to 1e-9 relative, all else equal, types too.

    When a document was made does not count; when an earlier one was that stands in ``history`` does.
    """
    if isinstance(stated, dict) and isinstance(made, dict):
        times = frozenset() if at.startswith("history") else _TIMES
        for key in sorted((stated.keys() | made.keys()) - times):
            place = f"{at}.{key}" if at else key
            if key not in stated:
                yield f"{place} is absent, the data give {_json_excerpt(made[key])}"
            elif key not in made:
                yield f"{place} is {_json_excerpt(stated[key])}, the data give none"
            else:
                yield from differences(stated[key], made[key], place)
    elif isinstance(stated, list) and isinstance(made, list):
        if len(stated) != len(made):
            longer = stated if len(stated) > len(made) else made
            beyond = _json_excerpt(longer[min(len(stated), len(made))])
            yield f"{at} has {len(stated)} entries, the data give {len(made)}; the first beyond is {beyond}"
        for i, (one, other) in enumerate(zip(stated, made, strict=False)):
            yield from differences(one, other, f"{at}[{i}]")
    elif type(stated) is not type(made) or not _is_same(stated, made):
        yield f"{at} is {_json_excerpt(stated)}, the data give {_json_excerpt(made)}"


def _is_same(stated: Any, made: Any) -> bool:
    if isinstance(stated, float):
        return math.isclose(stated, made, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return bool(stated == made)


def _json_excerpt(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:197]}..."
