"""Two tables of the pages: of codes (``reports/README.md``) and of attacks (``tests/README.md``).

That of codes is made from the package's syntax trees: ``UPDATE_RESULT_TABLES=1 pytest
tests/release/test_result_tables.py`` writes it anew. That of attacks is written there by hand, and read here.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from pytest_worldflux_parity.evidence import checking
from pytest_worldflux_parity.judgement.gates.codes import CODES
from pytest_worldflux_parity.judgement.gates.recipes import STATED
from pytest_worldflux_parity.judgement.gates.validity import NEVER, WORDS
from pytest_worldflux_parity.judgement.proof import validity as of_proof
from pytest_worldflux_parity.judgement.stats import measurements, points
from pytest_worldflux_parity.release.verification import VOUCHED_BY_NOBODY

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGE = CHECKOUT / "pytest_worldflux_parity"
# Name of a table -> the page that holds it.
PAGES = {"codes": CHECKOUT / "reports" / "README.md", "attacks": CHECKOUT / "tests" / "README.md"}
ATTACKS = CHECKOUT / "tests" / "attacks"

# --- which codes are raised, and where ---

ADAPTER = ("adapter_id_mismatch", "backend_kind_mismatch")
MISSING = (
    "failed", "not_in_table", "no_point_at_budget", "metric_absent", "null_score", "points_missing",
)  # fmt: skip
# What makes a finding of a code.
FINDINGS = ("Finding", "line_finding")
NOT_A_CODE: tuple[str, ...] = ()
# (module, what stands where the code is wanted) -> the codes that it can be.
COMPUTED: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("judgement/gates/validity.py", "f'{key}_mismatch'"): ADAPTER,
    ("judgement/gates/validity.py", "WORDS[key]"): tuple(WORDS.values()),
    ("judgement/gates/validity.py", "'fixture_forbidden' if made_up else code"): (
        "fixture_forbidden", *NEVER.values(),
    ),
    # Of a yield above, and of STATED.
    ("judgement/gates/validity.py", "code"): tuple(code for code, _ in STATED.values()),
    ("judgement/gates/recipes.py", "code"): tuple(code for code, _ in STATED.values()),
    ("judgement/gates/coverage.py", "missing.reason"): MISSING,
    # Of a yield there, and of the two tables.
    ("judgement/proof/validity.py", "code"): (*of_proof.ALIKE.values(), *of_proof.STATED.values()),
    ("judgement/proof/validity.py", "f'missing_{key}'"): ("missing_mode", "missing_policy_mode"),
    # What it returns stands beside it.
    ("judgement/stored_lines.py", "*doubt"): NOT_A_CODE,
    ("judgement/gates/__init__.py", "code"): NOT_A_CODE,
    # What was written is read again.
    ("judgement/circumstances.py", "**f"): NOT_A_CODE,
}  # fmt: skip
# Modules in which a pair that begins with a code is yielded or returned, to become a finding.
PAIRS = ("judgement/gates/validity.py", "judgement/proof/validity.py", "judgement/stored_lines.py")
# Functions of these whose pairs are something else.
OTHER_PAIRS = ("_numbers_of",)


class UnknownCodeError(AssertionError):
    """Where a code is wanted stands what this file cannot tell the codes of."""


@cache
def raised() -> dict[str, frozenset[str]]:
    """Code -> the modules that raise it, by their paths within the package."""
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        for node in wanted(ast.parse(path.read_text(encoding="utf-8")), name):
            for code in codes_of(node, name):
                found.setdefault(code, set()).add(name)
    return {code: frozenset(modules) for code, modules in found.items()}


def wanted(tree: ast.AST, name: str) -> Iterator[ast.expr | ast.keyword]:
    """What stands where a code is wanted: first in ``Finding(...)``, and first in pairs that become one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in FINDINGS:
            yield node.args[0] if node.args else node.keywords[0]
    if name in PAIRS:
        yield from (pair.elts[0] for pair in _pairs(tree))


def _pairs(tree: ast.AST) -> Iterator[ast.Tuple]:
    """Pairs that are yielded or returned, where the second one may be."""
    if isinstance(tree, ast.FunctionDef) and tree.name in OTHER_PAIRS:
        return
    if isinstance(tree, (ast.Yield, ast.Return)):
        values = [tree.value.body, tree.value.orelse] if isinstance(tree.value, ast.IfExp) else [tree.value]
        yield from (v for v in values if isinstance(v, ast.Tuple) and len(v.elts) == 2)
    for child in ast.iter_child_nodes(tree):
        yield from _pairs(child)


def codes_of(node: ast.expr | ast.keyword, name: str) -> tuple[str, ...]:
    """The codes that an expression can be.

    Raises:
        UnknownCodeError: nothing here says which.
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return (node.value,)
    text = ast.unparse(node)
    if (name, text) in COMPUTED:
        return COMPUTED[name, text]
    constant = getattr(_module(name), text, None)
    if not isinstance(constant, str):
        raise UnknownCodeError(f"{name}: {text} is no code that {Path(__file__).name} can tell")
    return (constant,)


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{PACKAGE.name}.{name.removesuffix('.py').replace('/', '.')}")


def reasons() -> set[str]:
    """Why a result can be missing, as the measurements name it, but for what leaves a verdict open."""
    of_runs = {measurements.FAILED, measurements.NOT_IN_TABLE, measurements.NO_METRIC}
    of_curves = {measurements.NO_POINT, measurements.NULL_SCORE, points.POINTS_MISSING}
    return (of_runs | of_curves) - measurements.UNDECIDED_REASONS


# --- what finds a code, and how commands end then ---


@dataclass(frozen=True)
class Finder:
    """What finds codes.

    Attributes:
        name: in markdown.
        session, release, verify: exit status of ``pytest --parity``, of ``validate`` and ``coverage``, and of
            ``verify``; None where it does not look.
    """

    name: str
    session: int | None = None
    release: int | None = None
    verify: int | None = None


def _gate(name: str) -> Finder:
    return Finder(f"gate {name}", 1, 1, checking.NOT_A_PASS)


VALIDITY, PROOF_VALIDITY = _gate("`validity`"), _gate("`validity` of a proof")
POLICY = Finder("policy", None, 1, checking.DOES_NOT_FOLLOW)
EXPECTATION = Finder("expectation", None, 1, checking.DOES_NOT_FOLLOW)
RELEASE = Finder("`validate`, `coverage`", None, 1, None)
FINDERS: Mapping[str, Finder] = {
    "judgement/gates/components.py": _gate("`components`"),
    "judgement/gates/compared.py": _gate("`components`"),
    "judgement/gates/coverage.py": _gate("`coverage`"),
    "judgement/gates/independence.py": _gate("`independence`"),
    "judgement/gates/copies.py": _gate("`independence`"),
    "judgement/gates/programs.py": _gate("`independence`"),
    "judgement/gates/repeats.py": _gate("`independence`"),
    "judgement/gates/environments.py": PROOF_VALIDITY,
    "judgement/proof_verdict.py": _gate("`coverage`"),
    "judgement/gates/validity.py": VALIDITY,
    "judgement/gates/recipes.py": VALIDITY,
    "judgement/all_gates.py": VALIDITY,
    "judgement/assemble.py": VALIDITY,
    "judgement/stored_lines.py": VALIDITY,
    "judgement/run_log.py": VALIDITY,
    "judgement/reuse.py": VALIDITY,
    "judgement/circumstances.py": VALIDITY,
    "judgement/judge_run.py": PROOF_VALIDITY,
    "judgement/proof/validity.py": PROOF_VALIDITY,
    "judgement/required_files.py": PROOF_VALIDITY,
    "session/live_match.py": PROOF_VALIDITY,
    "release/admission.py": POLICY,
    "release/judged_anew.py": EXPECTATION,
    "release/verification.py": EXPECTATION,
    "release/rules.py": Finder("`verify --policy`", None, None, checking.DOES_NOT_FOLLOW),
    "release/backing.py": RELEASE,
    "release/documents_alone.py": RELEASE,
    "release/statements.py": RELEASE,
    "release/release_checks.py": RELEASE,
    "cli/coverage.py": RELEASE,
}
# Where a code is not found by what its module's other codes are found by.
OWN: Mapping[tuple[str, str], Finder] = {
    ("judgement/run_log.py", "log_unchained"): PROOF_VALIDITY,
    ("judgement/gates/coverage.py", "steps_apart"): PROOF_VALIDITY,
    ("judgement/all_gates.py", "recipe_not_compared"): PROOF_VALIDITY,
    # A quick suite warns.
    ("judgement/gates/programs.py", "program_not_shown"): PROOF_VALIDITY,
    # Where a checkout has no suite of the id on any track, `verify` judges under the bundle's own.
    ("release/judged_anew.py", "unknown_suite"): RELEASE,
    ("release/release_checks.py", "not_in_lock"): Finder("`coverage`", None, 1),
    ("release/release_checks.py", "not_in_aggregate"): Finder("`coverage`", None, 1),
    ("release/release_checks.py", "family_differs"): Finder("`coverage`", None, 1),
    ("release/release_checks.py", "nothing_required"): Finder("`coverage --enforce-pass`", None, 1),
    ("release/backing.py", "does_not_follow"): Finder("evidence", None, 1, checking.DOES_NOT_FOLLOW),
    ("release/backing.py", "evidence_tampered"): Finder("evidence", None, 1, checking.TAMPERED),
    ("release/backing.py", "evidence_unreadable"): Finder("evidence", None, 1, checking.UNREADABLE),
    ("release/backing.py", "unsigned"): Finder("evidence", None, 1, VOUCHED_BY_NOBODY),
}


def finders(code: str) -> list[Finder]:
    """What finds a code, each once, a gate of both tracks in the place of that of a proof."""
    modules = sorted(raised()[code], key=list(FINDERS).index)
    found = list(dict.fromkeys(OWN.get((m, code), FINDERS[m]) for m in modules))
    return [f for f in found if f is not PROOF_VALIDITY or VALIDITY not in found]


# --- what occurs in tests ---


def occurring() -> set[str]:
    """The codes that occur in a string of a test other than this one, docstrings aside."""
    own = {Path(__file__).name, f"test_{Path(__file__).name}"}
    texts = [
        text
        for path in sorted((CHECKOUT / "tests").rglob("*.py"))
        if path.name not in own
        for text in _strings(ast.parse(path.read_text(encoding="utf-8")))
    ]
    words = set(re.findall(r"[a-z][a-z0-9_]*", "\n".join(texts)))
    return words & CODES.keys()


def _strings(tree: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.value
        yield from _strings(child)


# --- attacks ---


@dataclass(frozen=True)
class Attack:
    """A way to a pass that should not be one: a row of the table.

    Attributes:
        does: what is done.
        module: name of the file whose tests try it.
        tests: names of the tests that try it. controls: of the honest ones beside them.
        found: what finds it. codes: of the findings among that.
        ends: how the commands end.
    """

    does: str
    module: str
    tests: tuple[str, ...]
    controls: tuple[str, ...]
    found: str
    codes: tuple[str, ...]
    ends: str

    @property
    def is_held(self) -> bool:
        """Whether the page says that the attack finds no pass today."""
        return not self.found.startswith("**not held yet**")


def attacks() -> list[Attack]:
    """The rows of the table of attacks."""
    rows = []
    page = PAGES["attacks"].read_text(encoding="utf-8")
    for line in table_in(page, "attacks").splitlines()[2:]:
        does, found, ends, tests, controls = (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
        [module] = re.findall(r"\(attacks/(\w+)\.py\)", tests)
        codes = tuple(word for word in _words(found) if word in CODES)
        tried, honest = (tuple(f"test_{name}" for name in _words(cell)) for cell in (tests, controls))
        rows.append(Attack(does, module, tried, honest, found, codes, ends))
    return rows


def _words(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def modules() -> dict[str, ModuleType]:
    """Name -> each module of attacks."""
    # What edits bundles imports its neighbours by their names.
    beside = str(CHECKOUT / "tests" / "evidence")
    if beside not in sys.path:
        sys.path.insert(0, beside)
    names = sorted(path.stem for path in ATTACKS.glob("test_attack_*.py"))
    return {name: importlib.import_module(f"tests.attacks.{name}") for name in names}


def functions(module: ModuleType) -> dict[str, Any]:
    """The tests of a module, by their names."""
    return {name: value for name, value in vars(module).items() if name.startswith("test_")}


def strings_of(module: ModuleType) -> list[str]:
    """What a module of attacks looks for, docstrings aside."""
    return list(_strings(ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))))


def is_open(function: Any) -> bool:
    """Whether a test is expected to fail: what it tries is accepted today."""
    return any(mark.name == "xfail" for mark in getattr(function, "pytestmark", ()))


# --- the page ---


def table_of_codes() -> str:
    """The table of codes, in markdown."""
    return _table(CODE_HEAD, _code_rows())


CODE_HEAD = ("code", "what it says", "found by", "session", "`validate`", "`verify`", "what to do")


def _code_rows() -> Iterator[tuple[str, ...]]:
    for code, own in CODES.items():
        found = finders(code)
        ends = [_ends([getattr(f, key) for f in found]) for key in ("session", "release", "verify")]
        yield f"`{code}`", own.says, "; ".join(dict.fromkeys(f.name for f in found)), *ends, own.to_do


def _ends(statuses: Iterable[int | None]) -> str:
    return " or ".join(str(s) for s in dict.fromkeys(statuses) if s is not None) or "–"  # noqa: RUF001


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (head, tuple("---" for _ in head), *rows)
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def table_in(page: str, name: str) -> str:
    """A table of the page as it stands there."""
    return _around(page, name)[1]


def rewritten(page: str) -> str:
    """The page with its table of codes made anew."""
    before, _, after = _around(page, "codes")
    return before + table_of_codes() + after


def _around(page: str, name: str) -> tuple[str, str, str]:
    """What stands before a table of the page, the table, and what stands after it."""
    parts = re.split(rf"(?s)(?<=<!-- table of {name})(:[^\n]*\n)(.*)(?=\n<!-- end of {name} -->)", page)
    assert len(parts) == 4, f"the page has no place for the table of {name}"
    before, mark, table, after = parts
    return before + mark, table, after
