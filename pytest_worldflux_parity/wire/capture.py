"""A golden folder in the making: what a program records of a reference, beside :mod:`.match`.

It is ``manifest.json`` and ``arrays.npz``: ``weights/...``, ``inputs/<component>/...``, ``outputs/...``.
Arrays are of numpy, torch, jax or whatever else numpy or DLPack reads; torch and jax are not imported here.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Tuple, Union

from .documents import file_sha256, to_plain, write_atomic
from .match import GOLDEN_SCHEMA, STAGES, array_problem
from .program import Refused, package_versions

_COMPONENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_TREES = (Mapping, list, tuple)
_FAMILY = re.compile(r"[a-z0-9_]+")


class GoldenWriter:
    """Inputs, outputs and their components, in data-flow order.

    Args:
        wider: component -> tolerance wider than its stage's, and why.
        trained: whether the weights are a run's. Where rates are a run's, not all that a planted mistake
            moves is moved by more than a tolerance, which each component then declares.
    """

    def __init__(self, wider: Mapping[str, Tuple[float, str]], trained: bool) -> None:
        declared = {"*": "of a run's recipe and weights; the small golden shows what can be seen"}
        self._more: Dict[str, Any] = {"insensitive": declared} if trained else {}
        self._wider = wider
        self.arrays: Dict[str, Any] = {}
        self.components: List[Dict[str, Any]] = []

    def add(
        self, name: str, stage: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any], **more: Any
    ) -> None:
        """Add a component with the inputs that it has for itself.

        Args:
            more: other keys of its row in the manifest, as ``rule``, ``tolerances`` and ``reason``.
        """
        self.put(f"inputs/{name}", inputs)
        self.put(f"outputs/{name}", outputs, varied=more.get("rule") != "distribution")
        row = {"name": name, "stage": stage, "outputs": list(outputs), **self._more, **more}
        if name in self._wider:
            row["tolerance"], row["reason"] = self._wider[name]
        self.components.append(row)

    def put(self, prefix: str, values: Mapping[str, Any], *, varied: bool = True) -> None:
        """Add copies of arrays, in float32 where they are floats.

        Raises:
            Refused: one cannot be stored, is not finite, or, but for inputs, would not show a mistake
                though it must be ``varied``.
        """
        for key, value in values.items():
            name = f"{prefix}/{key}"
            assert name not in self.arrays, name
            self.arrays[name] = _copy_array(value, name, varied=varied and not name.startswith("inputs/"))

    def write(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        """Write ``arrays.npz`` and, last, ``manifest.json``."""
        import numpy as np

        (folder / "manifest.json").unlink(missing_ok=True)
        np.savez_compressed(folder / "arrays.npz", **self.arrays)
        shapes = {k: list(v.shape) for k, v in self.arrays.items()}
        document = {
            **manifest,
            "schema_version": GOLDEN_SCHEMA,
            "arrays_sha256": file_sha256(folder / "arrays.npz"),
            "parameters": {k[len("weights/") :]: v for k, v in shapes.items() if k.startswith("weights/")},
            "components": self.components,
        }
        write_atomic(folder / "manifest.json", json.dumps(document, indent=1, allow_nan=False) + "\n")


class Capture(GoldenWriter):
    """What :func:`capture` gives: a golden folder that any function can be recorded into."""

    def record(
        self, name: str, function: Callable[..., Any], *inputs: Any, stage: str = "latent", **named: Any
    ) -> Any:
        """Run a function, and record it as a component.

        Its inputs are stored by their places or names (``inputs/<component>/0``), what it gives by the paths
        of its arrays (``a.0`` of ``{"a": (x,)}``), an array alone as ``output``; floats in float32.

        Args:
            inputs, named: arrays, numbers, or dicts, lists and tuples of these. They are stored as they were
                before the function ran.
            stage: which tolerance holds; components are compared in the order of stages, then of recording.

        Returns:
            What the function gave.

        Raises:
            Refused: the name is used, the stage is unknown, or an array is not finite, would not show a
                mistake or cannot be stored.
        """
        if not _COMPONENT.fullmatch(name) or any(row["name"] == name for row in self.components):
            raise Refused(f"component {name!r}: names are used once, and are of letters, digits and _.-")
        if stage not in STAGES:
            raise Refused(f"component {name}: stage is {stage!r}; valid: {', '.join(STAGES)}")
        given = _copy_arrays({**{str(i): x for i, x in enumerate(inputs)}, **named}, f"inputs/{name}")
        found = function(*inputs, **named)
        outputs = _copy_arrays(found if isinstance(found, _TREES) else {"output": found}, f"outputs/{name}")
        if not outputs:
            raise Refused(f"component {name}: its function gave no array")
        self.add(name, stage, given, outputs)
        return found


@contextmanager
def capture(
    folder: Union[str, "os.PathLike[str]"],
    family: str,
    parameters: Any,
    *,
    config: Mapping[str, Any] = {},
    packages: Iterable[str] = ("numpy", "torch", "jax"),
    checkout: Union[str, "os.PathLike[str]"] = ".",
    repo: str = "",
    wider: Mapping[str, Tuple[float, str]] = {},
) -> Iterator[Capture]:
    """Record functions of a reference of one's own into a golden folder, written where nothing was raised.

    Args:
        parameters: of the reference, as a ``state_dict()`` or a tree of arrays; kept as they are now.
        config: what the match program has to know beside arrays.
        packages: whose versions the golden notes, where they are installed.
        checkout: within the git checkout of the reference; its commit is the golden's, so nothing that git
            follows there may have changed.
        repo: URL of that; empty: its ``origin``, else the name of its folder.
        wider: as of :class:`GoldenWriter`.

    Raises:
        Refused: the family's name, a parameter, the checkout, or that nothing was recorded.
        OSError: the folder cannot be written.
    """
    if not _FAMILY.fullmatch(family):
        raise Refused(f"family is {family!r}: small letters, digits and _ alone")
    golden = Capture(wider, trained=False)
    golden.put("weights", _copy_arrays(parameters, "weights"))
    if not golden.arrays:
        raise Refused("parameters: there are none")
    # Its arguments may name folders of this machine.
    command = f"python {Path(sys.argv[0]).name}"
    origin = {**describe_recording(command, packages), "source": _find_source(Path(checkout), repo)}
    yield golden
    if not golden.components:
        raise Refused(f"{folder}: nothing was recorded; to mend: golden.record(NAME, FUNCTION, ...)")
    os.makedirs(folder, exist_ok=True)
    golden.write(Path(folder), {**origin, "family": family, "config": to_plain(dict(config))})


def describe_recording(command: str, packages: Iterable[str]) -> Dict[str, Any]:
    """What a golden says of when and with what it was recorded."""
    return {
        "command": command,
        "packages": package_versions(packages),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "generated_at_utc": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def _find_source(checkout: Path, repo: str) -> Dict[str, Any]:
    """The repository and the commit of a reference.

    Raises:
        Refused: it is in no git checkout, or what git follows there has changed.
    """
    from .checkout import run_git  # a tenth of a program's start, and few ask

    def ask(*words: str) -> str:
        return run_git(checkout, *words, hint="git init, and commit the reference").decode().strip()

    commit, top = ask("rev-parse", "HEAD"), Path(ask("rev-parse", "--show-toplevel"))
    if changed := ask("status", "--porcelain", "--untracked-files=no").splitlines():
        raise Refused(f"{checkout}: {changed[0].strip()} is not committed; to mend: commit it, then record")
    url = repo or ask("config", "--default", "", "--get", "remote.origin.url") or top.name
    # A password may stand before the host.
    return {"repo": re.sub(r"(?<=://)[^/@]*@", "", url), "commit": commit}


def _copy_arrays(tree: Any, where: str) -> Dict[str, Any]:
    """Path below ``where`` -> a copy of each array of a tree of dicts, lists and tuples.

    Raises:
        Refused: one is no array, has values that are not finite, or, but for inputs, would show no mistake.
    """
    found: Dict[str, Any] = {}
    for path, leaf in _list_leaves(tree, ()):
        name = ".".join(path)
        if name in found:
            raise Refused(f"{where}/{name}: two arrays have this name")
        found[name] = _copy_array(leaf, f"{where}/{name}", varied=not where.startswith("inputs/"))
    return found


def _list_leaves(tree: Any, path: Tuple[str, ...]) -> Iterator[Tuple[Tuple[str, ...], Any]]:
    if not isinstance(tree, _TREES):
        yield path, tree
        return
    for key, value in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
        yield from _list_leaves(value, (*path, str(key)))


def _copy_array(value: Any, where: str, *, varied: bool) -> Any:
    import numpy as np

    kind = type(value).__name__
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu().numpy()
        elif hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            value = np.from_dlpack(value)
        array = np.array(value)
        with np.errstate(over="ignore"):
            array = array.astype(np.float32) if array.dtype == np.float64 else array
    except Exception as error:  # numpy and each framework have many
        text = " ".join(str(error).split())[:200]
        raise Refused(f"{where}: a {kind} is no array: {text}") from None
    if problem := array_problem(array, varied=varied):
        raise Refused(f"{where} {problem}")
    return array
