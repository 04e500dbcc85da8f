"""Which components show which planted mistake: ``python tests/dreamerv3/match_study.py [MISTAKE ...]``.

Prints a table in markdown; the exit status is 1 where a mistake is not seen.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


from tests.dreamerv3 import matches, mistakes


def main(names: list[str]) -> int:
    """Print the table; the exit status."""
    uncaught = 0
    print("| mistake | components that differ, in data-flow order |\n|---|---|")
    for name in names or mistakes.MISTAKES:
        with tempfile.TemporaryDirectory() as folder:
            seen = matches.diverging(name, Path(folder))
        uncaught += not seen
        what = (mistakes.MISTAKES[name].__doc__ or name).splitlines()[0].rstrip(".")
        print(f"| {what} (`{name}`) | {', '.join(seen) or 'none'} |", flush=True)
    return int(uncaught > 0)


if __name__ == "__main__":
    unknown = [name for name in sys.argv[1:] if name not in mistakes.MISTAKES]
    if unknown:
        sys.exit(f"match_study: {unknown[0]} is not one of: {', '.join(mistakes.MISTAKES)}")
    sys.exit(main(sys.argv[1:]))
