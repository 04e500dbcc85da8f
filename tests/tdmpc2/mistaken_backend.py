"""The worldflux TD-MPC2 with one mistake planted: ``python mistaken_backend.py MISTAKE request.json``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import mistakes

from backends.worldflux_tdmpc2.__main__ import PROGRAM

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in mistakes.MISTAKES:
        sys.exit(f"mistaken_backend: the first argument is one of: {', '.join(mistakes.MISTAKES)}")
    mistakes.plant(sys.argv[1])
    sys.exit(PROGRAM.main(sys.argv[2:]))
