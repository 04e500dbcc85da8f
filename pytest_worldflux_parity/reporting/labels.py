"""The two systems by the labels of their suite, in texts for people.

Documents keep the words ``official``, ``worldflux`` and ``upstream``. They are replaced where a text leaves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Labels = Mapping[str, str]

_SYSTEMS = {None: "", "official": "official", "upstream": "official", "worldflux": "worldflux"}
# A word of a side by itself: no quotation, and no part of a name, a path, an option, a key or a list.
_SIDE_WORD = re.compile(
    r"`[^`\n]*`|\{[^{}\n]*\}"
    r"|(?<![\w./\\=:;,'\"{-])([Oo]fficial|[Ww]orldflux|[Uu]pstream)(?![\w/={-]|\\[^|]|[.:,]\w|['\"](?!s\b))"
)


def with_labels(text: str, labels: Labels) -> str:
    """A text with each side called by its label; without labels it stays as it is."""
    if not labels:
        return text
    return _SIDE_WORD.sub(lambda found: labels.get(_SYSTEMS[found[1] and found[1].lower()], found[0]), text)


def describe_labels(labels: Labels) -> str:
    """Which label is of which side: the words in backticks are never replaced."""
    return ", ".join(f"the `{system}` side is {label}" for system, label in labels.items())


def label_fields(labels: Labels) -> dict[str, Any]:
    """The key of a document whose suite has labels; no other document has it."""
    return {"labels": dict(labels)} if labels else {}
