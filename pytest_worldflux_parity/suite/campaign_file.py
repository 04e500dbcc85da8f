"""A file with a campaign (``worldflux.parity.campaign.v1``) -> :class:`~.campaign.Campaign`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import schemas
from ..errors import SuiteError
from . import suite_file
from .campaign import SYSTEM_OF, Campaign, parse_campaign
from .manifest_file import words
from .suite import Locate


def load(path: Path) -> Campaign:
    """Read, validate and parse the file of a campaign.

    Raises:
        SuiteError: the file cannot be read, is neither YAML nor JSON, or is not a campaign.
    """
    source = suite_file.read_track(path, "campaign", "campaign")
    warnings = tuple(_with_lists(source.document, source.locate))
    schemas.check(source.document, source.schema, source.locate, SuiteError)
    campaign = parse_campaign(source.document, path.parent, source.locate)
    return replace(campaign, warnings=warnings, path=path, sha256=source.sha256)


def _with_lists(document: dict[str, Any], locate: Locate) -> list[str]:
    """Turn commands that are one string into lists; warn of each."""
    warnings = []
    sources = document.get("sources")
    rows = sources if isinstance(sources, dict) else {}
    for name in SYSTEM_OF:
        row = rows.get(name)
        command = row.get("command_template") if isinstance(row, dict) else None
        if isinstance(row, dict) and isinstance(command, str):
            where = locate(("sources", name, "command_template"))
            row["command_template"] = words(command, where)
            warnings.append(f"{where}: the command of {name} is one string; write it as a list")
    return warnings
