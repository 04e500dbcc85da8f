"""A quick run's folder -> its judgement, from the run itself or from an evidence bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..execution.attempt_files import AttemptFiles, AttemptFolders
from ..execution.store import Stored
from ..inputs.context import RunContext
from ..inputs.prepare import PreparedSuite
from .assemble import assemble, selected_items
from .circumstances import Circumstances
from .quick import Judgement, judge
from .run_log import run_log, sealed_log
from .stored_lines import unlisted_attempts


def judge_quick(
    prepared: PreparedSuite,
    context: RunContext,
    stored: Stored,
    circumstances: Circumstances,
    entry: Mapping[str, Any],
    files: AttemptFiles | None = None,
) -> Judgement:
    """The verdict on what stands in a run directory.

    Args:
        entry: what the session sealed of the suite.
        files: those of the run's attempts; None: they stand in its folder as the store made them.

    Raises:
        SourceError: the lock file is there and is not a lock.
    """
    files = files or AttemptFolders(context.run_dir)
    selected = selected_items(prepared, circumstances.selected)
    log = run_log(stored, sealed_log(entry), circumstances.log)
    found = assemble(prepared, context, stored, selected, circumstances.changed, files, entry, log)
    unlisted = unlisted_attempts(files, prepared.suite.suite_id, stored)
    doubts = (*log.findings(claim=False), *found.doubts, *circumstances.findings, *unlisted)
    return judge(replace(found, doubts=doubts, noted=circumstances.noted))
