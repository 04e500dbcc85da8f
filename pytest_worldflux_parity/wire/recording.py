"""A program that records an official program into a golden folder, with what :mod:`.capture` writes."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import sys
import tempfile
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Sequence

from .capture import GoldenWriter as GoldenWriter
from .capture import describe_recording
from .checkout import Change, copy_commit
from .documents import WireError
from .program import Refused


@dataclass(frozen=True)
class Recorder:
    """A program that records: ``python -m <name> --checkout DIR --commit SHA --out FOLDER``.

    Attributes:
        name: its module.
        record: given the options, the program's folder (importable) and what every document says of its
            origin; writes into ``options.out``.
        repo, tree, changes: as of :func:`.checkout.copy_commit`.
        modules: that the official program imports; packages: whose versions count.
    """

    name: str
    record: Callable[[argparse.Namespace, Path, Dict[str, Any]], None]
    repo: str
    tree: Sequence[str]
    modules: Sequence[str]
    packages: Sequence[str]
    changes: Sequence[Change] = ()
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def main(self, argv: Optional[Sequence[str]] = None) -> int:
        """Record as the command line says; the exit status: 0 done, 1 not done, 2 usage."""
        words = sys.argv[1:] if argv is None else list(argv)
        options = self.parse_arguments(words)
        short = self.name.partition(".")[2]
        try:
            with tempfile.TemporaryDirectory() as folder:
                program = Path(folder) / "program"
                checkout = options.checkout.expanduser().resolve()
                source = copy_commit(checkout, options.commit, program, self.repo, self.tree, self.changes)
                self._check(options.out)
                sys.path.insert(0, str(program))
                with contextlib.redirect_stdout(sys.stderr):
                    self.record(options, program, {**self._origin(words), "source": source})
        except (WireError, OSError, ImportError) as error:
            print(f"{short}: {' '.join(str(error).split())}", file=sys.stderr)
            return 1
        except Exception as error:  # the official program's own: its traceback belongs into the log
            traceback.print_exc()
            print(f"{short}: the official program failed: {type(error).__name__}: {error}", file=sys.stderr)
            return 1
        return 0

    def parse_arguments(self, words: Sequence[str]) -> argparse.Namespace:
        """The command line."""
        parser = argparse.ArgumentParser(prog=f"python -m {self.name}")
        add = parser.add_argument
        add("--checkout", required=True, type=Path, help="checkout of the official repository")
        add("--commit", required=True, help="the commit that it must be at")
        add("--out", required=True, type=Path, help="folder to write into")
        add("--checkpoint", type=Path, metavar="RUN", help="out_dir of a run whose weights are taken")
        add("--counts", action="store_true", help="write parameter counts of every size instead")
        for flag, keywords in self.options.items():
            add(flag, **keywords)
        return parser.parse_args(list(words))

    def _check(self, out: Path) -> None:
        """Make sure, before the minutes of recording, that it can be done and written.

        Raises:
            Refused: it cannot.
        """
        missing = [name for name in self.modules if importlib.util.find_spec(name) is None]
        if missing:
            hint = f"worldflux-parity env create {self.name.split('.')[-2]}"
            raise Refused(f"{sys.executable}: no module {', '.join(missing)}; to mend: {hint}")
        try:
            out.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=out):
                pass
        except OSError as error:
            raise Refused(f"--out {out}: cannot be written: {error.strerror}") from None

    def _origin(self, words: Sequence[str]) -> Dict[str, Any]:
        """Who recorded what, when and with what; the folders of this machine are left out."""
        hidden = {"--checkout": "DIR", "--out": "DIR", "--checkpoint": "RUN"}
        shown = [hidden.get(words[i - 1], word) if i else word for i, word in enumerate(words)]
        return describe_recording(" ".join(["python", "-m", self.name, *shown]), self.packages)


def check_same_arrays(wanted: Mapping[str, Any], given: Mapping[str, Any], where: object) -> None:
    """Make sure that a checkpoint has the model's arrays: all, no others, of its shapes, and finite.

    Raises:
        Refused: it has not; the text names the first.
    """
    import numpy as np

    for name in sorted(wanted.keys() | given.keys()):
        if name not in given or name not in wanted:
            raise Refused(f"{where}: {name} is {'missing' if name in wanted else 'unknown'}")
        shape, own = tuple(given[name].shape), tuple(wanted[name].shape)
        if shape != own:
            raise Refused(f"{where}: {name} is {shape}, and the run's model's {own}")
        if not np.isfinite(np.asarray(given[name])).all():
            raise Refused(f"{where}: {name} has values that are not finite numbers")
