"""Every document of a set of examples is what it was: what differs has its reason.

``UPDATE_GOLDEN_DOCUMENTS=1 pytest tests/golden_documents`` writes them anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from golden_normal import difference, same
from golden_proof import PROOF
from golden_quick import QUICK
from golden_release import RELEASE
from golden_stage import Stage

EXPECTED = Path(__file__).parent / "expected"
UPDATE = "UPDATE_GOLDEN_DOCUMENTS"
EXAMPLES: dict[str, Callable[[Stage], None]] = {e.__name__: e for e in (*QUICK, *PROOF, *RELEASE)}
ADVICE = (
    f"If this is meant: {UPDATE}=1 pytest tests/golden_documents -k EXAMPLE, read the diff that git shows, "
    "and give the reason in the commit message."
)


def stored(example: str) -> dict[str, str]:
    """Name -> each golden document of an example."""
    folder = EXPECTED / example
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes().decode("utf-8") for p in files}


def compared(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """What differs, as lines to read; empty where nothing does."""
    told = [f"{name}: a golden, and no such document is written" for name in expected if name not in found]
    for name, text in found.items():
        if name not in expected:
            told += [f"{name}: a document, and there is no golden of it", *text.splitlines()[:40]]
        elif not same(expected[name], text):
            told += difference(name, expected[name], text)
    return told


def update(example: str, found: dict[str, str]) -> None:
    """Write the goldens of an example; one that is the same but for last digits stays as it is."""
    before = stored(example)
    shutil.rmtree(EXPECTED / example, ignore_errors=True)
    for name, text in found.items():
        path = EXPECTED / example / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = before[name] if name in before and same(before[name], text) else text
        path.write_bytes(kept.encode("utf-8"))


@pytest.mark.parametrize("example", EXAMPLES)
def test_documents_are_what_they_were(example: str, tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    EXAMPLES[example](stage)
    found = stage.documents()
    if os.environ.get(UPDATE):
        update(example, found)
    told = compared(stored(example), found)
    if told:
        pytest.fail("\n".join((f"documents of {example} differ from their goldens", *told, ADVICE)), False)
