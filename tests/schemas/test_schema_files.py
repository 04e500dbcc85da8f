"""The schemas as files, which editors read: whole, named, with a sentence for each key that people write."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_worldflux_parity import schemas
from pytest_worldflux_parity.cli.main import main
from pytest_worldflux_parity.inputs.backends import FILE
from pytest_worldflux_parity.suite import suite_file

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "pytest_worldflux_parity" / "schemas"
NAMES = schemas.list_names()
LINE = re.compile(r"# yaml-language-server: \$schema=(\S+)\n")
# Whole files of the earlier system are JSON, in which there are no comments.
WRITTEN = [
    path
    for path in sorted((*ROOT.glob("suites/**/*.yaml"), *ROOT.glob("backends/**/backend.yaml")))
    if not path.read_text(encoding="utf-8").startswith("{")
]


def parts(value: Any, at: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of a schema, and where it stands."""
    if isinstance(value, dict):
        yield at, value
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(part, dict | list):
            yield from parts(part, f"{at}/{key}")


def keys(schema: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every key that a file may have, and what an editor says of it: its words, or those of its ``$ref``."""
    for at, part in parts(schema):
        if "properties" not in part:
            continue
        for key, value in part["properties"].items():
            found = schema["$defs"][value["$ref"].rpartition("/")[2]] if "$ref" in value else {}
            yield f"{at}/{key}", value.get("description", found.get("description", ""))


def test_there_are_schemas() -> None:
    assert {f"{name}.json" for name in NAMES} == {path.name for path in FOLDER.glob("*.json")}
    assert len(NAMES) > 30


@pytest.mark.parametrize("name", NAMES)
def test_each_has_its_name_and_is_a_schema(name: str) -> None:
    from jsonschema import Draft202012Validator

    schema = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    assert schema["$id"] == f"{schemas.ID_BASE}{name}.json"
    assert schema["title"]
    Draft202012Validator.check_schema(schema)


def test_words_that_have_a_table_are_those_of_the_table() -> None:
    """What is added to a table is added to the schemas that this names."""
    named = {}
    for name in NAMES:
        for at, part in parts(schemas.load(name)):
            if str(part.get("$comment", "")).startswith("names: "):
                table = part["$comment"].removeprefix("names: ")
                assert part["enum"] == [*schemas.ENUMS[table]], f"{name}.json {at}: {table}"
                named[table] = name
    assert named.keys() == schemas.ENUMS.keys()


@pytest.mark.parametrize("name", ["suite.v1", "backend.v1"])
def test_each_key_that_people_write_has_a_sentence(name: str) -> None:
    for at, text in keys(schemas.load(name)):
        assert re.fullmatch(r"[A-Z][^\n]{10,200}\.", text), f"{name}.json {at}: {text!r}"


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_each_suite_and_backend_names_its_schema(path: Path) -> None:
    found = LINE.match(path.read_text(encoding="utf-8"))
    assert found, f"the first line is no `# yaml-language-server: $schema=` line: {path}"
    named = (path.parent / found[1]).resolve()
    wanted = "backend.v1" if path.name == FILE else suite_file.read(path).schema
    assert named == FOLDER / f"{wanted}.json"


def test_the_command_lists_them_and_prints_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    for word in ("suite.v1", "suite.v1.json"):
        assert main(["schema", word]) == 0
        assert json.loads(capsys.readouterr().out) == schemas.load("suite.v1")
    assert main(["schema", "suite.v2"]) == 1
    err = capsys.readouterr().err
    assert "there is no schema 'suite.v2'; did you mean 'suite.v1'?" in err
    assert err.count("\n") == 1
