"""The settings of a session: each is a row of a table, and together they are a :class:`.RunContext`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pytest

from ..execution.engines import ENGINES
from ..suite import SYSTEMS

if TYPE_CHECKING:
    from ..inputs.context import RunContext
    from ..suite.suite import Override

TRACKS = ("quick", "proof", "campaign")
SOURCES = {"oracle": ("official",), "worldflux": ("worldflux",), "both": SYSTEMS}
# System -> the option (and ini setting) that gives a table in its place.
OVERRIDES = {"official": "parity_upstream", "worldflux": "parity_worldflux"}


class Setting(NamedTuple):
    """A setting of the ini file.

    Attributes:
        metavar: of its twin on the command line; one without has no twin, but for choices and a bool.
        choices: its valid values.
    """

    name: str
    help: str
    default: Any = ""
    metavar: str = ""
    choices: tuple[str, ...] = ()
    kind: Literal["string", "linelist", "bool"] = "string"

    @property
    def option(self) -> str:
        """Its twin; ``--device`` is what release jobs type."""
        return "--device" if self.name == "parity_device" else "--" + self.name.replace("_", "-")

    def add_to(self, parser: pytest.Parser, group: Any) -> None:
        """Add it to the ini file, and its twin to the command line."""
        parser.addini(self.name, self.help, type=self.kind, default=self.default)
        how: dict[str, Any] = {"choices": self.choices} if self.choices else {"metavar": self.metavar}
        if self.kind == "bool":
            how = {"action": "store_true", "default": None}
        elif self.kind == "linelist":
            how["action"] = "append"
        if self.choices or self.metavar or self.kind == "bool":
            group.addoption(self.option, dest=self.name, help=self.help, **how)


PARITY_SETTINGS = (
    Setting("parity_run_id", "name of the run directory (default: from the time)", metavar="ID"),
    Setting(
        "parity_resume",
        "keep what the run finished and run the rest (without --parity-run-id: the latest run)",
        default=False,
        kind="bool",
    ),
    Setting("parity_output", "folder of the run directories", "reports/parity", "DIR"),
    Setting("parity_seeds", "seeds for the live sides in place of the suite's", metavar="0,1,2"),
    Setting("parity_systems", "live systems that are run", ",".join(SYSTEMS), "NAMES"),
    Setting("parity_source", "whose tables a campaign makes (default: both)", "both", choices=tuple(SOURCES)),
    Setting("parity_device", "where backends compute", "auto", choices=("auto", "cpu", "cuda")),
    Setting("parity_upstream", "score table in place of the official side of every suite", metavar="PATH"),
    Setting("parity_upstream_format", "its format, as in a suite file", metavar="FORMAT"),
    Setting("parity_worldflux", "score table in place of the worldflux side of every suite", metavar="PATH"),
    Setting("parity_worldflux_format", "its format, as in a suite file", metavar="FORMAT"),
    Setting("parity_engine", "where runs are executed", "local", choices=tuple(ENGINES)),
    Setting(
        "parity_retention",
        "what stays of an attempt once it is recorded: record, request and logs, or all (default)",
        "full",
        choices=("minimal", "full"),
    ),
    Setting(
        "parity_isolate",
        "keep programs in their folders: where this machine can (auto, of proofs), always, or never",
        choices=("auto", "require", "off"),
    ),
    Setting(
        "parity_history",
        "earlier equivalence reports that a proof is held against (repeatable; one a line)",
        default=[],
        metavar="GLOB",
        kind="linelist",
    ),
    Setting(
        "parity_reuse",
        "earlier run directories whose results count where a run would be the same (repeatable; one a line)",
        default=[],
        metavar="GLOB",
        kind="linelist",
    ),
    Setting("parity_sign_key", "Ed25519 private key that evidence is signed with", metavar="PEM"),
    Setting("parity_workers", "pairs at a time without -n: a number, or auto (as many as fit)", "auto"),
    Setting("parity_slots_per_gpu", "runs at a time on one GPU", "1"),
    Setting("parity_lock_folder", "folder of the locks on GPUs, shared by all sessions of a user on a host"),
    Setting("parity_quick_suites", "what --parity=quick collects without paths", "suites/quick"),
    Setting("parity_proof_suites", "what --parity=proof collects without paths", "suites/proof"),
    Setting("parity_campaign_suites", "what --parity=campaign collects without paths", "suites/campaign"),
    Setting("parity_backends", "folders of backends, one a line", ["backends"], kind="linelist"),
    *(
        Setting(name, text, default, kind="linelist" if isinstance(default, list) else "string")
        for engine in ENGINES.values()
        for name, (text, default) in engine.settings.items()
    ),
    Setting("parity_lock", "the file that locks the official sources", "reports/parity/upstream_lock.json"),
)
_BY_NAME = {setting.name: setting for setting in PARITY_SETTINGS}
# What an engine is told.
_OF_ENGINES = ("parity_slots_per_gpu", *(name for x in ENGINES.values() for name in x.settings))


def add_options(parser: pytest.Parser) -> None:
    """Add every option and every ini setting."""
    group = parser.getgroup("worldflux-parity", "parity with official world-model programs")
    group.addoption("--parity", choices=TRACKS, help="run parity suites (without paths: suites/<track>)")
    group.addoption(
        "--parity-retry-failed",
        metavar="REASON",
        help="with --parity-resume: try anew what has used up its retries; the verdict names the reason",
    )
    for setting in PARITY_SETTINGS:
        setting.add_to(parser, group)


def value_of(config: pytest.Config, name: str) -> Any:
    """The option, or its ini twin where it is not given.

    Raises:
        pytest.UsageError: it is none of its choices.
    """
    given, choices = getattr(config.option, name, None), _BY_NAME[name].choices
    value = config.getini(name) if given is None else given
    if choices and value and value not in choices:
        raise pytest.UsageError(f"{name} is {value!r}: valid: {', '.join(choices)}")
    return value


def context_of(config: pytest.Config) -> tuple[RunContext, str]:
    """What the session asks of every suite, and what is to be said of its device; often nothing.

    Raises:
        pytest.UsageError: an option or a setting is none.
        ParityError: a device or a table format cannot be had.
    """
    from dataclasses import replace

    from ..inputs.context import RunContext, chosen
    from ..suite.seed_plan import parse_seeds

    _check_root(config)
    # The engines that have no use for it here have one elsewhere.
    slots_per_gpu(config)
    output = config.rootpath / str(value_of(config, "parity_output"))
    resume = bool(value_of(config, "parity_resume"))
    run_id = _choose_run_id(config, output, resume)
    device, word = _choose_device(config)
    seeds = str(value_of(config, "parity_seeds"))
    sign_key = str(value_of(config, "parity_sign_key"))
    context = RunContext(
        root=config.rootpath,
        track=config.option.parity,
        run_id=run_id,
        run_dir=output / run_id,
        device=device,
        engine=value_of(config, "parity_engine"),
        engine_settings={name: config.getini(name) for name in _OF_ENGINES},
        lock_path=config.rootpath / str(config.getini("parity_lock")),
        backend_folders=tuple(config.rootpath / f for f in config.getini("parity_backends")),
        resume=resume,
        systems=_choose_systems(config),
        seeds=parse_seeds("--parity-seeds", seeds) if seeds else None,
        overrides=dict(_parse_overrides(config)),
        retention=value_of(config, "parity_retention"),
        # Proofs are kept in their folders where that can be done.
        isolate=value_of(config, "parity_isolate") or ("auto" if config.option.parity == "proof" else "off"),
        history=tuple(value_of(config, "parity_history")),
        reuse=_reused_runs(config),
        sign_key=config.invocation_params.dir / sign_key if sign_key else None,
        retry_failed=_retry_reason(config, resume, output / run_id),
    )
    project_lock = config.rootpath / str(_BY_NAME["parity_lock"].default)
    choices = chosen(context, project_lock, _override_ini(config, "parity_backends"))
    return replace(context, choices=choices), word


def slots_per_gpu(config: pytest.Config) -> int:
    """How many runs share a GPU.

    Raises:
        pytest.UsageError: the setting is no number.
    """
    text = str(config.getini("parity_slots_per_gpu"))
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 64):
        raise pytest.UsageError(f"parity_slots_per_gpu is {text!r}: a whole number from 1 to 64 is wanted")
    return int(text)


def _override_ini(config: pytest.Config, name: str) -> str:
    """What ``-o`` says of an ini setting in place of the project's own file; empty where it says nothing."""
    given = (option.partition("=") for option in config.option.override_ini or ())
    return next((value for key, _, value in given if key.strip() == name), "")


def _choose_device(config: pytest.Config) -> tuple[str, str]:
    """Where backends compute, ``auto`` as what this machine has, and what is to be said of that."""
    from ..execution import devices

    asked, engine = str(value_of(config, "parity_device")), value_of(config, "parity_engine")
    if ENGINES[str(engine)].is_here:
        return devices.resolve(asked)
    # The GPUs of this machine say nothing of those where it runs.
    if asked == "auto":
        raise pytest.UsageError(
            f"--parity-engine={engine} runs on other machines; to mend: say --device cpu or --device cuda"
        )
    return asked, ""


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


def _choose_run_id(config: pytest.Config, output: Path, resume: bool) -> str:
    track, named = config.option.parity, str(value_of(config, "parity_run_id"))
    if named:
        # A name of a folder, and of evidence.
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}", named):
            what = "letters, digits, '.', '_' and '-' only, all of ASCII and at most 128 of them"
            raise pytest.UsageError(f"--parity-run-id {named!r}: {what}")
        return named
    if resume:
        from ..execution.store import latest_run

        latest = latest_run(output, track)
        if latest is None:
            raise pytest.UsageError(
                f"no {track} run to resume in {output}; to mend: leave --parity-resume out"
            )
        return latest
    import secrets

    return f"{track}_{datetime.now(UTC).strftime('%Y%m%dT%H%M%SZ')}_{secrets.token_hex(2)}"


def _choose_systems(config: pytest.Config) -> tuple[str, ...]:
    """The systems that are run; of a campaign those of the sources whose tables are made."""
    campaign = config.option.parity == "campaign"
    foreign, own = ("systems", "source") if campaign else ("source", "systems")
    if getattr(config.option, f"parity_{foreign}") is not None:
        what = f"--parity-{foreign} means nothing with --parity={config.option.parity}"
        raise pytest.UsageError(f"{what}; to mend: --parity-{own}")
    text = str(value_of(config, f"parity_{own}"))
    if campaign:
        return SOURCES[text]
    names = tuple(n.strip() for n in text.split(",") if n.strip())
    if not names or set(names) - set(SYSTEMS):
        raise pytest.UsageError(f"--parity-systems {text!r}: valid: {', '.join(SYSTEMS)}")
    return names


def _parse_overrides(config: pytest.Config) -> Iterator[tuple[str, Override]]:
    """The tables that stand in for sides, by system."""
    from ..schemas.score_formats import SCORE_FORMATS
    from ..suite.suite import Override

    for system, name in OVERRIDES.items():
        path, format = str(value_of(config, name)), str(value_of(config, f"{name}_format"))
        if format and format not in SCORE_FORMATS:
            option = _BY_NAME[f"{name}_format"].option
            raise pytest.UsageError(f"{option} {format!r}: valid: {', '.join(SCORE_FORMATS)}")
        # Typed paths are the shell's, those of the ini file the project's.
        folder = config.rootpath if getattr(config.option, name) is None else config.invocation_params.dir
        if path or format:
            yield system, Override(folder / path if path else None, format or None)


def _reused_runs(config: pytest.Config) -> tuple[str, ...]:
    """Globs of earlier runs; those of the ini file may name what is not there yet."""
    for pattern in getattr(config.option, "parity_reuse", None) or ():
        from ..session.reuse import list_named

        if not list_named(config.rootpath, [pattern]):
            output = value_of(config, "parity_output")
            hint = f"name run directories, from the root of the project: {output}/'*'"
            raise pytest.UsageError(f"--parity-reuse {pattern!r} names no run; to mend: {hint}")
    return tuple(value_of(config, "parity_reuse"))


def _retry_reason(config: pytest.Config, resume: bool, run_dir: Path) -> str:
    """Why failed runs are tried anew, cleaned; it stands in the verdict's sentence."""
    from ..errors import printable
    from ..execution.cleaning import cleaner

    given = config.option.parity_retry_failed
    if given is None:
        return ""
    if not resume:
        raise pytest.UsageError("--parity-retry-failed goes with --parity-resume: nothing has failed yet")
    if not (reason := printable(" ".join(given.split()))):
        raise pytest.UsageError("--parity-retry-failed wants a reason, as in 'the disk was full'")
    return cleaner(config.rootpath, run_dir, os.environ).text(reason)
