"""A program that is tried alone, before any session: what it is asked, and single runs of it.

It is started, walled in and read as in a session, in folders that no session takes for a run: they hold no
``run.json``, and stand one folder deeper than runs do.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import schemas, wire
from ..errors import SuiteError
from ..execution import attempts, isolation
from ..execution.bytecode import BYTECODE_FOLDER
from ..execution.copies import PROGRAM_FOLDER, seal_copy
from ..execution.local import LocalEngine
from ..execution.store import Line, Stored, SuiteStore, hold_presence
from ..inputs.backends import Backend
from ..inputs.context import RunContext
from ..inputs.prepare import PreparedFile, PreparedSuite, prepare_suite, require_checkout
from ..inputs.trees import Tree, base_of
from ..judgement.fingerprint import fingerprint
from ..suite import proof_file, suite_file
from ..suite.pairs import Pair, expected_seeds
from ..suite.proof import ProofSuite
from ..suite.suite import SYSTEMS, ArtifactSide, BackendSide, Metric, Suite, Task
from .programs import describe_programs

# What a program is asked by hand.
BY_HAND = "check_backend"
# No session can have this id, so that no stored line of a trial can be one of a run.
NO_RUN = "+check_backend"
# The folder of the run whose record is looked at.
FIRST_RUN = "first"
# By which option each key of such a suite was given.
_OPTIONS = {"tasks": "--task", "seeds": "--seed", "recipe": "--set", "eval_protocol": "--eval"}


@dataclass(frozen=True)
class Wish:
    """What a person asks to be tried.

    Attributes:
        task, seed: None: the first of the suite. recipe, protocol: keys in place of the suite's.
    """

    task: str | None = None
    seed: int | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trial:
    """A program and what it is asked.

    Attributes:
        part: of the suite, with one task, one seed and one side. proof: the whole, where it is a proof.
        entry: what a session would seal of the suite.
        changes: of ``effective_recipe`` and ``eval_protocol``, what is asked otherwise than the suite asks.
    """

    part: PreparedSuite
    pair: Pair
    context: RunContext
    entry: Mapping[str, Any]
    proof: ProofSuite | None = None
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def system(self) -> str:
        return self.pair.systems[0]

    @property
    def backend(self) -> Backend:
        backend = self.part.backends[self.system]
        assert isinstance(backend, Backend)
        return backend

    def context_of(self, name: str) -> RunContext:
        """The context of a run of the trial, by its folder's name."""
        return replace(self.context, run_dir=self.context.run_dir / name)


def make_trial(backend: Backend, path: Path | None, wish: Wish, context: RunContext) -> Trial:
    """A trial of a program, by a suite or by hand.

    Raises:
        SuiteError: the suite has no such side, task or seed, or what is asked by hand cannot be asked.
        BackendError: the program's environment is absent, or what it names.
        SourceError: its checkout is absent.
    """
    proof = None
    _check_wish(wish, backend.family)
    if path is None:
        suite, system = _suite_by_hand(backend, wish), backend.system
    else:
        suite, system, proof = _suite_of(backend, path)
        suite = _narrow(suite, system, wish)
    backend.interpreter(context.root)
    # Of a table beside it what it states is compared, as its session would.
    beside = [s for s, side in suite.sides.items() if isinstance(side, ArtifactSide) and side.path.exists()]
    part = prepare_suite(replace(suite, component_match="none", components=()), context, (system, *beside))
    require_checkout(part, system)
    pair = Pair(suite.tasks[0], suite.seeds[system][0], (system,))  # type: ignore[index]
    part = replace(part, pairs=(pair,))
    file = PreparedFile((part,))
    entry = describe_programs(fingerprint(file, context), file, context)
    trees = {system: Tree(entry["trees"][f"{part.key}.{system}"])}
    changes = {"effective_recipe": wish.recipe, "eval_protocol": wish.protocol}
    changes = {key: {} for key in changes} if path is None else changes
    return Trial(replace(part, trees=trees), pair, context, entry, proof, changes)


def _check_wish(wish: Wish, family: str) -> None:
    """Hold what is wished against what a suite may ask.

    Raises:
        SuiteError: it is nothing that a suite may ask.
    """
    document = {
        "schema_version": suite_file.SUITE_SCHEMA,
        "suite_id": BY_HAND,
        "family": family,
        "track": "quick",
        "tasks": [BY_HAND if wish.task is None else wish.task],
        "seeds": [0 if wish.seed is None else wish.seed],
        "metrics": [{"name": "episode_return", "rule": "calibrated", "margin": 0.05}],
        "recipe": dict(wish.recipe),
        "eval_protocol": dict(wish.protocol),
    }
    schemas.check(document, "suite.v1", lambda at: _OPTIONS.get(str(at[0]), "") if at else "", SuiteError)
    for key in ("recipe", "eval_protocol"):
        try:
            wire.canonical_json(document[key])
        except wire.WireError as error:
            raise SuiteError(str(error), where=_OPTIONS[key]) from None


def _suite_by_hand(backend: Backend, wish: Wish) -> Suite:
    if wish.task is None:
        hint = "--suite FILE, or --task ID"
        raise SuiteError("without a suite, say which task is asked", where="--task", hint=hint)
    return Suite(
        suite_id=BY_HAND,
        family=backend.family,
        track="quick",
        tasks=(Task(wish.task, wish.recipe, wish.protocol),),
        seeds=dict.fromkeys(SYSTEMS, (wish.seed or 0,)),
        sides={backend.system: BackendSide(backend.adapter)},
        metrics=(Metric("episode_return", "calibrated", 0.05),),
    )


def _suite_of(backend: Backend, path: Path) -> tuple[Suite, str, ProofSuite | None]:
    """The part of a suite file in which a program is a side, and which side it is."""
    track = suite_file.read(path).track
    if track == "campaign":
        hint = "name a quick suite or a proof"
        raise SuiteError("a campaign asks nothing of a record", where=str(path), hint=hint)
    proof = proof_file.load(path) if track == "proof" else None
    parts = proof.parts if proof else (suite_file.load(path),)
    sides = [(part, s, part.sides[s]) for part in parts for s in (backend.system, *SYSTEMS)]
    for part, system, side in sides:
        if isinstance(side, BackendSide) and not side.commands and side.adapter == backend.adapter:
            return part, system, proof
    valid = dict.fromkeys(side.adapter for *_, side in sides if isinstance(side, BackendSide))
    what = f"no side of it is {backend.adapter!r}"
    raise SuiteError(what, where=str(path), valid=valid, got=backend.adapter)


def _narrow(suite: Suite, system: str, wish: Wish) -> Suite:
    """A suite of one task and one seed, as it is wished."""
    tasks = {t.id: t for t in suite.tasks}
    task = tasks.get(wish.task or suite.tasks[0].id)
    if task is None:
        raise SuiteError(f"no task {wish.task!r}", where=str(suite.path), valid=tasks, got=wish.task)
    seeds = sorted(expected_seeds(suite, system, task.id, {}))
    seed = seeds[0] if wish.seed is None else wish.seed
    asked = replace(
        task,
        recipe={**task.recipe, **wish.recipe},
        eval_protocol={**task.eval_protocol, **wish.protocol},
        seeds=None,
    )
    return replace(
        suite,
        tasks=(asked,),
        seeds=dict.fromkeys(SYSTEMS, (seed,)),
        metrics=tuple(replace(m, tasks=()) for m in suite.metrics_of(task.id)),
        retries=0,
    )


def is_walled(trial: Trial) -> bool:
    """Whether the program runs within walls.

    Raises:
        IsolationError: walls are required, and cannot be had on this machine.
        BackendError: what it declares to need cannot be had within them.
    """
    walls = isolation.walls_of(trial.context, trial.part, trial.system)
    if not isolation.are_walls_in_force(walls, trial.backend.adapter):
        return False
    isolation.needs_of(trial.backend, trial.context.root, walls)
    return True


def run_once(
    trial: Trial,
    name: str,
    *,
    seed: int | None = None,
    variables: Mapping[str, str] | None = None,
    is_open: bool = False,
    end_after: float | None = None,
) -> Line | None:
    """Run the program in the folder ``name`` of the trial; again in the same one, as a resume does.

    Args:
        seed: in place of the trial's. variables: more of its environment. is_open: without walls.
        end_after: seconds after which it is ended from outside, as by Ctrl-C.

    Returns:
        The stored line, of a failure too; None where it was ended from outside.

    Raises:
        ParityError: the folder cannot be written, or walls cannot be had that are required.
    """
    context = trial.context_of(name)
    context = replace(context, isolate="off") if is_open else context
    pair = trial.pair if seed is None else replace(trial.pair, seed=seed)
    place, tree = context.run_dir.resolve() / PROGRAM_FOLDER, trial.part.trees[trial.system]
    seal_copy(place, tree, base_of(trial.backend, context.root.resolve()))
    # What torch is made of takes half a minute to compile, at each run that has nothing of an earlier one.
    for compiled in trial.context.run_dir.resolve().glob(f"*/{PROGRAM_FOLDER}/{BYTECODE_FOLDER}"):
        if not (place / BYTECODE_FOLDER).exists():
            os.rename(compiled, place / BYTECODE_FOLDER)
    engine, ended = LocalEngine(context, variables=variables), threading.Event()

    def end_run() -> None:
        ended.set()
        engine.stop()

    timer = threading.Timer(end_after or 0, end_run)
    if end_after is not None:
        timer.start()
    try:
        with hold_presence(context.run_dir) as present:
            return attempts.run_system(trial.part, pair, trial.system, context, Stored(()), engine, present)
    except attempts.AttemptsFailed:
        store = SuiteStore(context.run_dir, trial.part.suite.suite_id)
        return store.read().attempts(pair.task.id, pair.seed, trial.system)[-1]
    except KeyboardInterrupt:
        if not ended.is_set():
            raise
        return None
    finally:
        timer.cancel()
