"""The pages: links lead somewhere, commands and options that they name exist, and the README stays short."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md", "suites/README.md", "suites/examples/README.md", "backends/README.md", "reports/README.md",
    "tests/README.md",
    "pytest_worldflux_parity/README.md", "pytest_worldflux_parity/execution/README.md",
)  # fmt: skip
LINK = re.compile(r"\]\(([^)\s]+)\)")


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """What a heading is linked by: small letters, hyphens for spaces, nothing else."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page: str) -> None:
    links = [link for link in LINK.findall(text_of(page)) if "://" not in link]
    assert links
    for link in links:
        path, _, heading = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page}: {link}"
        assert not heading or heading in anchors(target), f"{page}: {link}"


def test_every_page_is_reached_from_the_readme() -> None:
    linked = {link.partition("#")[0] for link in LINK.findall(text_of("README.md"))}
    assert linked >= set(PAGES) - {"README.md"}


def test_the_readme_is_short() -> None:
    assert len(text_of("README.md").splitlines()) <= 150


@pytest.fixture(scope="module")
def told() -> str:
    """The help of ``pytest``, of ``worldflux-parity`` and of each of its commands."""

    def help_of(*command: str) -> str:
        done = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout

    cli = str(Path(sysconfig.get_path("scripts")) / "worldflux-parity")
    whole = help_of(cli)
    commands = re.findall(r"^    ([a-z][a-z-]+) {2,}", whole, re.MULTILINE)
    assert len(commands) > 10
    return "\n".join(
        (whole, help_of(sys.executable, "-m", "pytest"), *(help_of(cli, command) for command in commands))
    )


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_that_a_page_names_exist(page: str, told: str) -> None:
    text = text_of(page)
    commands = set(re.findall(r"worldflux-parity ([a-z]+(?:-[a-z]+)*)", text))
    assert {c for c in commands if not re.search(rf"^    {c}\b", told, re.MULTILINE)} == set()
    options = set(re.findall(r"(?<![\w-])--parity-[a-z]+(?:-[a-z]+)*", text))
    assert {option for option in options if option not in told} == set()


def keys(schema: Any) -> Iterator[str]:
    """Every key that a document of the schema may have, at any depth."""
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for value in schema.values():
            yield from keys(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from keys(value)


@pytest.mark.parametrize(
    ("page", "schemas"),
    [
        ("suites/README.md", ("suite.v1", "suite.proof_v1", "campaign.v1")),
        ("backends/README.md", ("backend.v1", "request.v1", "record.v1")),
    ],
)
def test_a_page_has_every_key_of_its_schemas(page: str, schemas: tuple[str, ...]) -> None:
    text = text_of(page)
    for name in schemas:
        path = ROOT / "pytest_worldflux_parity" / "schemas" / f"{name}.json"
        named = set(keys(json.loads(path.read_text(encoding="utf-8"))))
        assert {key for key in named if not re.search(rf"\b{key}\b", text)} == set(), name
