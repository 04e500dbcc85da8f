"""What the command line names is there: said once, by the controller, whatever collects."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..errors import ParityError, SuiteError
from ..inputs.context import RunContext
from ..inputs.prepare import PreparedFile, prepare
from ..suite import suite_file
from ..suite.suite import is_suite_name


def check_arguments(config: pytest.Config, context: RunContext) -> None:
    """Refuse paths that are absent, and node ids that a suite does not have.

    With workers it is they that collect, and pytest says nothing of what they did not find.

    Raises:
        pytest.UsageError: one of them.
    """
    if config.option.pyargs:
        return
    for argument in config.args:
        name, _, item = argument.partition("::")
        path = config.invocation_params.dir / name
        if not path.exists():
            raise pytest.UsageError(f"file or directory not found: {argument}")
        if item and is_suite_name(path):
            _check_item(path, item, context)


def _check_item(path: Path, item: str, context: RunContext) -> None:
    try:
        names = _names(prepare(path.resolve(), context))
    except ParityError:
        # Collection says what is wrong with the suite.
        return
    # As pytest has it: a task alone means all its seeds.
    if item not in names and not any(name.startswith(f"{item}[") for name in names):
        raise pytest.UsageError(SuiteError("no such item", where=str(path), valid=names, got=item).line())


def _names(prepared: PreparedFile) -> list[str]:
    names: list[str] = []
    for part in prepared.parts:
        if part.match is not None:
            names += [part.component_case(c.name) for c in part.match.golden.components]
        names += [str(pair.key) for pair in part.pairs]
    return names


class SuiteWithoutTrack(pytest.File):
    """A suite that is named without ``--parity``, which alone starts runs."""

    def collect(self) -> Iterator[pytest.Item]:
        try:
            track = suite_file.read(self.path).track
        except ParityError as error:
            raise self.CollectError(error.line()) from None
        shown = os.path.relpath(self.path, self.config.invocation_params.dir)
        raise self.CollectError(f"{shown} is a parity suite; to run it: pytest --parity={track} {shown}")
