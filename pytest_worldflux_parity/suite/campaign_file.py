"""A file with a campaign (``worldflux.parity.campaign.v1``) -> :class:`~.campaign.Campaign`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from . import suite_file
from .campaign import Campaign, parse_campaign


def load(path: Path) -> Campaign:
    """Read, validate and parse the file of a campaign.

    Raises:
        SuiteError: the file cannot be read, is neither YAML nor JSON, or is not a campaign.
    """
    source = suite_file.read_track(path, "campaign", "campaign")
    campaign = parse_campaign(source.document, path.parent, source.locate)
    return replace(campaign, warnings=source.warnings, path=path, sha256=source.sha256)
