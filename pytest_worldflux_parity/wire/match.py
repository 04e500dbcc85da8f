"""A program whose components are compared with a golden folder: what it is given and what it leaves."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    List,
    Mapping,
    Optional,
    Sequence,
)

from .documents import WireError, load_object, to_plain, tree_sha256, write_atomic

MATCH_REQUEST_SCHEMA = "worldflux.parity.match_request.v1"
MATCH_SCHEMA = "worldflux.parity.match.v1"
GOLDEN_SCHEMA = "worldflux.parity.golden.v1"
# The order in which data flow: how weights begin, through one training step, through many.
STAGES = (
    "initialisation", "environment", "encoder", "latent", "heads", "loss", "gradient", "update", "lockstep",
)  # fmt: skip


class MatchError(WireError):
    """A match request or a golden folder that a match program cannot use; the text is one line."""


class Arrays(Dict[str, Any]):
    """Arrays by name; that one is missing is a mistake of who recorded them, told in a line.

    Raises:
        MatchError: on looking up a name that is not there.
    """

    def __init__(self, where: str, arrays: Mapping[str, Any]) -> None:
        super().__init__(arrays)
        self._where = where

    def __missing__(self, name: str) -> Any:
        raise MatchError(f"arrays.npz: {self._where}{name} is missing; record the golden folder again")

    def below(self, prefix: str) -> Arrays:
        """Those whose name begins with ``prefix``, by the rest of their name."""
        part = {k[len(prefix) :]: v for k, v in self.items() if k.startswith(prefix)}
        return Arrays(self._where + prefix, part)


@dataclass(frozen=True)
class Golden:
    """A golden folder as a match program is given it.

    Attributes:
        arrays: key -> numpy array: ``weights/...`` and ``inputs/...``. What the official program computed
            from them, the plugin keeps to itself.
    """

    folder: Path
    manifest: Mapping[str, Any]
    arrays: Arrays

    @property
    def config(self) -> Mapping[str, Any]:
        """The recipe and the dimensions that it was recorded in."""
        config: Mapping[str, Any] = self.manifest["config"]
        return config

    @property
    def components(self) -> Dict[str, List[str]]:
        """Names of the outputs of each component."""
        return {row["name"]: row["outputs"] for row in self.manifest["components"]}


def match_main(
    module: str,
    family: str,
    hint: str,
    compute: Callable[[Golden, int], Dict[str, Any]],
    argv: Optional[Sequence[str]] = None,
) -> int:
    """A match program: read ``match_request.json``, compute, say what is wrong in one line; the exit status.

    Args:
        module: ``python -m <module> match_request.json`` starts it, or a name of it.
            The program's folder is the nearest above ``compute`` that has a ``backend.yaml``.
        hint: the command that records a golden folder of this ``family``.
        compute: makes of the golden folder, with so many threads, what :func:`write_match` writes.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    if len(arguments) != 1:
        print(f"usage: python -m {module} match_request.json", file=sys.stderr)
        return 2
    try:
        request = read_match_request(Path(arguments[0]))
        out_dir = Path(request["out_dir"])
        out_dir.mkdir(parents=True, exist_ok=True)
        (out_dir / "match.json").unlink(missing_ok=True)
        golden = read_golden(Path(request["golden"]), family, hint)
        above = Path(compute.__code__.co_filename).resolve().parents
        folder = next((f for f in above if (f / "backend.yaml").is_file()), above[1])
        written = compute(golden, request["threads"])
        write_match(out_dir, source={"tree_sha256": tree_sha256(folder)}, **written)
    except Exception as error:
        text = str(error) if isinstance(error, (WireError, OSError)) else _describe_unforeseen(error)
        print(f"{module.partition('.')[2] or module}: {' '.join(text.split())}", file=sys.stderr)
        return 1
    return 0


def _describe_unforeseen(error: Exception) -> str:
    """What numpy, torch and jax say of arrays and numbers that do not fit together, and where."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "site-packages" not in f.filename] or frames
    place = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "nowhere"
    text = " ".join(str(error).split())[:300]
    return (
        f"the golden folder's config and arrays do not fit together, or not into memory: "
        f"{type(error).__name__}: {text} ({place})"
    )


def read_match_request(path: Path) -> Dict[str, Any]:
    """Read ``match_request.json``.

    Raises:
        OSError: it cannot be read.
        MatchError: it is no request, or one for a device that a match is not defined on.
    """
    request = _match_object(path)
    if request.get("schema_version") != MATCH_REQUEST_SCHEMA:
        said = request.get("schema_version")
        raise MatchError(f"{path}: schema_version is {said!r}, not {MATCH_REQUEST_SCHEMA!r}")
    for key in ("golden", "out_dir"):
        if not isinstance(request.get(key), str):
            raise MatchError(f"{path}: {key} is {request.get(key)!r}, not a folder's name")
    if request.get("device", "cpu") != "cpu":
        raise MatchError(f"{path}: device is {request['device']!r}; valid: cpu (tolerances are a CPU's)")
    threads = request.setdefault("threads", 1)
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise MatchError(f"{path}: threads is {threads!r}; valid: 1 or more")
    return request


def _match_object(path: Path) -> Dict[str, Any]:
    try:
        return load_object(path)
    except WireError as error:
        raise MatchError(str(error)) from None


def read_golden(folder: Path, family: str, hint: str) -> Golden:
    """A golden folder, checked against its manifest.

    Args:
        hint: the command that records one.

    Raises:
        OSError: a file cannot be read.
        MatchError: a file is missing or is not what the manifest says; pickles are never loaded.
    """
    path, archive = folder / "manifest.json", folder / "arrays.npz"
    for file in (path, archive):
        if not file.is_file():
            raise MatchError(f"{file}: no such file; to mend: {hint}")
    manifest = _match_object(path)
    for key, value in {"schema_version": GOLDEN_SCHEMA, "family": family}.items():
        if manifest.get(key) != value:
            raise MatchError(f"{path}: {key} is {manifest.get(key)!r}, not {value!r}")
    content, said = archive.read_bytes(), str(manifest.get("arrays_sha256"))
    found = hashlib.sha256(content).hexdigest()
    if found != said:
        raise MatchError(
            f"{archive}: its sha256 is {found[:12]}..., the manifest's {said[:12]}...; to mend: {hint}"
        )
    import numpy as np

    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return Golden(folder, manifest, Arrays("", {key: arrays[key] for key in arrays.files}))
    except Exception as error:  # numpy and zipfile have many
        raise MatchError(f"{archive}: cannot be read: {error}; to mend: {hint}") from None


def write_match(
    out_dir: Path,
    outputs: Mapping[str, Mapping[str, Any]],
    perturbed: Mapping[str, Mapping[str, Mapping[str, Any]]],
    **described: Any,
) -> None:
    """Write what a match program computed; ``match.json`` last, which says that all is there.

    Args:
        outputs: component -> output -> array.
        perturbed: perturbation -> component -> output -> array.
        described: ``mapping``, ``parameters``, ``perturbations``, ``packages`` and ``source`` of match.json.

    Raises:
        OSError: the folder cannot be written.
    """
    _save(out_dir / "outputs.npz", _add_keys(outputs))
    below = {name: _add_keys(components) for name, components in perturbed.items()}
    _save(
        out_dir / "perturbed.npz",
        {f"{name}/{k}": v for name, arrays in below.items() for k, v in arrays.items()},
    )
    document = {"schema_version": MATCH_SCHEMA, **to_plain(described)}
    write_atomic(out_dir / "match.json", json.dumps(document, indent=1, allow_nan=False) + "\n")


def _add_keys(outputs: Mapping[str, Mapping[str, Any]]) -> Dict[str, Any]:
    return {f"{component}/{name}": v for component, found in outputs.items() for name, v in found.items()}


def _save(path: Path, arrays: Mapping[str, Any]) -> None:
    import numpy as np

    with open(path, "wb") as handle:
        whole: Dict[str, Any] = {key: np.asarray(value) for key, value in arrays.items()}
        np.savez(handle, **whole)


def array_problem(array: Any, *, varied: bool) -> str:
    """Why an array of a golden is blind or broken; empty where it is fit to be compared with.

    Args:
        varied: whether it must also tell one element from another (outputs and weights must).
    """
    import numpy as np

    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        return f"is of type {array.dtype}, not bool, integer or real"
    if array.size == 0:
        return f"is empty, of shape {array.shape}"
    if not np.isfinite(array).all():
        return "is not finite"
    if varied and array.size == 1 and not array.any():
        return "is zero, so a relative difference has no scale"
    if varied and array.size > 1 and (array == array.flat[0]).all():
        return f"is constant ({array.flat[0]}), so it would not show a mistake"
    return ""
