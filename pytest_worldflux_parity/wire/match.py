"""A program whose components are compared with a golden folder: what it is given and what it leaves."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import traceback
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
    Tuple,
    Type,
)

from .documents import WireError, load_object, plain, write_atomic

MATCH_REQUEST_SCHEMA = "worldflux.parity.match_request.v1"
MATCH_SCHEMA = "worldflux.parity.match.v1"
GOLDEN_SCHEMA = "worldflux.parity.golden.v1"


# --- component match ---


class MatchError(WireError):
    """A match request or a golden folder that a match program cannot use; the text is one line."""


@dataclass(frozen=True)
class Golden:
    """A golden folder as a match program is given it.

    Attributes:
        arrays: key -> numpy array: ``weights/...`` and ``inputs/...``. What the official program computed
            from them, the plugin keeps to itself.
        mend: the command that records such a folder.
    """

    folder: Path
    manifest: Mapping[str, Any]
    arrays: Mapping[str, Any]
    mend: str

    @property
    def config(self) -> Mapping[str, Any]:
        """The recipe and the dimensions that it was recorded in."""
        config: Mapping[str, Any] = self.manifest["config"]
        return config

    @property
    def components(self) -> Dict[str, List[str]]:
        """Names of the outputs of each component."""
        return {row["name"]: row["outputs"] for row in self.manifest["components"]}

    def below(self, prefix: str) -> Dict[str, Any]:
        """The arrays whose key begins with ``prefix``, by the rest of their key."""
        return {k[len(prefix) :]: v for k, v in self.arrays.items() if k.startswith(prefix)}

    def get(self, key: str) -> Any:
        """One array.

        Raises:
            MatchError: there is none.
        """
        if key not in self.arrays:
            raise MatchError(f"{self.folder / 'arrays.npz'}: {key} is missing; to mend: {self.mend}")
        return self.arrays[key]

    def check_config(self, form: Any) -> None:
        """Make sure that ``config`` has a form, as :func:`check_form` says.

        Raises:
            MatchError: it has not; the text names the key.
        """
        check_form(self.config, form, f"{self.folder / 'manifest.json'}: config")


def check_form(value: Any, form: Any, where: str) -> None:
    """Make sure that a JSON value has a form.

    Args:
        form: a dict: an object with at least these keys, each of its form (the key ``*``: every key); a
            list of one form: a list of such; ``int``: a whole number from 0 to 2**31; ``float``: any
            number; ``str``; ``bool``.

    Raises:
        MatchError: it has not; the text names the place.
    """
    if isinstance(form, dict):
        _check_kind(value, dict, "an object", where)
        for key, wanted in form.items():
            if key != "*" and key not in value:
                raise MatchError(f"{where}.{key} is missing")
            for name in value if key == "*" else (key,):
                check_form(value[name], wanted, f"{where}.{name}")
    elif isinstance(form, list):
        _check_kind(value, list, "a list", where)
        for i, item in enumerate(value):
            check_form(item, form[0], f"{where}[{i}]")
    elif form is int:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 2**31:
            raise MatchError(f"{where} is {value!r:.60}, not a whole number from 0 to 2**31")
    elif form is float:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise MatchError(f"{where} is {value!r:.60}, not a number")
    else:
        _check_kind(value, form, form.__name__, where)


def _check_kind(value: Any, kind: type, name: str, where: str) -> None:
    if not isinstance(value, kind):
        raise MatchError(f"{where} is {value!r:.60}, not {name}")


def match_main(
    program: str,
    run: Callable[[Dict[str, Any]], None],
    refusals: Tuple[Type[Exception], ...],
    argv: Optional[Sequence[str]] = None,
) -> int:
    """A match program: read ``match_request.json``, run, say what is wrong in one line; the exit status.

    Args:
        program: ``python -m <program> match_request.json`` starts it.
        run: computes and writes everything.
        refusals: the errors whose text is for the user; of any other, the place is told, too.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    if len(arguments) != 1:
        print(f"usage: python -m {program} match_request.json", file=sys.stderr)
        return 2
    try:
        run(read_match_request(Path(arguments[0])))
    except Exception as error:
        text = str(error) if isinstance(error, (WireError, OSError, *refusals)) else _unforeseen(error)
        print(f"{program.partition('.')[2]}: {' '.join(text.split())}", file=sys.stderr)
        return 1
    return 0


def _unforeseen(error: Exception) -> str:
    """What numpy, torch and jax say of arrays and numbers that do not fit together, and where."""
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


def read_golden(folder: Path, family: str, mend: str) -> Golden:
    """A golden folder, checked against its manifest.

    Args:
        mend: the command that records one.

    Raises:
        OSError: a file cannot be read.
        MatchError: a file is missing or is not what the manifest says; pickles are never loaded.
    """
    path, archive = folder / "manifest.json", folder / "arrays.npz"
    for file in (path, archive):
        if not file.is_file():
            raise MatchError(f"{file}: no such file; to mend: {mend}")
    manifest = _match_object(path)
    for key, value in {"schema_version": GOLDEN_SCHEMA, "family": family}.items():
        if manifest.get(key) != value:
            raise MatchError(f"{path}: {key} is {manifest.get(key)!r}, not {value!r}")
    form = {"config": {}, "parameters": {"*": [int]}, "components": [{"name": str, "outputs": [str]}]}
    check_form(manifest, form, str(path))
    content, said = archive.read_bytes(), str(manifest.get("arrays_sha256"))
    found = hashlib.sha256(content).hexdigest()
    if found != said:
        raise MatchError(
            f"{archive}: its sha256 is {found[:12]}..., the manifest's {said[:12]}...; to mend: {mend}"
        )
    return Golden(folder, manifest, _arrays(content, archive, mend), mend)


def _arrays(content: bytes, archive: Path, mend: str) -> Dict[str, Any]:
    import numpy as np

    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except Exception as error:  # numpy and zipfile have many
        raise MatchError(f"{archive}: cannot be read: {error}; to mend: {mend}") from None


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
    _save(out_dir / "outputs.npz", _keyed(outputs))
    below = {name: _keyed(components) for name, components in perturbed.items()}
    _save(
        out_dir / "perturbed.npz",
        {f"{name}/{k}": v for name, arrays in below.items() for k, v in arrays.items()},
    )
    document = {"schema_version": MATCH_SCHEMA, **plain(described)}
    write_atomic(out_dir / "match.json", json.dumps(document, indent=1, allow_nan=False) + "\n")


def _keyed(outputs: Mapping[str, Mapping[str, Any]]) -> Dict[str, Any]:
    return {f"{component}/{name}": v for component, found in outputs.items() for name, v in found.items()}


def _save(path: Path, arrays: Mapping[str, Any]) -> None:
    import numpy as np

    with open(path, "wb") as handle:
        whole: Dict[str, Any] = {key: np.asarray(value) for key, value in arrays.items()}
        np.savez(handle, **whole)
