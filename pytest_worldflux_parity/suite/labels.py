"""What a suite calls its two systems in texts for people; no verdict and no request depends on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..errors import SuiteError
from ..schemas.formats import SIDE_WORDS


def parse_labels(
    data: Mapping[str, Any], ids: Iterable[str], locate: Callable[[tuple[str | int, ...]], str]
) -> dict[str, str]:
    """System -> label, of a suite that its schema accepts.

    Args:
        ids: the names in the suite, in which no label may be written.

    Raises:
        SuiteError: both labels are one, or an id has a word that labels replace.
    """
    own = data.get("labels", {})
    labels = {system: own[system] for system in ("official", "worldflux") if system in own}
    if len({label.casefold() for label in labels.values()}) < len(labels):
        what = f"both labels are {labels['official']!r}, so no text would say which side is meant"
        raise SuiteError(what, where=locate(("labels",)), hint="write two labels that differ")
    for name in ids if labels else ():
        if SIDE_WORDS & set(name.lower().split()):
            what = f"{name!r} has a word for a side, which labels replace in texts"
            raise SuiteError(what, where=locate(("labels",)), hint="leave labels out, or change that name")
    return labels
