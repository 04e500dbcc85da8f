"""A program in about twenty lines: a function ``train(request, log)``, and :class:`Program` around it.

The program reads its command line, refuses in one line, writes heartbeats, statistics and the record.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from .documents import WireError, content_hash, file_sha256, to_plain, tree_sha256
from .progress import Progress, Windows
from .record import CurvePoint, RunRecord, write_record
from .request import RunRequest, check_main, eval_protocol_hash, read_request, request_by_hand

# Statistics of every so many updates are kept in ``metrics.jsonl``.
EVERY = 20
_LOADED = time.perf_counter()


class Refused(WireError):
    """What a program cannot do or believe. The text is the one line that the user reads."""


class Terminated(BaseException):
    """SIGTERM arrived, in a program that raises this in its handler so as to tidy up on the way out."""


class Log:
    """What a run says: heartbeats, statistics, scores, and what becomes its record.

    Attributes:
        request: what is asked.
        options: the command line.
        out_dir: the folder to write into.
        windows: means of the statistics over the windows that the request names.
        curve: scores, as :meth:`score` adds them.
        scalars: other metrics of the record.
        metadata: what the record says of the run: at least ``effective_recipe``.
    """

    def __init__(self, request: RunRequest, options: Optional[argparse.Namespace] = None) -> None:
        self.request = request
        self.options = options or argparse.Namespace()
        self.out_dir = Path(request.out_dir)
        self.windows = Windows(request.eval_protocol.get("windows") or {})
        self.curve: List[CurvePoint] = []
        self.scalars: Dict[str, float] = {}
        self.metadata: Dict[str, Any] = {}
        self._progress = Progress(request.out_dir, 0)

    def begin(self, total: int) -> None:
        """Say how many frames the run will take."""
        self._progress = Progress(self.request.out_dir, total)
        self.beat(0)

    def beat(self, step: int, force: bool = False, **numbers: float) -> None:
        """Say that ``step`` (frames) was reached, at most once a second; nothing is raised."""
        self._progress.beat(step, force=force, **numbers)

    def wants(self, update: int) -> bool:
        """Whether the statistics of this update (1, 2, ...) are kept, so that others stay on the device."""
        return update % EVERY == 0 or self.windows.wants(update)

    def update(self, update: int, step: int, statistics: Mapping[str, Any]) -> None:
        """Keep the statistics of an update made at ``step`` (frames): in windows and ``metrics.jsonl``.

        Raises:
            WireError: one of them is no number.
        """
        if self.windows.wants(update):
            self.windows.add(update, statistics)
        if update % EVERY == 0:
            self.write(step, {"updates": update, **{f"train/{k}": v for k, v in statistics.items()}})

    def score(self, step: int, value: float) -> None:
        """Add the mean return at ``step`` (frames) to the curve."""
        self.curve.append(CurvePoint(step, value))

    def write(self, step: int, numbers: Mapping[str, Any]) -> None:
        """Add a line to ``metrics.jsonl``; no disk that is full ends the run."""
        line = json.dumps({"step": step, **to_plain(numbers)})
        with suppress(OSError), open(self.out_dir / "metrics.jsonl", "a", encoding="utf-8") as handle:
            handle.write(line + "\n")

    def record(self) -> RunRecord:
        """The record: what :attr:`metadata` says, and what is the same for every program.

        Raises:
            Refused: it does not say which recipe took effect.
        """
        request, told = self.request, self.metadata
        if "effective_recipe" not in told:
            raise Refused("train() did not put effective_recipe, what it did, into log.metadata")
        asked = {k: request.eval_protocol.get(k) for k in ("eval_interval", "eval_episodes", "eval_window")}
        windows = request.eval_protocol.get("windows") or {}
        protocol = {**asked, "windows": windows, **told.get("eval_protocol", {})}
        metadata = {
            "mode": "live",
            "policy_mode": "trained",
            "adapter_id": request.adapter,
            "recipe_hash": content_hash(told["effective_recipe"]),
            "python": sys.version.split()[0],
            "threads": request.threads,
            "command": list(getattr(sys, "orig_argv", sys.argv)),
            **told,
            "eval_protocol": protocol,
            "eval_protocol_hash": eval_protocol_hash(request.family, request.task_id, protocol),
            "timing": {**measure_process(), **told.get("timing", {})},
        }
        return RunRecord(
            request_id=request.request_id,
            adapter=request.adapter,
            task_id=request.task_id,
            seed=request.seed,
            device=request.device,
            curve=tuple(self.curve),
            scalars={**dict(self.windows.means()), **self.scalars},
            metadata=metadata,
        )


@dataclass(frozen=True)
class Program:
    """What is started as ``argv request.json``; ``sys.exit(Program(...).main())`` ends its file.

    Attributes:
        train: does the run and tells the log of it.
        check: raises :class:`Refused` where a request cannot be answered; runs nothing.
        check_before: what ``--check`` asks in its place, where more can be known before a run.
        options: further options of the command line: flag -> keywords of ``add_argument``.
        source: keys of ``request.source`` that the program needs, which are options by hand.
        title: what an unforeseen error is said to have happened to.
    """

    adapter: str
    family: str
    train: Callable[[RunRequest, Log], None]
    check: Callable[[RunRequest], Any] = lambda request: None
    system: str = "worldflux"
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    source: Tuple[str, ...] = ()
    title: str = "the program"
    check_before: Optional[Callable[[RunRequest], Any]] = None

    @property
    def folder(self) -> Path:
        """Where the program stands."""
        return Path(self.train.__code__.co_filename).resolve().parent

    def main(self, argv: Optional[Sequence[str]] = None) -> int:
        """Do what the command line asks for; the exit status: 0 done, 1 not done, 2 usage, 143 SIGTERM."""
        options = self.parse_arguments(argv)
        if options.check:
            whole = replace(self, check=self.check_before or self.check)
            return check_main(self.folder.name, whole.check_request, (), options.check)
        try:
            self.run(options)
        except WireError as error:
            return self._say(str(error))
        except ModuleNotFoundError as error:
            hint = f"worldflux-parity {f'env create {self.folder.name}' if self.source else 'doctor'}"
            if ".worldflux" in Path(sys.prefix).parts:  # built from requirements that lack it
                create = f"worldflux-parity env create {self.folder.name}"
                hint = f"name what brings it in requirements of backend.yaml, then {create}"
            return self._say(f"the package {error.name} is absent from {sys.executable}; to mend: {hint}")
        except Terminated:
            self._say("ended by SIGTERM")
            return 143
        except Exception as error:  # foreseen by nobody: its traceback belongs into the log
            import traceback

            traceback.print_exc()
            return self._say(f"{self.title} failed: {type(error).__name__}: {error}")
        return 0

    def _say(self, text: str) -> int:
        print(f"{self.folder.name}: {' '.join(text.split())}", file=sys.stderr)
        return 1

    def parse_arguments(self, argv: Optional[Sequence[str]]) -> argparse.Namespace:
        """The command line."""
        parser = argparse.ArgumentParser(description=f"One run of {self.adapter}.")
        add = parser.add_argument
        add("request", nargs="?", help="request.json; without it, the options below make one")
        add("--task")
        add("--seed", type=int, default=1)
        add("--device", choices=("cpu", "cuda"), default="cpu")
        add("--threads", type=int, default=1)
        add("--out", help="folder to write into")
        add("--set", action="append", default=[], metavar="KEY=VALUE", help="a key of the recipe")
        add("--eval", action="append", default=[], metavar="KEY=VALUE", help="a key of the protocol")
        add("--window", action="append", default=[], metavar="NAME=FIRST:LAST", help="updates")
        add("--check", nargs="+", metavar="REQUEST", help="only say whether it would be answered")
        for flag, keywords in self.options.items():
            add(flag, **keywords)
        for key in self.source:
            add(f"--{key}")
        options = parser.parse_args(argv)
        needed = ("task", "out", *self.source)
        if not (options.check or options.request or all(getattr(options, key) for key in needed)):
            parser.error(f"give request.json, or {', '.join(f'--{key}' for key in needed)}")
        return options

    def run(self, options: argparse.Namespace) -> None:
        """Answer the request that ``options`` name or make, and write ``metrics.json``.

        Raises:
            WireError: the one line that the user reads; what else ``train`` raises.
        """
        try:
            request = self.read_request(options)
            self.check_request(request)
            log = Log(request, options)
            log.out_dir.mkdir(parents=True, exist_ok=True)
            for name in ("metrics.json", "metrics.jsonl"):
                with suppress(FileNotFoundError):
                    (log.out_dir / name).unlink()
        except OSError as error:
            raise Refused(str(error)) from None
        log.metadata["source"] = {"tree_sha256": tree_sha256(self.folder)}
        self.train(request, log)
        write_record(request.out_dir, log.record())

    def read_request(self, options: argparse.Namespace) -> RunRequest:
        """The request in a file, or made of the options.

        Raises:
            WireError, OSError: it cannot be read.
        """
        if options.request:
            return read_request(options.request)
        source = {key: getattr(options, key) for key in self.source}
        return request_by_hand(options, self.family, self.system, self.adapter, source)

    def check_request(self, request: RunRequest) -> Any:
        """Make sure that a request is one that this program can answer; what :attr:`check` finds.

        Raises:
            Refused: it is not; the text says what to change.
        """
        valid = {"adapter": (self.adapter,), "family": (self.family,), "device": ("cpu", "cuda")}
        for key, words in valid.items():
            if getattr(request, key) not in words:
                raise Refused(f"request.{key} is {getattr(request, key)!r}; valid: {', '.join(words)}")
        for key, least in (("threads", 1), ("seed", 0)):
            if getattr(request, key) < least:
                raise Refused(f"request.{key} is {getattr(request, key)}; valid: {least} or more")
        for key in self.source:
            if not isinstance(request.source.get(key), str):
                hint = "to mend: worldflux-parity fetch-oracles"
                raise Refused(f"request.source.{key} is missing; {hint}")
        return self.check(request)


def from_one(text: str) -> int:
    """A whole number of 1 or more, on a command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}; valid: 1 or more")
    return number


def limit_threads(threads: int) -> None:
    """Have numeric libraries that are imported later use so many CPU threads."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    # The size of XLA's pool of threads on a CPU (xla/pjrt/utils.cc).
    os.environ["PJRT_NPROC"] = os.environ["NPROC"] = str(threads)


def package_versions(names: Iterable[str]) -> Dict[str, str]:
    """The versions of packages, as far as they are installed."""
    import importlib.metadata  # a fifth of a small program's start, and few ask

    versions = {}
    for name in names:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def hash_files(paths: Iterable[Path]) -> Dict[str, Optional[str]]:
    """Name -> sha256 of files that a run wrote, for ``metadata.artifact_manifest``."""
    return {path.name: file_sha256(path) for path in paths if path.is_file()}


def measure_process() -> Dict[str, float]:
    """Seconds since this process began, seconds of its CPUs, and its peak memory in MiB."""
    return {
        "wall_sec": process_age(),
        "cpu_sec": time.process_time(),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def process_age() -> float:
    """Seconds since this process was started (proc(5), starttime); without Linux, since this was imported."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return time.perf_counter() - _LOADED
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")


def compute_rates(
    steps: int, updates: int, train_sec: float, first: Optional[Tuple[int, int, float]] = None
) -> Dict[str, float]:
    """Agent steps and updates a second, of this process.

    Args:
        train_sec: seconds from the first step of the environment on.
        first: of a program that compiles, after its first update: steps, updates and ``time.perf_counter``.
            Rates are then those after it, and those of the whole process end with ``_over_all``.
    """
    if first is None:
        per_second = {"env_steps_per_sec": steps / train_sec, "updates_per_sec": updates / train_sec}
        return {"train_sec": train_sec, **per_second}
    wall, later = process_age(), time.perf_counter() - first[2]
    return {
        "wall_sec": wall,
        "train_sec": train_sec,
        "first_update_sec": wall - later,
        "env_steps_per_sec": (steps - first[0]) / later,
        "updates_per_sec": (updates - first[1]) / later,
        "env_steps_per_sec_over_all": steps / wall,
        "updates_per_sec_over_all": updates / wall,
    }
