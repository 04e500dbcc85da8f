"""What kept the programs in their folders, as records and match runs say it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

NOT_SAID = "its record does not say"


@dataclass(frozen=True)
class Isolation:
    """Of all that counts, how much ran within walls.

    Attributes:
        walled: how many runs and component matches did. ran_open: why -> how many did not.
        key_hidden: whether a key that evidence is signed with was out of reach of all of them.
        needs: adapter -> what its backend declared.
    """

    walled: int = 0
    ran_open: Mapping[str, int] = field(default_factory=dict)
    key_hidden: bool = False
    needs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether all of it ran within walls, and something did."""
        return self.walled > 0 and not self.ran_open

    @property
    def sentence(self) -> str:
        """What was in force, and how far."""
        total = self.walled + sum(self.ran_open.values())
        if self.is_whole:
            key = "the signing key was out of reach" if self.key_hidden else "no signing key was hidden"
            return f"bubblewrap, all {total} runs and matches that count; {key}"
        if not total:
            return "none: nothing ran"
        why = "; ".join(f"{n} of {total} ran open ({why})" for why, n in sorted(self.ran_open.items()))
        return f"{'bubblewrap in part' if self.walled else 'none'}: {why}; a signing key was within reach"

    @property
    def declared(self) -> str:
        """What backends declared that they need; empty where none did."""
        return "; ".join(f"{adapter}: {_needs_text(own)}" for adapter, own in sorted(self.needs.items()))


NO_ISOLATION = Isolation()


def isolation_of(said: Iterable[tuple[str, Mapping[str, Any] | None]]) -> Isolation:
    """What (adapter, ``isolation``) of all that counts comes to."""
    rows = [(adapter, stated if _is_plain(stated) else None) for adapter, stated in said]
    walled = [(adapter, stated) for adapter, stated in rows if stated and stated["by"] != "none"]
    others = (stated for _, stated in rows if not stated or stated["by"] == "none")
    ran_open = Counter(stated["why"] if stated else NOT_SAID for stated in others)
    return Isolation(
        walled=len(walled),
        ran_open=dict(ran_open),
        key_hidden=bool(walled) and all(stated["key_hidden"] for _, stated in walled),
        needs={adapter: stated["needs"] for adapter, stated in walled if stated["needs"]},
    )


def _is_plain(stated: object) -> bool:
    """Whether it is what this plugin writes: a line is a file's text, which anyone may edit."""
    kinds = {"by": str, "why": str, "key_hidden": bool, "needs": Mapping}
    if not isinstance(stated, Mapping) or not all(
        isinstance(stated.get(k), kind) for k, kind in kinds.items()
    ):
        return False
    paths = (stated["needs"].get(name, ()) for name in ("read", "write"))
    listed = all(isinstance(p, (list, tuple)) and all(isinstance(x, str) for x in p) for p in paths)
    return listed and stated["by"] in ("bubblewrap", "none")


def _needs_text(needs: Mapping[str, Any]) -> str:
    words = [name.replace("dev_shm", "shared memory") for name in ("network", "dev_shm") if needs.get(name)]
    words += [f"{does}s {', '.join(needs[does])}" for does in ("read", "write") if needs.get(does)]
    return ", ".join(words)
