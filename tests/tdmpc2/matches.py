"""What the match program with a mistake of ``mistakes.py`` shows."""

from __future__ import annotations

from pathlib import Path

from tests.components.match_runs import TDMPC2


def diverging(mistake: str, out_dir: Path) -> list[str]:
    """The components that show a mistake, in data-flow order.

    Raises:
        RuntimeError: the program ended before it could tell.
    """
    mistaken = [str(Path(__file__).with_name("mistaken_match.py")), mistake]
    done = TDMPC2.run(TDMPC2.write_request(out_dir), mistaken)
    if done.returncode != 0:
        raise RuntimeError(f"{mistake}: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    return [c.component.name for c in TDMPC2.judge(out_dir).components if not c.passed]
