"""Names that evidence cannot hold: what is accepted before the first run can be written after the last."""

from __future__ import annotations

import io
import zipfile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.errors import EvidenceError
from pytest_worldflux_parity.evidence import container, expected_names, refuse_names
from pytest_worldflux_parity.evidence.statement import UNSIGNED

untimed = settings(deadline=None)
LETTERS = "aAbB0_.-"
ids = st.text(LETTERS, min_size=1, max_size=4) | st.integers(190, 260).map("a".__mul__)
odd = st.text(min_size=1, max_size=6)


def held(names: list[str]) -> bool:
    """Whether a bundle of empty members of these names can be written and opened."""
    # zipfile cuts names at a NUL, after which two could be one.
    if any(zipfile.ZipInfo(name).filename != name for name in names):
        return False
    handle = io.BytesIO()
    with zipfile.ZipFile(handle, "w") as archive:
        for name in dict.fromkeys(names):
            container.write_member(archive, name, b"x")
    try:
        container.open_archive(handle)
    except EvidenceError:
        return False
    return len(set(names)) == len(names)


@untimed
@example("a", ["b"], ["\x00"])
@given(ids, st.lists(ids | odd, min_size=1, max_size=4, unique=True), st.lists(ids | odd, max_size=2))
def test_what_is_accepted_at_first_can_be_written_at_last(
    suite: str, tasks: list[str], folders: list[str]
) -> None:
    names = list(expected_names(suite, tasks, folders))
    if held([*names, UNSIGNED]):
        refuse_names(names, "suite.yaml")
        return
    with pytest.raises(EvidenceError) as caught:
        refuse_names(names, "suite.yaml")
    assert caught.value.where == "suite.yaml"
    assert caught.value.hint
    assert "\n" not in caught.value.line()


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        (["alpha", "Alpha"], "differ in case only"),
        (["a" * 240], "characters, not 1 to 240"),
        (["a/é", "a/É", "A/é"], "differ in case only"),
    ],
)
def test_the_line_says_what_is_wrong(tasks: list[str], said: str) -> None:
    with pytest.raises(EvidenceError, match=said):
        refuse_names(expected_names("s", tasks, ()), "suite.yaml")
    refuse_names(expected_names("s", tasks[:1] if len(tasks) > 1 else ["a" * 200], ()), "suite.yaml")
