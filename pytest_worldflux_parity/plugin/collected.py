"""What a session collects: the suites of a track, those that are named, and what it says of others."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..errors import ParityError, SuiteError, printable
from ..suite import is_suite_name

if TYPE_CHECKING:
    from ..inputs.context import RunContext

# A key of the whole file. What is written as JSON has no lines that would tell.
_OF_SUITE = re.compile(
    rb"""(?m)^["']?(?:suite_id["']?[ \t]*:|schema_version["']?[ \t]*:[ \t]*["']?worldflux)"""
    rb"""|\A\s*\{[\s\S]*["']?suite_id["']?\s*:"""
)


def looks_like_suite(path: Path) -> bool:
    """Whether a YAML file has the keys of a suite."""
    return _OF_SUITE.search(path.read_bytes()) is not None


def holds_suite(config: pytest.Config, path: Path) -> bool:
    """Whether a YAML file that nobody named is a suite: those of other tools are not ours to judge."""
    return path.is_relative_to(_track_folder(config)) or looks_like_suite(path)


def set_default_paths(config: pytest.Config) -> None:
    """Without paths on the command line, collect the track's own suites."""
    if config.args_source is pytest.Config.ArgsSource.ARGS:
        return
    folder = _track_folder(config)
    if not folder.exists():
        raise pytest.UsageError(
            f"--parity={config.option.parity}: {folder} does not exist; name a suite file"
        )
    config.args = [str(folder)]


def _track_folder(config: pytest.Config) -> Path:
    return config.rootpath / str(config.getini(f"parity_{config.option.parity}_suites"))


def named_suites(config: pytest.Config) -> Iterator[Path]:
    """The suites among what pytest was asked to collect, with those of which no pair is selected.

    Looked for anew: ``--lf``, which skips whole files, does not tell of them.
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
        elif is_suite_name(path) and holds_suite(config, path):
            yield path


def most_threads(config: pytest.Config) -> int:
    """The most threads that a run of the suites asks for which are to be collected."""
    from ..suite import campaign_file, proof_file, suite_file

    threads = [1]
    for path in named_suites(config):
        # Collection says what is wrong with it.
        with suppress(ParityError, OSError):
            track = suite_file.read(path).track
            if track == "proof":
                threads += [part.threads for part in proof_file.load(path).parts]
            elif track == "campaign":
                threads += [source.threads for source in campaign_file.load(path).sources.values()]
            else:
                threads.append(suite_file.load(path).threads)
    return max(threads)


def check_arguments(config: pytest.Config, context: RunContext) -> None:
    """Refuse node ids that a suite does not have, and suites whose names do more than name.

    Raises:
        pytest.UsageError: one of them.
    """
    for argument in () if config.option.pyargs else config.args:
        name, _, item = argument.partition("::")
        path = config.invocation_params.dir / name
        # pytest says of a path itself that it is absent.
        if item and is_suite_name(path) and path.exists():
            _check_item(path, item, context)
    for path in named_suites(config):
        # Its bytes: in a locale of ASCII every other character is one that cannot be written.
        name = os.fsencode(os.path.relpath(path, config.rootpath)).decode("utf-8", "replace")
        if printable(name) != name:
            what = "the name of this suite's file is more than text in a terminal or a CI server"
            raise pytest.UsageError(f"{printable(name)}: {what}; to mend: rename it")


def _check_item(path: Path, item: str, context: RunContext) -> None:
    from ..inputs.prepare import prepare

    try:
        file = prepare(path.resolve(), context)
    except ParityError:
        # Collection says what is wrong with the suite.
        return
    matched = [(part, c) for part in file.parts if part.match for c in part.match.golden.compared]
    names = [part.component_case(component) for part, component in matched]
    names += [str(pair.key) for part in file.parts for pair in part.pairs]
    # As pytest has it: a task alone means all its seeds.
    if item not in names and not any(name.startswith(f"{item}[") for name in names):
        raise pytest.UsageError(SuiteError("no such item", where=str(path), valid=names, got=item).line())


class SuiteWithoutTrack(pytest.File):
    """A suite that is named without ``--parity``, which alone starts runs."""

    def collect(self) -> Iterator[pytest.Item]:
        from ..suite import suite_file

        try:
            track = suite_file.read(self.path).track
        except ParityError as error:
            raise self.CollectError(error.line()) from None
        shown = os.path.relpath(self.path, self.config.invocation_params.dir)
        raise self.CollectError(f"{shown} is a parity suite; to run it: pytest --parity={track} {shown}")
