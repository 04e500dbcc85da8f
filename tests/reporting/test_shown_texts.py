"""What programs and names of a suite say reaches no terminal, page or CI server as more than text."""

from __future__ import annotations

import html
import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_worldflux_parity.errors import ParityError, printable, printable_lines
from pytest_worldflux_parity.reporting.escaping import escape
from tests.conftest import Project

# What CI servers act on, wherever their command stands in a line.
COMMAND = re.compile(r"(?m)^\s*::|##\w*\[")
WORDS = (
    "::error::x", "##vso[task.x]", "##[error]", "##teamcity[x]", "\x1b[2J", "\x1b]0;t\x07", "\r", "\n",
    "\u2028", "\u202e", "\x9b31m", " ", "\t", "<script>", "](javascript:x)", "|", "\\", "`", "```", "#", ":",
    "word",
)  # fmt: skip
NASTY = st.lists(st.sampled_from(WORDS) | st.text(max_size=5), max_size=12).map("".join)


@given(NASTY)
def test_a_line_is_one_line_and_no_command(text: str) -> None:
    for shown in (printable(text), ParityError(text, where=text, hint=text).line()):
        assert shown.isprintable()
        assert not COMMAND.search(shown)
    assert printable(printable(text)) == printable(text)


@given(NASTY)
def test_lines_stay_lines(text: str) -> None:
    shown = printable_lines(text)
    assert all(line.isprintable() for line in shown.split("\n"))
    assert not COMMAND.search(shown)


@given(NASTY)
def test_no_tag_link_or_cell_can_be_made_in_a_page(text: str) -> None:
    shown = escape(text)
    assert shown.isprintable()
    assert not re.search(r"<|`|\]\(|(?<!\\)\|", shown)
    assert not re.search(r"\\(?![|(])|\\\\", shown), "a backslash before a bar would let it end a cell"
    assert not COMMAND.search(shown)


@pytest.mark.parametrize(
    "text",
    [
        "final_return_mean",
        "a::b",
        "x ## y",
        "std::vector<int>"[:11],
        "10 % [-0.1%, +1.3%]",
        "caf\u00e9 \u4e16",
    ],
)
def test_what_is_harmless_stays(text: str) -> None:
    assert printable(text) == escape(text) == text


SAYS = (
    r'"\n\x1b]0;owned\x07\x1b[2J\x1b[1;1H\rparity fake_quick: PASS\n```\n</pre><img src=x onerror=alert(1)>\n'
    r"[click](javascript:alert(1)) | pipe | \x00\x08 ]]>\n  ::error::injected\nx ##vso[task.complete]\n"
    r'last <script>alert(3)</script> \x1b[2K\x07::stop-commands::x"'
)


def test_what_a_program_says_is_shown_as_text(project: Project) -> None:
    program = project.root / "backends" / "program.py"
    text = program.read_text(encoding="utf-8")
    crash = f"def crash(request):\n    sys.stderr.write({SAYS}); sys.exit(3)\n"
    program.write_text(text.replace("def crash(request):\n", crash), encoding="utf-8")
    project.suite(
        recipe={"behaviour": "crash", "only": ["worldflux/alpha/0"]},
        metrics=[
            {"name": "episode_return", "rule": "calibrated", "margin": 0.05},
            {"name": "loss<script>|x`\n# H\x1b[31m", "rule": "equivalence", "margin": 0.05},
        ],
    )
    result = project.run("--junitxml=junit.xml")
    for shown in (result.stdout.str(), result.stderr.str()):
        assert not [c for c in shown if not c.isprintable() and c not in "\n"]
        assert not COMMAND.search(shown)
    assert ": :error::injected" in result.stdout.str(), "it is still there to be read"
    page = project.report()
    assert not [c for c in page if not c.isprintable() and c != "\n"]
    assert not re.search(r"<(script|img)", page)
    # Within <pre> nothing is a link.
    assert "](javascript" not in re.sub(r"(?s)<pre>.*</pre>", "", page)
    assert page.count("<pre>") == page.count("</pre>") == 1
    assert "<script>alert(3)</script>" in html.unescape(page)
    assert "\n# H" not in page
    junit = ElementTree.parse(project.root / "junit.xml")
    texts = [*junit.getroot().itertext(), *(v for e in junit.iter() for v in e.attrib.values())]
    assert not [t for t in texts if COMMAND.search(t) or "\x1b" in t or "#x1B" in t]
