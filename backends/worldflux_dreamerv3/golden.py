"""A golden folder: what the official program computed, and from what."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SCHEMA = "worldflux.parity.golden.v1"
FAMILY = "dreamerv3"
MEND = "python -m backends.official_dreamerv3.record"


class MatchError(ValueError):
    """A request or a golden folder that cannot be used; the text is one line."""


@dataclass(frozen=True)
class Golden:
    """A golden folder: the manifest, and ``arrays.npz`` by key."""

    folder: Path
    manifest: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]

    @property
    def config(self) -> Mapping[str, Any]:
        return self.manifest["config"]

    def below(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays whose key begins with ``prefix``, by the rest of their key."""
        return {k.removeprefix(prefix): v for k, v in self.arrays.items() if k.startswith(prefix)}

    def get(self, key: str) -> np.ndarray:
        """One array.

        Raises:
            MatchError: there is none.
        """
        if key not in self.arrays:
            raise MatchError(f"{self.folder / 'arrays.npz'}: {key} is missing; to mend: {MEND}")
        return self.arrays[key]


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        MatchError: it holds none.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise MatchError(f"{path}: not JSON: {error}") from None
    if not isinstance(data, dict):
        raise MatchError(f"{path}: a JSON object is wanted, not {type(data).__name__}")
    return data


def read_golden(folder: Path) -> Golden:
    """A golden folder, checked against its manifest.

    Raises:
        MatchError: a file is missing or is not what the manifest says; pickles are never loaded.
    """
    path, archive = folder / "manifest.json", folder / "arrays.npz"
    for file in (path, archive):
        if not file.is_file():
            raise MatchError(f"{file}: no such file; to mend: {MEND}")
    manifest = read_json(path)
    wanted = {"schema_version": SCHEMA, "family": FAMILY}
    for key, value in wanted.items():
        if manifest.get(key) != value:
            raise MatchError(f"{path}: {key} is {manifest.get(key)!r}, not {value!r}")
    content = archive.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != manifest.get("arrays_sha256"):
        said = str(manifest.get("arrays_sha256"))[:12]
        raise MatchError(
            f"{archive}: its sha256 is {found[:12]}..., the manifest's {said}...; to mend: {MEND}"
        )
    for key, kind in (("config", dict), ("components", list), ("parameters", dict)):
        if not isinstance(manifest.get(key), kind):
            raise MatchError(f"{path}: {key} is missing; to mend: {MEND}")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return Golden(folder, manifest, {key: arrays[key] for key in arrays.files})
    except Exception as error:  # numpy and zipfile have many
        raise MatchError(f"{archive}: cannot be read: {error}; to mend: {MEND}") from None
