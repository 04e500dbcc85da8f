"""Where an example is played: a project folder, sessions and commands in it, and the documents they leave."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from golden_normal import Hashes, cases, rows_in_common, without_circumstances, without_pytest

from tests import forked
from tests.conftest import WITHOUT, Project

CHECKOUT = Path(__file__).resolve().parents[2]
# Sessions look the same everywhere: no colour, no summary of pytest's own, nothing left for a next session,
# and no isolation, which some machines cannot give.
QUIET = ("-p", "no:cacheprovider", "--color=no", "-rN", "--device=cpu", "--parity-isolate=off")
REPORTS = "reports/parity"
SUFFIXES = (".json", ".jsonl", ".md", ".html", ".yaml")
# What of the surroundings reaches a process; all else could show in a document, and differs everywhere.
KEPT = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "VIRTUAL_ENV")
LOCKS = "WORLDFLUX_PARITY_LOCKS"


class Stage:
    """A folder in which an example is played.

    Attributes:
        root: of the project.
        texts: name -> each document that was taken up, as it is written.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder / "project"
        self.home = folder / "home"
        self.texts: dict[str, str] = {}
        self._lasting: set[str] = set()
        self._commands = 0
        self._members: dict[str, str] = {}
        for place in (self.root, self.home):
            place.mkdir()

    # --- to prepare ---

    def project(self) -> Project:
        """The builder of suites of the fake programs."""
        return Project(self.root)

    def write(self, name: str, content: object) -> Path:
        """A file below the project: text as it is, all else as JSON."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1), "utf-8")
        return path

    # --- to play ---

    def session(self, track: str, *arguments: str, run_id: str = "r") -> None:
        """``pytest --parity=TRACK``: its words, its test cases, its exit status."""
        self._take_inputs()
        junit = self.home / "junit.xml"
        own = (*WITHOUT, *QUIET, f"--parity={track}", f"--parity-run-id={run_id}", *arguments)
        done = self._process("pytest", f"--junitxml={junit}", *own)
        shown = " ".join(("pytest", f"--parity={track}", *map(shlex.quote, arguments)))
        self._said(shown, done, without_pytest)
        if junit.exists():
            self.texts[f"commands/{self._commands}_cases.txt"] = cases(junit.read_text(encoding="utf-8"))
            junit.unlink()

    def command(self, *arguments: str, only: Callable[[str], str] = str) -> None:
        """``worldflux-parity``: its words and its exit status; ``only``: what of its words is held."""
        self._take_inputs()
        done = self._process("worldflux-parity", *arguments)
        self._said(" ".join(("worldflux-parity", *map(shlex.quote, arguments))), done, only)

    def _process(self, *words: str) -> subprocess.CompletedProcess[str]:
        search = [str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            **{name: os.environ[name] for name in KEPT if name in os.environ},
            **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
            "PYTHONPATH": os.pathsep.join(search),
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            # What others run on this machine is nothing to an example: what ran alone is not tried again.
            LOCKS: str(self.home / "locks"),
            # Nor is the repository in which the folder of temporary files may be.
            "GIT_CEILING_DIRECTORIES": str(self.home.parent),
        }
        return forked.run(words, self.root, env=environment)

    def _said(
        self, shown: str, done: subprocess.CompletedProcess[str], only: Callable[[str], str] = str
    ) -> None:
        self._commands += 1
        parts = [f"$ {shown}\n", f"exit status {done.returncode}\n"]
        parts += [f"--- {name}\n{text}" for name, text in self._streams(done, only) if text.strip()]
        word = shown.split()[1].strip("-").replace("=", "_")
        self.texts[f"commands/{self._commands}_{word}.txt"] = "".join(parts)

    @staticmethod
    def _streams(
        done: subprocess.CompletedProcess[str], only: Callable[[str], str]
    ) -> Iterator[tuple[str, str]]:
        yield "stdout", only(done.stdout)
        yield "stderr", only(done.stderr)

    def _take_inputs(self) -> None:
        """Note the hashes of what is there before a command: those are of the example, not of the run.

        But for what numpy wrote, whose bytes are its own, and for programs, which move with the package.
        """
        for path in self._files():
            name = path.relative_to(self.root).as_posix()
            made = name.startswith(("backends/", "golden/", "out/")) or name.count("/") > 2
            if made and not name.startswith("suites/"):
                continue
            data = path.read_bytes()
            text = data.decode("utf-8", "surrogateescape")
            if without_circumstances(text, self._places()) == text:
                self._lasting.add(hashlib.sha256(data).hexdigest())

    def _files(self) -> list[Path]:
        return sorted(p for p in self.root.rglob("*") if p.is_file() and ".program" not in p.parts)

    # --- to look at ---

    def take(self, *patterns: str) -> None:
        """Take up files of the project as documents."""
        for path in sorted(p for pattern in patterns for p in self.root.glob(pattern)):
            self.texts[path.relative_to(self.root).as_posix()] = path.read_text(encoding="utf-8")

    def take_bundle(self, suite: str, run_id: str = "r") -> None:
        """Take up an evidence bundle: its members, and each text that is not that of a document as well."""
        name = f"{run_id}/{suite}/evidence_bundle"
        members: list[str] = []
        with zipfile.ZipFile(self.root / REPORTS / f"{name}.zip") as archive:
            for member in archive.namelist():
                data = archive.read(member)
                self._members.setdefault(hashlib.sha256(data).hexdigest(), f"{name}/{member}")
                members.append(f"{member}{self._member(name, member, data)}")
        self.texts[f"{name}/members.txt"] = "\n".join((*members, ""))

    def _member(self, name: str, member: str, data: bytes) -> str:
        """What the list says of a member; one that nothing else holds becomes a document."""
        document = self.root / REPORTS / name.split("/")[0] / member.removeprefix("run/")
        if member.startswith("run/") and document.is_file() and document.read_bytes() == data:
            return ": as beside it"
        if member.startswith("inputs/") or member.endswith(".npz"):
            return ""
        self.texts[f"{name}/{member}"] = _readable(data.decode("utf-8"))
        return ": a document of its own"

    def documents(self) -> dict[str, str]:
        """Name -> each document of the example, normalised."""
        self._take_reports()
        places = self._places()
        plain = {n: without_circumstances(self.texts[n], places) for n in sorted(self.texts)}
        plain = {n: _in_common(text) if n.endswith(".jsonl") else text for n, text in plain.items()}
        hashes = Hashes(self._lasting, self._hashes_of_files())
        for name, text in plain.items():
            # A match rests on its golden, whose bytes are numpy's.
            if "match" not in name.rpartition("/")[2]:
                hashes.learn(text)
        return {n: hashes.named(text) for n, text in plain.items()}

    def _take_reports(self) -> None:
        reports = self.root / REPORTS
        files = [p.relative_to(reports).as_posix() for p in self._files() if p.is_relative_to(reports)]
        for name in files:
            inner = {"executions", "component_match"} & set(name.split("/"))
            if name.endswith(SUFFIXES) and name.count("/") in (0, 1, 2) and not inner:
                self.texts.setdefault(name, (reports / name).read_text(encoding="utf-8"))
        for suite in sorted({n.partition("/executions/")[0] for n in files if "/executions/" in n}):
            found = sorted((reports / suite / "executions").glob("*/*/*/*/request.json"))
            rows = [json.dumps(json.loads(p.read_text(encoding="utf-8"))) for p in found]
            self.texts[f"{suite}/requests.jsonl"] = "\n".join(rows)
        if files:
            self.texts["files.txt"] = "\n".join((*files, ""))

    def _hashes_of_files(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for path in self._files():
            name = path.relative_to(self.root).as_posix().removeprefix(f"{REPORTS}/")
            found.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), name)
        return {**self._members, **found}

    def _places(self) -> dict[str, str]:
        places = {
            str(self.root): "<root>",
            str(self.home): "<home>",
            str(CHECKOUT): "<checkout>",
            sys.prefix: "<prefix>",
            sys.base_prefix: "<base-prefix>",
            tempfile.gettempdir(): "<tmp>",
            platform.platform(): "<platform>",
        }
        interpreter = {sys.executable, os.path.abspath(sys.executable), os.path.realpath(sys.executable)}
        return {**places, **dict.fromkeys(interpreter, "<python>")}


def _readable(text: str) -> str:
    """A member as text; of a signed statement, what was signed stands open."""
    if not text.startswith('{"payload":'):
        return text
    envelope = json.loads(text)
    return json.dumps({**envelope, "payload": json.loads(base64.b64decode(envelope["payload"]))}, indent=1)


def _in_common(lines: str) -> str:
    return rows_in_common([_unpacked(json.loads(line)) for line in lines.splitlines() if line.strip()])


def _unpacked(row: dict[str, Any]) -> dict[str, Any]:
    """A line; of the files of an attempt, what each holds, where that is JSON."""
    files = row.get("files")
    if not isinstance(files, dict):
        return row
    return {**row, "files": {n: json.loads(t) if n.endswith(".json") else t for n, t in files.items()}}
