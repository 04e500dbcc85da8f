"""Of a program's log the line that says why it ended, whoever speaks after it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_worldflux_parity.execution.last_words import MOST, last_words

TRACEBACK = """Traceback (most recent call last):
  File "train.py", line 3, in <module>
    main()
    ^^^^^^
  File "train.py", line 2, in main
    raise ValueError("the replay buffer is empty")
ValueError: the replay buffer is empty
"""
EMPTY = "ValueError: the replay buffer is empty"
RANKS = "".join(f"[rank0]: {line}\n" for line in TRACEBACK.splitlines())
FATAL = """Fatal Python error: Segmentation fault

Current thread 0x1 (most recent call first):
  File "a.py", line 1 in <module>
"""
GROUP = """  + Exception Group Traceback (most recent call last):
  |   File "a.py", line 1, in <module>
  |     raise ExceptionGroup("two", [ValueError("one")])
  | ExceptionGroup: two (1 sub-exception)
"""
# Of sub-exceptions with frames of their own, one of which is a group.
GROUPS = subprocess.run(
    [
        sys.executable,
        "-c",
        "def failed(e):\n"
        "    try: raise e\n"
        "    except Exception as caught: return caught\n"
        "inner = failed(ExceptionGroup('inner', [OSError('x'), failed(ValueError('y'))]))\n"
        "raise ExceptionGroup('text', [failed(KeyError(1)), inner])\n",
    ],
    capture_output=True,
    text=True,
    check=False,
).stderr


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (TRACEBACK, EMPTY),
        (f"{TRACEBACK}INFO root: closing 4 environments\n", EMPTY),
        (
            f"step 5\n{TRACEBACK}\nwandb: synced 5 files\n  wandb: bye\n",
            "ValueError: the replay buffer is empty",
        ),
        (
            f"{RANKS}[rank0]: W1130 process group was not destroyed\n",
            "ValueError: the replay buffer is empty",
        ),
        (
            f"{TRACEBACK}\nDuring handling of the above exception, another exception occurred:\n\n"
            f"{TRACEBACK.replace('ValueError: the', 'KeyError: no')}bye\n",
            "KeyError: no replay buffer is empty",
        ),
        (f"{GROUP}bye\n", "ExceptionGroup: two (1 sub-exception)"),
        (f"{GROUPS}bye\n", "ExceptionGroup: text (2 sub-exceptions)"),
        (f"{TRACEBACK}{GROUPS}", "ExceptionGroup: text (2 sub-exceptions)"),
        (
            "".join(f"[rank0]: {line}\n" for line in GROUPS.splitlines()),
            "ExceptionGroup: text (2 sub-exceptions)",
        ),
        (f"{GROUPS}{TRACEBACK}", EMPTY),
        ("".join(f"app-1  | {line}\n" for line in TRACEBACK.splitlines()), EMPTY),
        (
            FATAL,
            "Fatal Python error: Segmentation fault",
        ),
        ("error: no such task\n\n", "error: no such task"),
        (
            'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\n',
            'File "a.py", line 1, in <module>',
        ),
        ("", ""),
    ],
)
def test_the_exception_is_told_and_not_what_a_logger_says_after_it(log: str, said: str) -> None:
    assert last_words(log) == said


def test_what_was_handled_before_a_signal_is_not_why_it_ended() -> None:
    assert last_words(f"{TRACEBACK}step 900: going on\n", killed=True) == "step 900: going on"


def test_an_interpreter_s_own_words() -> None:
    """Handlers at exit, threads and an exception within a handler, as Python prints them."""
    code = """
import atexit, logging, sys, threading
logging.basicConfig(format="%(levelname)s %(message)s")
atexit.register(logging.error, "5 files are not synced")
try:
    {}["reward"]
except KeyError:
    raise RuntimeError("the loss is not finite\\nat step 7") from None
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "ERROR 5 files are not synced"
    assert last_words(done.stderr) == "RuntimeError: the loss is not finite"


@given(st.text(max_size=400), st.booleans())
def test_any_log_gives_one_short_line(log: str, killed: bool) -> None:
    said = last_words(log, killed=killed)
    assert len(said.splitlines()) <= 1
    assert len(said) <= MOST
    assert bool(said) == bool(log.strip())
