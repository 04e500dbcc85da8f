"""The pytest hooks. Nothing happens here without ``--parity``."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import select
import signal
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from ..errors import printable, printable_lines
from ..suite.suite import SYSTEMS, is_suite_name
from .neighbours import has_default_workers, runs_items, workers_foretold

if TYPE_CHECKING:
    from ..execution.leases import Pool
    from ..inputs.context import Isolate, Retention, RunContext
    from ..session.conclude import Case, Conclusion
    from ..suite.suite import Override

ENGINES = ("local", "ray", "slurm")
TRACKS = ("quick", "proof", "campaign")
ISOLATE: tuple[Isolate, ...] = ("auto", "require", "off")
INI = {
    "parity_output": ("folder of the run directories", "reports/parity"),
    "parity_run_id": ("name of the run directory", ""),
    "parity_seeds": ("seeds for the live sides", ""),
    "parity_systems": ("live systems that are run", ",".join(SYSTEMS)),
    "parity_source": ("sources of a campaign: oracle, worldflux or both", "both"),
    "parity_device": ("auto, cpu or cuda", "auto"),
    "parity_upstream": ("score table in place of the official side", ""),
    "parity_upstream_format": ("its format", ""),
    "parity_worldflux": ("score table in place of the worldflux side", ""),
    "parity_worldflux_format": ("its format", ""),
    "parity_retention": ("what stays of an attempt: minimal or full", "full"),
    "parity_isolate": ("keep programs in their folders: auto, require or off", ""),
    "parity_workers": (
        "pairs at a time without -n: a number, or auto (as many as fit the cores or GPUs)",
        "auto",
    ),
    "parity_slots_per_gpu": ("runs at a time on one GPU", "1"),
    "parity_lock_folder": ("folder of the locks on GPUs, shared by all sessions of a user on a host", ""),
    "parity_quick_suites": ("what --parity=quick collects without paths", "suites/quick"),
    "parity_proof_suites": ("what --parity=proof collects without paths", "suites/proof"),
    "parity_campaign_suites": ("what --parity=campaign collects without paths", "suites/campaign"),
    "parity_sign_key": ("Ed25519 private key (PEM) that evidence is signed with", ""),
    "parity_backends": ("folders of backends, one a line", "backends"),
    "parity_engine": ("where runs are executed: local, ray or slurm", "local"),
    "parity_ray_address": ("address of the Ray cluster", "auto"),
    "parity_ray_limit_gb": ("what comes back of an attempt at the most, beside record and logs", "8"),
    "parity_slurm": ("options of Slurm jobs, one key=value a line", ""),
    "parity_slurm_jobs": ("Slurm jobs at a time", "200"),
    "parity_slurm_cluster": ("slurm, or local to try it on one machine", "slurm"),
    "parity_lock": ("the file that locks the official sources", "reports/parity/upstream_lock.json"),
}
LISTS = ("parity_backends", "parity_slurm")
SOURCES = {"oracle": ("official",), "worldflux": ("worldflux",), "both": SYSTEMS}
ENGINE_SETTINGS = (
    "parity_ray_address",
    "parity_ray_limit_gb",
    "parity_slots_per_gpu",
    "parity_slurm",
    "parity_slurm_jobs",
    "parity_slurm_cluster",
)
# System -> the option (and ini setting) that gives a table in its place.
OVERRIDES = {"official": "parity_upstream", "worldflux": "parity_worldflux"}


@dataclass
class ControllerState:
    """What the controller of a session knows; workers have none.

    Attributes:
        lines: suite's node id -> sha256 of each stored line that a run was told by -> which run.
    """

    claim: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    node_ids: list[str] = field(default_factory=list)
    suites: dict[str, Path] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    lines: dict[str, dict[str, str]] = field(default_factory=dict)
    sealed: bool = False
    conclusions: list[Conclusion] = field(default_factory=list)


_WORKER_RUN, _SCHEDULED, _CONTROLLER = "parity_run_id", "parity_scheduled", "parity_controller"
_DEVICE = "parity_device"
STATE = pytest.StashKey[ControllerState]()
# What is to be said of the device that was chosen; empty where nothing is.
DEVICE_WORD = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("worldflux-parity", "parity with official world-model programs")
    group.addoption("--parity", choices=TRACKS, help="run parity suites (without paths: suites/<track>)")
    group.addoption(
        "--device", choices=("auto", "cpu", "cuda"), help="where backends compute (ini parity_device)"
    )
    group.addoption(
        "--parity-run-id", metavar="ID", help="name of the run directory (default: from the time)"
    )
    group.addoption(
        "--parity-resume",
        action="store_true",
        default=None,
        help="keep what the run finished and run the rest (without --parity-run-id: the latest run)",
    )
    group.addoption(
        "--parity-retry-failed",
        metavar="REASON",
        help="with --parity-resume: try anew what has used up its retries; the verdict names the reason",
    )
    group.addoption("--parity-output", metavar="DIR", help="folder of the run directories")
    group.addoption(
        "--parity-seeds", metavar="0,1,2", help="seeds for the live sides in place of the suite's"
    )
    group.addoption("--parity-systems", metavar="NAMES", help="live systems that are run: official,worldflux")
    group.addoption(
        "--parity-source", choices=tuple(SOURCES), help="whose tables a campaign makes (default: both)"
    )
    for name in OVERRIDES.values():
        option = "--" + name.replace("_", "-")
        group.addoption(option, metavar="PATH", help=INI[name][0] + " of every suite of the run")
        group.addoption(f"{option}-format", metavar="FORMAT", help="its format, as in a suite file")
    group.addoption("--parity-engine", choices=ENGINES, help=INI["parity_engine"][0])
    group.addoption(
        "--parity-retention",
        choices=("minimal", "full"),
        help="what stays of an attempt once it is recorded: record, request and logs, or all (default)",
    )
    group.addoption(
        "--parity-isolate",
        choices=ISOLATE,
        help="keep programs in their folders: where this machine can (auto, of proofs), always, or never",
    )
    group.addoption(
        "--parity-history",
        metavar="GLOB",
        action="append",
        help="earlier equivalence reports that a proof is held against (repeatable)",
    )
    group.addoption(
        "--parity-sign-key", metavar="PEM", help="Ed25519 private key that evidence is signed with"
    )
    for name, (text, default) in INI.items():
        kind: Any = "linelist" if name in LISTS else "string"
        parser.addini(name, text, type=kind, default=default.split() if kind == "linelist" else default)
    parser.addini("parity_resume", "as --parity-resume", type="bool", default=False)
    parser.addini("parity_history", "as --parity-history, one a line", type="linelist", default=[])


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, object, object]:
    with workers_foretold(early_config.known_args_namespace):
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.option.parity is None:
        return
    from ..errors import ParityError
    from .items import CONTEXT, POOL

    try:
        config.stash[CONTEXT] = context = _context(config)
        config.stash[POOL] = _pool(config, context)
    except ParityError as error:
        raise pytest.UsageError(error.line()) from None
    if _is_worker(config):
        _follow(config.workerinput[_CONTROLLER])  # type: ignore[attr-defined]
    elif runs_items(config.option):
        config.stash[STATE] = state = ControllerState()
        config.pluginmanager.register(_BrokenFiles(state.broken))
        config.pluginmanager.register(_NotedLines(state.lines))
        _open_engine(config)
    _default_paths(config)
    if not _is_worker(config):
        from .arguments import check_arguments

        check_arguments(config, context)
        _refuse_odd_names(config)
    _default_workers(config)


def _open_engine(config: pytest.Config) -> None:
    """With an engine of other machines, let its loop take the place of pytest's."""
    from .items import CONTEXT

    context = config.stash[CONTEXT]
    if context.engine == "local":
        return
    from ..errors import ParityError
    from ..execution.engine import open_engine
    from .fleet_loop import FleetLoop

    try:
        config.pluginmanager.register(FleetLoop(context, open_engine(context)))
    except ParityError as error:
        raise pytest.UsageError(error.line()) from None


def _follow(controller: int) -> None:
    """Let this worker die with its controller: nobody waits for what it would go on to do.

    By itself it would notice some seconds later, when a resumed session may have begun.
    """
    # A worker on another machine has another parent; and without pidfd it is as xdist has it.
    if os.getppid() != controller or not hasattr(os, "pidfd_open"):
        return
    descriptor = os.pidfd_open(controller)

    def wait() -> None:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        poller.poll()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="parity-follow", daemon=True).start()


def _context(config: pytest.Config) -> RunContext:
    from ..inputs.context import RunContext, chosen

    _check_root(config)
    # The engines that have no use for it here have one elsewhere.
    _slots_per_gpu(config)
    output = config.rootpath / str(_value(config, "parity_output"))
    resume = bool(_value(config, "parity_resume"))
    engine = _engine(config)
    device = _device(config, engine)
    run_id = _run_id(config, output, resume)
    context = RunContext(
        root=config.rootpath,
        track=config.option.parity,
        run_id=run_id,
        run_dir=output / run_id,
        device=device,
        engine=engine,
        engine_settings={name: config.getini(name) for name in ENGINE_SETTINGS},
        lock_path=config.rootpath / str(config.getini("parity_lock")),
        backend_folders=tuple(config.rootpath / f for f in config.getini("parity_backends")),
        resume=resume,
        systems=_systems_asked(config),
        seeds=_seeds(str(_value(config, "parity_seeds"))),
        overrides=dict(_overrides(config)),
        retention=_retention(str(_value(config, "parity_retention"))),
        isolate=_isolate(config),
        history=tuple(_value(config, "parity_history")),
        sign_key=_sign_key(config),
        retry_failed=_retry_failed(config, resume, output / run_id),
    )
    own_lock = config.rootpath / INI["parity_lock"][1]
    return replace(context, choices=chosen(context, own_lock, _given(config, "parity_backends")))


def _given(config: pytest.Config, name: str) -> str:
    """What ``-o`` says of an ini setting in place of the project's own file; empty where it says nothing."""
    given = (option.partition("=") for option in config.option.override_ini or ())
    return next((value for key, _, value in given if key.strip() == name), "")


def _engine(config: pytest.Config) -> str:
    name = str(_value(config, "parity_engine"))
    if name not in ENGINES:
        raise pytest.UsageError(f"parity_engine is {name!r}: valid: {', '.join(ENGINES)}")
    option = config.option
    if name != "local" and (getattr(option, "numprocesses", None) or getattr(option, "tx", None)):
        raise pytest.UsageError(
            f"--parity-engine={name} runs everything from one process; to mend: leave -n and --dist out"
        )
    return name


def _device(config: pytest.Config, engine: str) -> str:
    from ..execution import devices

    asked = str(config.option.device or config.getini("parity_device"))
    if _is_worker(config):
        # Asked again, a driver might answer otherwise.
        return str(config.workerinput[_DEVICE])  # type: ignore[attr-defined]
    if engine == "local":
        device, config.stash[DEVICE_WORD] = devices.resolve(asked)
        return device
    # The GPUs of this machine say nothing of those where it runs.
    if asked not in ("cpu", "cuda"):
        raise pytest.UsageError(
            f"--parity-engine={engine} runs on other machines; to mend: say --device cpu or --device cuda"
        )
    return asked


def _pool(config: pytest.Config, context: RunContext) -> Pool | None:
    """What runs hold while they run on this machine; None where they run on others."""
    from ..execution import leases

    if context.engine != "local":
        return None
    return leases.pool(context.device, _slots_per_gpu(config), str(config.getini("parity_lock_folder")))


def _sign_key(config: pytest.Config) -> Path | None:
    named = str(_value(config, "parity_sign_key"))
    return config.invocation_params.dir / named if named else None


def _check_root(config: pytest.Config) -> None:
    """Refuse what makes pytest take the value of our option for a path, before it knows the option."""
    given = config.invocation_params
    for option, value in pairwise(map(str, given.args)):
        if option not in ("--parity-output", "--parity-upstream", "--parity-worldflux"):
            continue
        path = (given.dir / value).resolve()
        if path.exists() and not path.is_relative_to(given.dir):
            raise pytest.UsageError(
                f"pytest took {config.rootpath} for the root of the project; write "
                f"{option}={value}, with an equals sign"
            )


def _value(config: pytest.Config, name: str) -> Any:
    """The option, or its ini twin where it is not given."""
    given = getattr(config.option, name)
    return config.getini(name) if given is None else given


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give a worker the controller's run: it parses the command line anew and would make its own."""
    from .items import CONTEXT

    context = node.config.stash.get(CONTEXT, None)
    if context is not None:
        node.workerinput[_WORKER_RUN] = context.run_id
        node.workerinput[_DEVICE] = context.device
        node.workerinput[_CONTROLLER] = os.getpid()
        node.workerinput[_SCHEDULED] = node.config.option.dist == "load"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Ours in place of ``--dist=load``, which is also what ``-n`` means; others are left as asked for."""
    state = config.stash.get(STATE, None)
    if state is None or config.option.dist != "load":
        return None
    from .items import CONTEXT
    from .scheduling import scheduler

    return scheduler(config, log, config.stash[CONTEXT], state.suites)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """``-n auto``: as many workers as runs fit at a time."""
    if config.option.parity is None or os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None
    _default_paths(config)
    return _slots(config)


def _run_id(config: pytest.Config, output: Path, resume: bool) -> str:
    if _is_worker(config):
        return str(config.workerinput[_WORKER_RUN])  # type: ignore[attr-defined]
    named = _value(config, "parity_run_id")
    if named:
        # A name of a folder, and of evidence.
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}", named):
            what = "letters, digits, '.', '_' and '-' only, all of ASCII and at most 128 of them"
            raise pytest.UsageError(f"--parity-run-id {named!r}: {what}")
        return str(named)
    if resume:
        from ..execution.store import latest_run

        latest = latest_run(output, config.option.parity)
        if latest is None:
            raise pytest.UsageError(
                f"no {config.option.parity} run to resume in {output}; to mend: leave --parity-resume out"
            )
        return latest
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{config.option.parity}_{stamp}_{secrets.token_hex(2)}"


def _systems(text: str) -> tuple[str, ...]:
    names = tuple(n.strip() for n in text.split(",") if n.strip())
    unknown = [n for n in names if n not in SYSTEMS]
    if unknown or not names:
        raise pytest.UsageError(f"--parity-systems {text!r}: valid: {', '.join(SYSTEMS)}")
    return names


def _systems_asked(config: pytest.Config) -> tuple[str, ...]:
    """The systems that are run; of a campaign those of the sources whose tables are made."""
    campaign = config.option.parity == "campaign"
    foreign, own = ("systems", "source") if campaign else ("source", "systems")
    if getattr(config.option, f"parity_{foreign}") is not None:
        what = f"--parity-{foreign} means nothing with --parity={config.option.parity}"
        raise pytest.UsageError(f"{what}; to mend: --parity-{own}")
    if not campaign:
        return _systems(str(_value(config, "parity_systems")))
    source = str(_value(config, "parity_source"))
    if source not in SOURCES:
        raise pytest.UsageError(f"parity_source is {source!r}: valid: {', '.join(SOURCES)}")
    return SOURCES[source]


def _seeds(text: str) -> tuple[int, ...] | None:
    if not text:
        return None
    parts = [p.strip() for p in text.split(",")]
    whole = all(p.isascii() and p.isdigit() and len(p) < 19 for p in parts)
    seeds = {int(p) for p in parts} if whole else set()
    if len(seeds) != len(parts):
        raise pytest.UsageError(f"--parity-seeds {text!r}: distinct whole numbers are wanted, as in 0,1,2")
    return tuple(sorted(seeds))


def _overrides(config: pytest.Config) -> Iterator[tuple[str, Override]]:
    """The tables that stand in for sides, by system."""
    from ..inputs.scores import FORMATS
    from ..suite.suite import Override

    for system, name in OVERRIDES.items():
        path, format = str(_value(config, name)), str(_value(config, f"{name}_format"))
        if format and format not in FORMATS:
            option = "--" + name.replace("_", "-")
            raise pytest.UsageError(f"{option}-format {format!r}: valid: {', '.join(FORMATS)}")
        # Typed paths are the shell's, those of the ini file the project's.
        folder = config.rootpath if getattr(config.option, name) is None else config.invocation_params.dir
        if path or format:
            yield system, Override(folder / path if path else None, format or None)


def _retention(text: str) -> Retention:
    if text not in ("minimal", "full"):
        raise pytest.UsageError(f"parity_retention is {text!r}: valid: minimal, full")
    return "minimal" if text == "minimal" else "full"


def _isolate(config: pytest.Config) -> Isolate:
    """As asked; else proofs are kept in their folders where that can be done."""
    text = str(_value(config, "parity_isolate")) or ("auto" if config.option.parity == "proof" else "off")
    for name in ISOLATE:
        if text == name:
            return name
    raise pytest.UsageError(f"parity_isolate is {text!r}: valid: {', '.join(ISOLATE)}")


def _retry_failed(config: pytest.Config, resume: bool, run_dir: Path) -> str:
    """Why failed runs are tried anew, cleaned; it stands in the verdict's sentence."""
    from ..execution.cleaning import cleaner

    given = config.option.parity_retry_failed
    if given is None:
        return ""
    if not resume:
        raise pytest.UsageError("--parity-retry-failed goes with --parity-resume: nothing has failed yet")
    if not (reason := printable(" ".join(given.split()))):
        raise pytest.UsageError("--parity-retry-failed wants a reason, as in 'the disk was full'")
    return cleaner(config.rootpath, run_dir, os.environ).text(reason)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _default_paths(config: pytest.Config) -> None:
    """Without paths on the command line, collect the track's own suites."""
    if config.args_source is pytest.Config.ArgsSource.ARGS:
        return
    folder = _track_folder(config)
    if not folder.exists():
        raise pytest.UsageError(
            f"--parity={config.option.parity}: {folder} does not exist; name a suite file"
        )
    config.args = [str(folder)]
    # A worker gets the controller's arguments as if they had been typed.
    config.args_source = pytest.Config.ArgsSource.ARGS


def _track_folder(config: pytest.Config) -> Path:
    return config.rootpath / str(config.getini(f"parity_{config.option.parity}_suites"))


def _default_workers(config: pytest.Config) -> None:
    """Without ``-n``, let xdist run as many pairs at a time as ``parity_workers`` says.

    Equal to typing ``-n N``; ``-n 0`` and ``--pdb`` keep everything in one process.
    """
    option = config.option
    if _engine(config) != "local" or _is_worker(config) or not has_default_workers(option):
        return
    text = str(config.getini("parity_workers"))
    if text != "auto" and not text.isdigit():
        raise pytest.UsageError(f"parity_workers is {text!r}: auto or a whole number is wanted")
    count = _slots(config) if text == "auto" else int(text)
    if count > 1:
        option.numprocesses, option.dist, option.tx = count, "load", ["popen"] * count


def _slots(config: pytest.Config) -> int:
    """How many runs fit at a time: slots of the GPUs; on a CPU, cores over the threads of a run."""
    from ..execution import devices

    if devices.resolve(config.option.device or config.getini("parity_device"))[0] == "cuda":
        return len(devices.gpus()) * _slots_per_gpu(config)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // _threads(config))


def _slots_per_gpu(config: pytest.Config) -> int:
    text = str(config.getini("parity_slots_per_gpu"))
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 64):
        raise pytest.UsageError(f"parity_slots_per_gpu is {text!r}: a whole number from 1 to 64 is wanted")
    return int(text)


def _threads(config: pytest.Config) -> int:
    """The most threads that a run of the suites asks for which are to be collected."""
    from ..errors import ParityError
    from ..suite import suite_file

    threads = [1]
    for path in _named_suites(config):
        # Collection says what is wrong with it.
        with contextlib.suppress(ParityError, OSError):
            track = suite_file.read(path).track
            if track == "proof":
                from ..suite import proof_file

                threads += [part.threads for part in proof_file.load(path).parts]
            elif track == "campaign":
                from ..suite import campaign_file

                threads += [source.threads for source in campaign_file.load(path).sources.values()]
            else:
                threads.append(suite_file.load(path).threads)
    return max(threads)


def pytest_unconfigure(config: pytest.Config) -> None:
    state = config.stash.get(STATE, None)
    if state is not None:
        state.claim.close()


def pytest_report_header(config: pytest.Config) -> list[str]:
    from .items import CONTEXT

    context = config.stash.get(CONTEXT, None) if config.option.parity else None
    if context is None:
        return []
    line = f"parity: {context.track}, device {context.device}, run {os.path.relpath(context.run_dir)}"
    word = config.stash.get(DEVICE_WORD, "")
    return [line, *([f"parity: {word}"] if word else [])]


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if not is_suite_name(file_path):
        return None
    if parent.config.option.parity is None:
        return _without_track(parent, file_path)
    if not (parent.session.isinitpath(file_path) or _holds_suite(parent.config, file_path)):
        return None
    from .items import SuiteFile

    collector: pytest.Collector = SuiteFile.from_parent(parent, path=file_path)
    return collector


def _without_track(parent: pytest.Collector, path: Path) -> pytest.Collector | None:
    """Of a suite that is named without ``--parity``: what says what to type. Of other files nothing."""
    if not parent.session.isinitpath(path) or not _looks_like_suite(path):
        return None
    from .arguments import SuiteWithoutTrack

    collector: pytest.Collector = SuiteWithoutTrack.from_parent(parent, path=path)
    return collector


def _holds_suite(config: pytest.Config, path: Path) -> bool:
    """Whether a YAML file that nobody named is a suite: those of other tools are not ours to judge."""
    return path.is_relative_to(_track_folder(config)) or _looks_like_suite(path)


# A key of the whole file. What is written as JSON has no lines that would tell.
_OF_SUITE = re.compile(
    rb"""(?m)^["']?(?:suite_id["']?[ \t]*:|schema_version["']?[ \t]*:[ \t]*["']?worldflux)"""
    rb"""|\A\s*\{[\s\S]*["']?suite_id["']?\s*:"""
)


def _looks_like_suite(path: Path) -> bool:
    return _OF_SUITE.search(path.read_bytes()) is not None


def _refuse_odd_names(config: pytest.Config) -> None:
    """Refuse a suite whose name would do something where pytest prints it: it is part of every node id."""
    for path in _named_suites(config):
        # Its bytes: in a locale of ASCII every other character is one that cannot be written.
        name = os.fsencode(os.path.relpath(path, config.rootpath)).decode("utf-8", "replace")
        if printable(name) != name:
            what = "the name of this suite's file is more than text in a terminal or a CI server"
            raise pytest.UsageError(f"{printable(name)}: {what}; to mend: rename it")


def _named_suites(config: pytest.Config) -> Iterator[Path]:
    """The suites among what pytest was asked to collect, with those of which no pair is selected.

    Looked for anew, since neither xdist (node ids of what is left) nor ``--lf`` (skips whole files)
    tells of a suite whose pairs are all deselected.
    """
    for argument in config.args:
        path = Path(os.path.abspath(config.invocation_params.dir / argument.split("::", 1)[0]))
        if path.is_dir():
            yield from _suites_below(config, path)
        elif is_suite_name(path):
            yield path


def _suites_below(config: pytest.Config, folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if config.hook.pytest_ignore_collect(collection_path=path, config=config):
            continue
        if path.is_dir():
            yield from _suites_below(config, path)
        elif is_suite_name(path) and _holds_suite(config, path):
            yield path


class _BrokenFiles:
    """Notes the files that could not be collected: pytest reports them, and they are not judged."""

    def __init__(self, broken: set[str]) -> None:
        self.broken = broken

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.broken.add(report.nodeid)


class _NotedLines:
    """Notes the stored lines that reports tell of: no program can reach what this process remembers."""

    def __init__(self, lines: dict[str, dict[str, str]]) -> None:
        self.lines = lines

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        from .items import LINE

        suite, _, pair = report.nodeid.partition("::")
        for name, value in report.user_properties if report.when == "call" else ():
            if name.endswith(LINE):
                self.lines.setdefault(suite, {})[str(value)] = f"{name.removesuffix(LINE)} {pair}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    config = session.config
    if config.option.parity is None:
        return
    from .items import components_first

    # Here, and not while items are modified: what others sort after us (--ff) must not train first.
    session.items[:] = components_first(session.items, spread=_is_worker(config))
    stopped = session.testsfailed and not config.option.continue_on_collection_errors
    if not _is_worker(config) and session.items and not stopped:
        _seal(config, [item.nodeid for item in session.items])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:
    if ids:
        _seal(node.config, ids)


def _seal(config: pytest.Config, node_ids: list[str]) -> None:
    """Write down what is asked before the first run; on a resume, check that it is the same."""
    state = config.stash.get(STATE, None)
    if state is None or state.sealed:
        return
    from ..errors import ParityError
    from ..session.seal import isolation_line, plans, seal, suite_paths, unsearched_lines
    from .items import CONTEXT

    context = config.stash[CONTEXT]
    paths = suite_paths(config.rootpath, node_ids, _named_suites(config), state.broken)
    if not paths:
        raise pytest.UsageError(f"--parity={context.track}: no suite is among what was collected")
    try:
        _claim(context, state.claim)
        open_because = isolation_line(context)
        cases, against = seal(context, paths, list(config.invocation_params.args))
        told = [
            *open_because,
            *unsearched_lines(),
            *plans(context, paths),
            *(f"parity: {text}" for text in against),
        ]
    except ParityError as error:
        raise pytest.UsageError(error.line()) from None
    state.node_ids, state.sealed = node_ids, True
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        for text in told:
            reporter.write_line(printable(text))
    state.suites.update(paths)
    session = config.pluginmanager.get_plugin("session")
    config.pluginmanager.register(_Progress(session, len(node_ids) + cases))


class _Progress:
    """Lets the verdicts count in the progress; pytest and xdist set the total after they collected."""

    def __init__(self, session: Any, total: int) -> None:
        self.session = session
        self.total = total

    def pytest_runtest_logstart(self) -> None:
        self.session.testscollected = self.total


def _claim(context: RunContext, stack: contextlib.ExitStack) -> None:
    """Hold the run directory for this session; refuse one that is used or not meant to be resumed."""
    from ..errors import StoreError
    from ..execution.store import run_lock

    document = context.run_dir / "run.json"
    if context.resume and not document.exists():
        raise StoreError(
            "no such run to resume", where=str(context.run_dir), mend="leave --parity-resume out"
        )
    stack.enter_context(run_lock(context.run_dir))
    # Looked at under the lock: another session may have made the run a moment ago.
    if document.exists() and not context.resume:
        raise StoreError(
            "this run exists",
            where=str(context.run_dir),
            mend="add --parity-resume, or choose another --parity-run-id",
        )


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    if _is_worker(session.config) and session.config.workerinput.get(_SCHEDULED):  # type: ignore[attr-defined]
        from .scheduling import Swallower

        session.config.pluginmanager.register(Swallower(session))
    result = yield
    # Here, and not at the end of the session, so that the verdicts stand in the same line of progress.
    _conclude(session)
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int | pytest.ExitCode) -> None:
    # A loop that was left early (-x, Ctrl-C) is judged as well: what it did not run leaves it open.
    if exitstatus in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED):
        _conclude(session)


def _conclude(session: pytest.Session) -> None:
    """Judge what was sealed, once, and report each verdict as a test case."""
    config = session.config
    state = config.stash.get(STATE, None)
    if state is None or not state.sealed or state.conclusions:
        return
    from ..session.conclude import conclude
    from .items import CONTEXT

    arguments = list(config.invocation_params.args)
    state.conclusions = conclude(
        config.stash[CONTEXT], state.node_ids, state.lines, suites=state.suites, arguments=arguments
    )
    session.testscollected = len(state.node_ids) + sum(len(c.cases) for c in state.conclusions)
    for conclusion in state.conclusions:
        for case in conclusion.cases:
            _report(config, conclusion.node_id, case)


def _report(config: pytest.Config, node_id: str, case: Case) -> None:
    """Send a verdict through the hooks as a test case, so that terminal, junit and counts agree."""
    text = printable_lines(case.text)
    longrepr: Any = {"passed": None, "failed": text, "skipped": (node_id, 1, text)}[case.outcome]
    # Plain builtins only: xdist refuses anything else. junit takes properties from the teardown.
    properties: list[tuple[str, object]] = [("reason", text)]
    properties += [("warning", printable(warning)) for warning in case.warnings]
    phases: list[tuple[Literal["call", "teardown"], Any]] = [("call", case.outcome), ("teardown", "passed")]
    for when, outcome in phases:
        report = pytest.TestReport(
            nodeid=f"{node_id}::{case.kind}[{case.name}]",
            location=(node_id, None, f"{case.kind}[{case.name}]"),
            keywords={},
            outcome=outcome,
            longrepr=longrepr if when == "call" else None,
            when=when,
            user_properties=properties if when == "teardown" else [],
        )
        config.hook.pytest_runtest_logreport(report=report)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    state = config.stash.get(STATE, None)
    if state is None or not state.conclusions:
        return
    for conclusion in state.conclusions:
        for line, style in _summary(conclusion):
            # Names, and what programs say of themselves, are others' texts.
            terminalreporter.write_line(printable(line), **style)


def _summary(conclusion: Conclusion) -> Iterator[tuple[str, dict[str, bool]]]:
    """What the terminal shows of a suite: verdict, table, of a pass its claim card, and the documents."""
    from ..reporting.card import card_lines
    from ..reporting.terminal import proof_summary, summary

    if conclusion.judgement is not None:
        yield from summary([(conclusion.judgement, conclusion.notes)])
    if conclusion.proof is not None:
        yield from proof_summary(conclusion.proof.judgement, conclusion.proof.signature)
    if any(case.kind == "campaign" for case in conclusion.cases):
        yield from ((note, {}) for note in conclusion.notes)
    if conclusion.facts is not None and conclusion.facts.verdict == "pass":
        rows = card_lines(conclusion.facts, conclusion.signature, beside=True)
        yield from ((f"  {row}", {}) for row in rows)
    yield from ((f"  {os.path.relpath(path)}", {}) for path in conclusion.documents)
    if conclusion.log_head:
        yield f"  log head: {conclusion.log_head}", {}
