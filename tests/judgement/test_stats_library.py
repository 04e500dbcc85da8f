"""The statistics as a library: light, without pytest, and documented by examples that hold."""

from __future__ import annotations

import doctest
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_worldflux_parity.judgement import stats

PAGE = Path(__file__).resolve().parents[2] / "reports" / "README.md"
# Whoever imports pytest, or anything that no sum needs, ends here.
WITHOUT = """
import sys
for name in ("pytest", "_pytest", "jsonschema", "jinja2", "yaml", "cryptography", "xdist"):
    sys.modules[name] = None
import pytest_worldflux_parity.judgement.stats as stats
assert stats.tost([1.0, 2.0, 3.0], [1.0, 2.0, 4.0], effect="difference", margin=5.0).pass_raw
"""


def test_examples_give_what_they_say() -> None:
    assert doctest.testmod(stats) == (0, (stats.__doc__ or "").count(">>> "))


def test_it_needs_neither_pytest_nor_what_suites_need() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT], check=True, timeout=60)


@pytest.mark.parametrize("name", stats.__all__)
def test_each_public_name_says_what_it_is(name: str) -> None:
    text = inspect.getdoc(getattr(stats, name))
    assert text
    assert not text.startswith(f"{name}("), "no more than its signature"


def test_the_page_of_who_reads_results_has_an_example_that_holds() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## The statistics alone")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    runner = doctest.DocTestRunner()
    runner.run(doctest.DocTestParser().get_doctest(code, {}, "reports/README.md", str(PAGE), 0))
    assert runner.summarize() == (0, code.count(">>> "))
