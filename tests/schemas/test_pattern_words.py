"""Every regular expression of a schema is said in words where a value does not match it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_worldflux_parity import schemas
from pytest_worldflux_parity.schemas.patterns import PATTERNS

FOLDER = Path(schemas.__file__).parent


def patterns(part: Any) -> Iterator[str]:
    """The regular expressions within a schema."""
    if isinstance(part, dict) and isinstance(part.get("pattern"), str):
        yield part["pattern"]
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from patterns(inner)


def test_the_words_are_those_of_the_patterns_that_there_are() -> None:
    there = {p for path in FOLDER.glob("*.json") for p in patterns(json.loads(path.read_text("utf-8")))}
    assert there == PATTERNS.keys()
    assert not [words for words in PATTERNS.values() if set("^$\\[]*") & set(words)]
