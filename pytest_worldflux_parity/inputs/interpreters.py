"""What a Python brings to a program: the folders of its packages, found without running any of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .installed import interpreter_at
from .installed.import_path import import_path
from .installed.packages import versions

# The plugin is no package of a program, which gets the contract alone.
_PLUGIN_FOLDER = Path(__file__).parents[1]


@dataclass(frozen=True)
class Packages:
    """Where an interpreter's packages are.

    Attributes:
        python: its executable. version: as ``3.11.7``.
        stdlib: the folders of its standard library, and its archive.
        prefix: of its virtual environment; None where it is none.
        folders: behind the standard library, in their order.
        projects: those of them that are of editable projects. mapped: module -> where an editable one is.
    """

    python: Path
    version: str
    stdlib: tuple[Path, ...]
    prefix: Path | None
    folders: tuple[Path, ...]
    projects: tuple[Path, ...]
    mapped: dict[str, Path]

    @property
    def versions(self) -> dict[str, str]:
        """Name -> version of each package, by the names of their folders alone."""
        return versions(map(str, self.folders))

    def editable_in(self, root: Path) -> list[Path]:
        """What stands in a project and is installed as editable: folders and modules, resolved."""
        found = [path.resolve() for path in (*self.projects, *self.mapped.values())]
        return [path for path in found if path != root and path.is_relative_to(root)]


@cache
def packages(python: Path) -> Packages:
    """The folders of an interpreter's packages.

    Raises:
        BackendError: it cannot be asked.
    """
    asked = interpreter_at(python)
    where = import_path(asked.site_packages, [_PLUGIN_FOLDER])
    return Packages(
        python=asked.python,
        version=asked.full_version,
        stdlib=asked.stdlib,
        prefix=asked.prefix if asked.virtual else None,
        folders=tuple(map(Path, where.path)),
        projects=tuple(map(Path, where.projects)),
        mapped={name: Path(path) for name, path in where.mapped.items()},
    )
