"""The engines that there are: an engine is its file, its entry here, and its lines in the operators' page.

What asks for the names of engines, for their settings or for what is special about one looks here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class EngineEntry(NamedTuple):
    """An engine. No dataclass: plain pytest imports this file, and a dataclass takes a millisecond to make.

    Attributes:
        place: its class, by a dotted name from this folder on.
        package: what has to be installed for it, by the extra of the engine's name; empty: nothing more.
        settings: name of an ini setting of its own -> what it is, and its default: of several lines a list.
        is_here: what it runs, it runs on this machine; it is given what its runs hold (``leases.Pool``).
        builds: its nodes build what environments of backends they lack.
        outlives: what it runs goes on without its session.
    """

    place: str
    package: str = ""
    settings: Mapping[str, tuple[str, str | list[str]]] = MappingProxyType({})
    is_here: bool = False
    builds: bool = False
    outlives: bool = False


ENGINES: Mapping[str, EngineEntry] = {
    "local": EngineEntry("local.LocalEngine", is_here=True),
    "ray": EngineEntry(
        "ray.engine.RayEngine",
        "ray",
        {
            "parity_ray_address": ("address of the Ray cluster", "auto"),
            "parity_ray_limit_gb": (
                "what comes back of an attempt at the most, beside record and logs",
                "8",
            ),
        },
        builds=True,
    ),
    "slurm": EngineEntry(
        "slurm.engine.SlurmEngine",
        "submitit",
        {
            "parity_slurm": ("options of Slurm jobs, one key=value a line", []),
            "parity_slurm_jobs": ("Slurm jobs at a time", "200"),
            "parity_slurm_cluster": ("slurm, or local to try it on one machine", "slurm"),
        },
        outlives=True,
    ),
}
