"""What the fork server of ``tests/forked.py`` imports before the first fork: a session without tests."""

from __future__ import annotations

import gc
import os
import sys
import tempfile

import pytest

from tests.forked import WITHOUT, Imports

_OWN = os.environ.get("PYTHONPATH", "").split(os.pathsep)
# The import path of a new interpreter, without the folder that it was started in and what PYTHONPATH names.
PATH = [entry for entry in sys.path if entry and entry not in _OWN]

with tempfile.TemporaryDirectory() as _folder, open(os.devnull, "w", encoding="utf-8") as sys.stdout:
    _status = pytest.main(
        [*WITHOUT, "--rootdir", _folder, "-c", os.devnull, "--co", _folder], plugins=[Imports()]
    )
sys.stdout = sys.__stdout__
assert _status == pytest.ExitCode.NO_TESTS_COLLECTED, "what sessions import cannot be imported"
# The forks share all this; none need look through it for what is no longer used.
gc.freeze()
