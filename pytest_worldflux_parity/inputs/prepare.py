"""A suite file made ready to run: tables loaded, backends found, sources located.

Done once at collection, so that every mistake in what the user wrote shows before the first run,
and done again, by the same code, on the controller when it judges.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import schemas, wire
from ..errors import BackendError, ScoreTableError, SourceError, StoreError, SuiteError
from ..suite import campaign_file, proof_file, suite_file
from ..suite.campaign import Campaign, Source
from ..suite.commands import value_at
from ..suite.pairs import FoundSeeds, Pair, RunKey, pairs
from ..suite.proof import ProofSuite
from ..suite.seed_plan import SeedPlan
from ..suite.suite import SYSTEMS, ArtifactSide, BackendSide, Suite, Task
from ..wire import CurvePoint, RunRecord
from . import checkouts, lock
from .backends import Backend, load_backends
from .command_program import CommandProgram, project_commit
from .context import RunContext
from .scores import RETURN, ScoreTable, load_table, task_key
from .scores.absence import mend_absence
from .scores.curves import Result, nulls_at, point_near
from .trees import require_scripts

if TYPE_CHECKING:
    from .golden_data import Component
    from .matches import MatchSpec
    from .trees import Tree


SEED_PLAN = "seed_plan.json"


@dataclass(frozen=True)
class PreparedSuite:
    """A suite, or one part of a proof suite, with what it refers to.

    Attributes:
        backends, sources: by live system; a source is what a request's ``source`` holds.
        tables: by system read from a table.
        match: what the worldflux side's components are compared with; None where they are not.
        label: tells the parts of a proof suite apart; empty where there is one alone.
        trees: by live system the files that it runs from, where no ``run.json`` says so.
        live: whether components are also compared from a checkpoint that an official run leaves.
        request_ids: those that were asked for, by (task, seed, system, device).
    """

    suite: Suite
    pairs: tuple[Pair, ...]
    tables: Mapping[str, ScoreTable] = field(default_factory=dict)
    results: Mapping[RunKey, Result] = field(default_factory=dict)
    backends: Mapping[str, Backend | CommandProgram] = field(default_factory=dict)
    sources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    match: MatchSpec | None = None
    label: str = ""
    live: bool = False
    trees: Mapping[str, Tree] = field(default_factory=dict)
    request_ids: dict[tuple[str, int, str, str], str] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def key(self) -> str:
        """How the part is named in ``run.json`` and in a bundle."""
        return self.label or self.suite.family

    @property
    def match_key(self) -> str:
        """How the program whose components are compared is named in ``run.json``."""
        own = self.match is not None and self.backends.get("worldflux") == self.match.backend
        return f"{self.key}.{'worldflux' if own else 'match'}"

    def component_case(self, component: Component) -> str:
        """The name of the test case of a component."""
        kind, name = component.case
        return f"{kind}[{self.label}:{name}]" if self.label else f"{kind}[{name}]"

    @property
    def match_folder(self) -> str:
        """The folder of the component match within that of the suite."""
        return f"component_match_{self.label}" if self.label else "component_match"


@dataclass(frozen=True)
class PreparedFile:
    """A suite file made ready: one part of a quick suite, one per pair of programs of a proof suite, and
    one per source of a campaign.

    Attributes:
        plan: the sealed plan of seeds of a proof suite whose pilot has run.
    """

    parts: tuple[PreparedSuite, ...]
    proof: ProofSuite | None = None
    plan: SeedPlan | None = None
    campaign: Campaign | None = None

    @property
    def suite(self) -> Suite:
        """The suite of a file that has one part; of others the first, for what the parts share."""
        return self.parts[0].suite

    @property
    def suite_id(self) -> str:
        return self.suite.suite_id


def prepare(path: Path, context: RunContext) -> PreparedFile:
    """Load a suite file and everything that it names.

    Raises:
        SuiteError, ScoreTableError, BackendError, SourceError, GoldenError, StoreError: the first thing
            that is wrong.
    """
    track = suite_file.read(path).track
    if track != context.track:
        raise SuiteError(
            f"this is a {track} suite",
            where=suite_file.place(path, "track"),
            hint=f"run it with --parity={track}",
        )
    if track == "quick":
        suite = suite_file.load(path).with_overrides(context.overrides)
        if context.seeds is not None:
            suite = suite.with_live_seeds(context.seeds)
        return PreparedFile((prepare_suite(suite, context),))
    proof = proof_file.load(path) if track == "proof" else None
    campaign = campaign_file.load(path) if proof is None else None
    if context.overrides:
        what = "a proof compares programs that are run, and the command line gives a table in place of one"
        if campaign:
            what = "a campaign reads the tables that it names, and the command line gives one in place"
            what += " of another"
        raise SuiteError(what, where=str(path), hint="leave --parity-upstream and --parity-worldflux out")
    if campaign:
        return _prepare_campaign(campaign, context)
    assert proof is not None
    proof, plan = as_asked(proof, context)
    live = proof.component_match == "live"
    parts = [replace(prepare_suite(part, context), live=live) for part in proof.parts]
    return PreparedFile(label_parts(parts), proof, plan)


def as_asked(proof: ProofSuite, context: RunContext) -> tuple[ProofSuite, SeedPlan | None]:
    """A proof suite with what the command line chose and the seeds of a sealed plan, and that plan.

    Raises:
        StoreError: the plan is there and is none.
    """
    if context.seeds is not None:
        proof = proof.with_seeds(context.seeds)
    if "lock" in context.choices:
        proof = proof.without_claim(context.choices["lock"])
    plan = read_plan(context.run_dir / proof.suite_id / SEED_PLAN)
    return proof.planned(plan), plan


def _prepare_campaign(campaign: Campaign, context: RunContext) -> PreparedFile:
    wanted = [s for s in campaign.sources.values() if s.system in context.systems]
    if not wanted:
        valid = list(campaign.sources)
        raise SuiteError(
            "the campaign has no such source",
            where=suite_file.place(campaign.path, "sources"),
            valid=valid,
            hint=f"--parity-source {valid[0]}",
        )
    for source in wanted:
        if not source.in_place:
            _refuse_output(campaign, source)
    return PreparedFile(tuple(prepare_source(campaign, s, context) for s in wanted), campaign=campaign)


def _refuse_output(campaign: Campaign, source: Source) -> None:
    """Say before the hours of running, not after, that a table could not be written where it is to stand."""
    path = Path(os.path.normpath(source.output_path))
    standing = next((p for p in (path, *path.parents) if p.exists()), path)
    if standing == path and path.is_file():
        load_table(path, "canonical_json", duplicates="last")
        return
    kind = "a folder" if path.is_dir() else "a file"
    if standing != path and standing.is_dir():
        if os.access(standing, os.W_OK):
            return
        kind = "a folder without permission"
    raise SuiteError(
        f"no table can be written to {path}: {standing} is {kind}",
        where=suite_file.place(campaign.path, "sources", source.name, "output_path"),
        hint="name another output_path",
    )


def prepare_source(campaign: Campaign, source: Source, context: RunContext) -> PreparedSuite:
    """One source of a campaign: its table loaded, or its program found.

    Raises:
        ScoreTableError, BackendError, SourceError: the table or the program is not what it must be.
    """
    suite = campaign.suite(source, context.seeds or campaign.seeds)
    found = prepare_suite(suite, context, (source.system,), ("sources", source.name, "adapter"))
    own = tuple(replace(pair, source=source.name) for pair in found.pairs)
    return replace(found, pairs=own, label=source.name)


def read_plan(path: Path) -> SeedPlan | None:
    """The sealed plan of seeds of a proof suite, or None where its pilot has not ended.

    Raises:
        StoreError: the file is there and is not a plan.
    """
    try:
        document = wire.load_object(path)
    except FileNotFoundError:
        return None
    except (OSError, wire.WireError) as error:
        raise StoreError(f"cannot be read: {error}", where=str(path)) from None
    schemas.check(document, "seed_plan.v1", lambda at: f"{path}: {'.'.join(map(str, at))}", StoreError)
    return SeedPlan.from_dict(document)


def label_parts(parts: Sequence[PreparedSuite]) -> tuple[PreparedSuite, ...]:
    """Parts named by their family, and a number where two are of one; a part that is alone has no name."""
    if len(parts) == 1:
        return tuple(parts)
    counts: dict[str, int] = {}
    label_parts = []
    for part in parts:
        family = part.suite.family
        counts[family] = counts.get(family, 0) + 1
        number = f"_{counts[family]}" if counts[family] > 1 else ""
        label_parts.append(replace(part, label=family + number))
    return tuple(label_parts)


def prepare_suite(
    suite: Suite, context: RunContext, only: Sequence[str] = SYSTEMS, at: tuple[str, ...] = ()
) -> PreparedSuite:
    """As :func:`prepare`, of a suite that is loaded.

    Args:
        only: these sides are looked at.
        at: where the file names a program, if not under its system.
    """
    _refuse_names_of_programs(suite)
    tables = {s: _load_side(suite, s, context) for s in only if isinstance(suite.sides[s], ArtifactSide)}
    results = results_of(suite, tables)
    live = [s for s in suite.live_systems if s in only]
    known = load_backends(context.backend_folders) if any(not suite.commands(s) for s in live) else {}
    programs = {s: _find_program(suite, s, known, at or (s, "backend")) for s in live}
    return PreparedSuite(
        suite=suite,
        pairs=tuple(pairs(suite, found_seeds(results))),
        tables=tables,
        results=results,
        backends=programs,
        sources={s: source_of(program, context, suite, s) for s, program in programs.items()},
        match=_find_match(suite, programs.get("worldflux"), context),
    )


def _refuse_names_of_programs(suite: Suite) -> None:
    for i, task in enumerate(suite.tasks):
        for system in task.names.keys() & set(suite.live_systems):
            raise SuiteError(
                f"the {system} side is a program, which is asked for task {task.id!r} by its id",
                where=suite_file.place(suite.path, "tasks", i, "names", system),
                hint="leave the name out: names are of tables",
            )


def _find_match(
    suite: Suite, backend: Backend | CommandProgram | None, context: RunContext
) -> MatchSpec | None:
    """What the suite's components are compared with; None where the backend declares no match.

    Raises:
        SuiteError: the suite wants components matched and no program of its can.
        GoldenError: the golden folder cannot be compared with.
        SourceError: the lock file is there and is not a lock.
    """
    if suite.component_match == "none" or (backend is None and "worldflux" in suite.live_systems):
        return None
    if backend is not None and not isinstance(backend, Backend):
        # The command of a manifest says nothing of components; the backend of the same id does.
        backend = load_backends(context.backend_folders).get(backend.adapter_id)
    if backend is not None and backend.match is not None:
        # Arrays are brought in only where there are some: plain suites stay light.
        from .matches import match_as_declared, match_spec

        return match_as_declared(match_spec(backend, context.lock_path, suite=suite), suite)
    if suite.component_match != "golden" and not suite.components:
        return None
    key, said, hint = "component_match", "component_match is 'golden'", "write `component_match: none`"
    if suite.components:
        key, said, hint = "components", "components are named", "leave components out"
    raise SuiteError(
        f"{said}, and the worldflux side is no live backend with a match program",
        where=suite_file.place(suite.path, key),
        hint=f"{hint}, or add a `match:` to its backend.yaml",
    )


def _load_side(suite: Suite, system: str, context: RunContext) -> ScoreTable:
    side = suite.sides[system]
    assert isinstance(side, ArtifactSide)
    try:
        return load_table(side.path, side.format, **side.reading)
    except ScoreTableError as error:
        if os.path.lexists(os.path.normpath(side.path)):
            raise
        hint = mend_absent(Path(os.path.normpath(side.path)), system, context)
        raise ScoreTableError(error.what, where=os.path.normpath(side.path), hint=hint) from None


def mend_absent(path: Path, system: str, context: RunContext) -> str:
    """What brings a table that is absent: published ones stand in the locked checkouts."""
    if path.is_relative_to(context.root / ".worldflux") and context.lock_path.exists():
        for entry in lock.read_lock(context.lock_path).suites.values():
            if path.is_relative_to(checkouts.checkout_path(context.root, entry.repo, entry.commit)):
                return f"{checkouts.FETCH} --suite {entry.suite_id}"
    option = "--parity-upstream" if system == "official" else "--parity-worldflux"
    return f"write the {system} scores there, or name another table with {option}=PATH"


def mend_absent_row(prepared: PreparedSuite, task: Task, system: str) -> str:
    """What makes a suite of tables that lack a row one that can be judged.

    A quick suite of the earlier system expects of both what either holds, and has no key for seeds or names.
    """
    held = {s: sorted(n for at, t, n in prepared.results if (at, t) == (s, task.id)) for s in SYSTEMS}
    if None not in prepared.suite.seeds.values():
        return mend_absence(prepared.tables[system], task, system)
    if not held[system]:
        words = mend_absence(prepared.tables[system], task, system)
        return f"write the suite as {suite_file.SUITE_SCHEMA}, and {words}"
    shown = ", ".join(f"{side}: {seeds}" for side, seeds in held.items())
    return f"complete the table, or write the suite as {suite_file.SUITE_SCHEMA} with `seeds: {{{shown}}}`"


def results_of(suite: Suite, tables: Mapping[str, ScoreTable]) -> dict[RunKey, Result]:
    """(system, task, seed) -> what the tables of a suite's sides hold."""
    found = ((s, table_results(suite, table, s)) for s, table in tables.items())
    return {(system, *key): result for system, results in found for key, result in results.items()}


def table_results(suite: Suite, table: ScoreTable, system: str) -> dict[tuple[str, int], Result]:
    """The rows of a side's table as one :class:`Result` per (task, seed), under the suite's ids of tasks."""
    found: dict[tuple[str, int], Result] = {}
    tasks = {task_key(t.name_in(system)): t for t in suite.tasks}
    # What a table calls as the suite calls another task is none of the suite's.
    others = {task_key(t.id) for t in suite.tasks} - tasks.keys()
    for name, seed, metric in dict.fromkeys((*table.points, *table.nulls)):
        if name in others:
            continue
        task = tasks.get(name)
        key = (task.id if task else name, seed)
        own = found.setdefault(key, Result((), {}))
        if task is None:
            # It is only counted.
            continue
        own = replace(own, metrics=(*own.metrics, metric))
        curve = table.points.get((name, seed, metric), ())
        nulls = table.nulls.get((name, seed, metric), ())
        if metric == RETURN:
            own = replace(own, curve=curve, nulls=nulls)
        elif (point := _at_budget(curve, nulls, task)) is not None:
            own = replace(own, scalars={**own.scalars, metric: point.value})
        found[key] = own
    return found


def _at_budget(curve: Sequence[CurvePoint], nulls: tuple[int, ...], task: Task) -> CurvePoint | None:
    """The value of a scalar metric at the task's budget; a later or earlier row, or a null, is not it."""
    if task.budget is None:
        return curve[-1] if len(curve) == 1 and not nulls else None
    point = point_near(curve, task.budget.step, task.budget.tolerance)
    return None if point is None or nulls_at(nulls, point, point, task.budget) else point


def found_seeds(results: Iterable[RunKey]) -> Mapping[str, FoundSeeds]:
    """system -> task -> seeds, of the (system, task, seed) that the tables hold."""
    found: dict[str, dict[str, frozenset[int]]] = {s: {} for s in SYSTEMS}
    for system, task, seed in results:
        found[system][task] = found[system].get(task, frozenset()) | {seed}
    return found


def _find_program(
    suite: Suite, system: str, known: Mapping[str, Backend], at: Sequence[str]
) -> Backend | CommandProgram:
    side = suite.sides[system]
    assert isinstance(side, BackendSide)
    if side.commands:
        kind = next(iter(side.commands.values())).backend_kind or ""
        folder = suite.path.parent.resolve()
        return CommandProgram(folder, side.adapter, kind, suite.family, system, side.commands)
    backend = known.get(side.adapter)
    if backend is None:
        raise BackendError(
            f"no backend has the adapter id {side.adapter!r}",
            where=suite_file.place(suite.path, *at),
            got=side.adapter,
            valid=sorted(known),
            hint="name one of these, or add a folder with a backend.yaml to the ini setting parity_backends",
        )
    if backend.family != suite.family:
        raise BackendError(
            f"{side.adapter} is of the family {backend.family!r}, the suite of {suite.family!r}",
            where=suite_file.place(suite.path, "family"),
        )
    # One program stands for both sides where the suite asks for that.
    if backend.system != system and suite.comparison == "programs":
        raise BackendError(
            f"{side.adapter} is the {backend.system} program and cannot stand for {system}",
            where=suite_file.place(suite.path, *at),
            valid=sorted(b.adapter for b in known.values() if b.system == system),
        )
    require_scripts(backend)
    return backend


def source_of(
    backend: Backend | CommandProgram, context: RunContext, suite: Suite, system: str
) -> dict[str, Any]:
    """What decides the program: the tree of its folder, and the locked checkout that it runs.

    Args:
        system: the side that it stands for, which need not be its own: of versions one program is both.

    Raises:
        SourceError: the lock file has no such source, or no such version of it.
    """
    source: dict[str, Any] = {"backend_tree_sha256": backend.tree_sha256}
    if not isinstance(backend, Backend):
        if backend.commit:
            source.update(commit=backend.commit)
        if backend.system == "worldflux":
            source.update(worldflux_sha=project_commit(context.root))
        return source
    side = suite.sides[system]
    version = side.version if isinstance(side, BackendSide) else ""
    if version and not backend.lock_suite:
        what = f"{backend.adapter} runs no official checkout, so it has no versions"
        where = suite_file.place(suite.path, system, "version")
        raise SuiteError(what, where=where, hint="leave version out")
    if backend.lock_suite:
        entry = lock.read_lock(context.lock_path).entry_for(backend.lock_suite, suite.suite_id, version)
        checkout = checkouts.checkout_path(context.root, entry.repo, entry.commit)
        source.update(repo=entry.repo, commit=entry.commit, checkout=str(checkout))
    elif backend.checkouts:
        source.update(checkout=str(backend.checkouts[0]))
    return source


def require_checkout(prepared: PreparedSuite, system: str) -> None:
    """Make sure that the locked checkout is there which a live side runs.

    Raises:
        SourceError: it is not.
    """
    backend, checkout = prepared.backends[system], prepared.sources[system].get("checkout")
    if checkout and backend.lock_suite and not Path(checkout).is_dir():
        raise SourceError(
            f"the official checkout is absent: {checkout}",
            where=backend.adapter,
            hint=checkouts.FETCH,
        )


def stated(
    prepared: PreparedSuite, pairs: Iterable[Pair], records: Mapping[RunKey, RunRecord], what: str
) -> dict[RunKey, Mapping[str, Any]]:
    """(system, task, seed) -> the effective recipe or protocol that a side states.

    A record states it in its metadata; a table once per task in its provenance, for all of its
    seeds, so it is entered for each of ``pairs``, which are what it is compared with.

    Args:
        what: ``effective_recipe`` or ``eval_protocol``.
    """
    found: dict[RunKey, Mapping[str, Any]] = {}
    for key, record in records.items():
        if isinstance(record.metadata.get(what), dict):
            found[key] = record.metadata[what]
    for pair in pairs:
        for system, table in prepared.tables.items():
            own = value_at(table.provenance, "tasks", pair.task.name_in(system), what)
            if isinstance(own, dict):
                found[system, pair.task.id, pair.seed] = own
    return found
