"""``reports/README.md`` has every code and ``tests/README.md`` every attack, as package and tests have them.

``UPDATE_RESULT_TABLES=1 pytest tests/release/test_result_tables.py`` writes the table of codes anew. An
attack is a row that is written there by hand.
"""

from __future__ import annotations

import ast
import json
import os
import re

import pytest

from pytest_worldflux_parity.evidence import checking
from pytest_worldflux_parity.judgement.gates.codes import CODES
from pytest_worldflux_parity.release.verification import VOUCHED_BY_NOBODY
from tests.release import result_tables as t

UPDATE = "UPDATE_RESULT_TABLES"
ADVICE = f"If this is meant: {UPDATE}=1 pytest tests/release/test_result_tables.py, and read the diff."


# --- codes ---


def test_every_code_that_is_raised_has_an_entry() -> None:
    assert {code: sorted(where) for code, where in t.raised().items() if code not in CODES} == {}


def test_every_entry_is_of_a_code_that_is_raised() -> None:
    assert CODES.keys() - t.raised().keys() == set()


def test_every_code_occurs_in_a_test() -> None:
    assert CODES.keys() - t.occurring() == set()


def test_every_code_has_a_finder_and_sentences() -> None:
    for code, own in CODES.items():
        assert t.finders(code), code
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", code)
        for text in (own.says, own.to_do):
            assert re.fullmatch(r"[A-Z`].*\.", text), (code, text)
            assert "\n" not in text


def test_a_finder_is_of_a_module_that_raises() -> None:
    raising = {(module, code) for code, where in t.raised().items() for module in where}
    assert t.FINDERS.keys() == {module for module, _ in raising}
    assert t.OWN.keys() - raising == set()


def test_a_computed_code_is_of_an_expression_that_is_there() -> None:
    """Entries that no source needs any more would hide what has taken their place."""
    there = {
        (path.relative_to(t.PACKAGE).as_posix(), ast.unparse(node))
        for path in t.PACKAGE.rglob("*.py")
        for node in t.wanted(
            ast.parse(path.read_text(encoding="utf-8")), path.relative_to(t.PACKAGE).as_posix()
        )
    }
    assert t.COMPUTED.keys() - there == set()
    assert set(t.MISSING) == t.reasons()


@pytest.mark.parametrize(
    ("source", "codes"),
    [
        ("Finding('one', 'x')", ["one"]),
        ("gates.Finding(NOT_PASSED, 'x')", ["not_passed"]),
    ],
)
def test_a_code_is_read_off_the_syntax(source: str, codes: list[str]) -> None:
    found = t.wanted(ast.parse(source), "release/judged_anew.py")
    assert [code for node in found for code in t.codes_of(node, "release/judged_anew.py")] == codes


def test_a_code_that_cannot_be_read_off_is_told() -> None:
    (node,) = t.wanted(ast.parse("Finding(some[0], 'x')"), "release/judged_anew.py")
    with pytest.raises(t.UnknownCodeError, match=r"some\[0\]"):
        t.codes_of(node, "release/judged_anew.py")


def test_a_pair_that_becomes_a_finding_is_read_off_too() -> None:
    source = "def f():\n  yield 'one', 'x'\n  return None if same else (DIFFERENT, 'y')\n"
    found = t.wanted(ast.parse(source), "judgement/stored_lines.py")
    codes = [code for node in found for code in t.codes_of(node, "judgement/stored_lines.py")]
    assert codes == ["one", "record_differs_from_artifact"]


def test_what_a_policy_can_admit_stands_on_the_page() -> None:
    schema = json.loads((t.PACKAGE / "schemas" / "policy.v2.json").read_text(encoding="utf-8"))
    names, share = schema["$defs"]["admitted"]["anyOf"]
    of_suite = schema["$defs"]["suite"]["properties"]
    words = [*of_suite["stage"]["enum"], *of_suite["evidence"]["enum"]]
    wanted = [*names["enum"], *share["required"], *schema["properties"], *of_suite, *words]
    page = t.PAGES["codes"].read_text(encoding="utf-8")
    assert [name for name in wanted if f"`{name}`" not in page and f'"{name}"' not in page] == []


# --- attacks ---

TRIED = t.attacks()


def test_every_test_of_an_attack_stands_in_the_table() -> None:
    for name, module in t.modules().items():
        rows = [attack for attack in TRIED if attack.module == name]
        named = {test for attack in rows for test in (*attack.tests, *attack.controls)}
        assert named == t.functions(module).keys(), name


@pytest.mark.parametrize("attack", TRIED, ids=[f"{a.module}: {a.does}" for a in TRIED])
def test_an_attack_has_a_code_that_its_module_looks_for_and_a_control(attack: t.Attack) -> None:
    module = t.modules()[attack.module]
    strings = t.strings_of(module)
    assert [code for code in attack.codes if not any(code in text for text in strings)] == []
    assert attack.does
    assert attack.found
    assert attack.controls
    assert not set(attack.controls) & set(attack.tests)
    assert not any(t.is_open(t.functions(module)[test]) for test in attack.controls)
    # What is held and what is not stand in rows of their own.
    assert {t.is_open(t.functions(module)[test]) for test in attack.tests} == {not attack.is_held}


# --- the page ---


def test_the_table_of_codes_is_that_of_the_code() -> None:
    page = t.PAGES["codes"].read_text(encoding="utf-8")
    if os.environ.get(UPDATE):
        t.PAGES["codes"].write_text(t.rewritten(page), encoding="utf-8")
        return
    table, stands = t.table_of_codes(), t.table_in(page, "codes")
    different = set(table.splitlines()) ^ set(stands.splitlines())
    assert table == stands, "\n".join((*sorted(different), ADVICE))


def test_the_page_has_every_exit_status_of_verify() -> None:
    statuses = {checking.PASS, checking.NOT_A_PASS, checking.DOES_NOT_FOLLOW, checking.TAMPERED}
    statuses |= {checking.UNREADABLE, VOUCHED_BY_NOBODY}
    rows = re.findall(r"^\| (\d) \| ", t.PAGES["codes"].read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [str(status) for status in sorted(statuses)]


def test_a_table_that_was_edited_is_written_anew() -> None:
    page = t.PAGES["codes"].read_text(encoding="utf-8")
    assert t.rewritten(page.replace("| `failed` |", "| `succeeded` |")) == t.rewritten(page)
    assert t.rewritten(page) == page
