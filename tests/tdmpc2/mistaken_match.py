"""The match program with one mistake planted: ``python mistaken_match.py MISTAKE match_request.json``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import mistakes

from backends.worldflux_tdmpc2.match import __main__ as match

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in mistakes.MISTAKES:
        sys.exit(f"mistaken_match: the first argument is one of: {', '.join(mistakes.MISTAKES)}")
    mistakes.plant(sys.argv[1])
    sys.exit(match.main(sys.argv[2:]))
