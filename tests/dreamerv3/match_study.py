"""Which components show which planted mistake: ``python tests/dreamerv3/match_study.py [MISTAKE ...]``.

Prints a table in markdown; the exit status is 1 where a mistake is not seen. Without ``--whole`` the
components of one update (losses from the batch on, gradients, the step as a whole), which follow all
others and take longest to compile, are left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.dreamerv3 import mistakes

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Print the table; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="MISTAKE")
    parser.add_argument("--whole", action="store_true", help="also the components of one update")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.names or list(mistakes.MISTAKES)
    if unknown := [name for name in names if name not in mistakes.MISTAKES]:
        parser.error(f"{unknown[0]} is not one of: {', '.join(mistakes.MISTAKES)}")
    if options.child:
        print(json.dumps(seen_by(names[0], options.whole)))
        return 0
    return print_table(names, options.whole)


def print_table(names: list[str], whole: bool) -> int:
    """A row per mistake, each from a process of its own; 1 where one is seen by nothing."""
    uncaught = 0
    print("| mistake | components that differ, in data-flow order |\n|---|---|", flush=True)
    for name in names:
        command = [sys.executable, __file__, "--child", *(["--whole"] if whole else []), name]
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        seen = json.loads(done.stdout)
        uncaught += not seen
        what = (mistakes.MISTAKES[name].__doc__ or name).splitlines()[0].rstrip(".")
        print(f"| {what} (`{name}`) | {', '.join(seen) or 'none'} |", flush=True)
    return int(uncaught > 0)


def seen_by(name: str, whole: bool) -> list[str]:
    """The components that show a mistake, planted into this process."""
    from backends.worldflux_dreamerv3.match.__main__ import prepare_jax
    from backends.worldflux_dreamerv3.match.components import SINGLE, find_group
    from tests.dreamerv3 import matches

    prepare_jax(1)
    mistakes.plant(name)
    session = matches.session()
    present = [row["name"] for row in session.golden.manifest["components"]]
    outputs = {c: matches.computed(session, c) for c in present if c in SINGLE}
    for setting in session.settings.values():
        for group in {find_group(c): None for c in setting.components}:
            if whole or group != "update":
                computed = session.run(setting, group)
                outputs |= {f"{setting.name}_{c}": o for c, o in computed.items()}
    return matches.diverging(outputs)


if __name__ == "__main__":
    sys.exit(main())
