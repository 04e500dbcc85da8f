"""What a program is asked: ``request.json``, and the same made by hand."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field
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

from .documents import WireError, content_hash, load_object
from .progress import Windows

REQUEST_SCHEMA = "worldflux.parity.request.v1"


@dataclass(frozen=True)
class RunRequest:
    """What one run must do.

    Attributes:
        request_id: sha256 over everything that decides the result (see ``request_id`` of ``suite/pairs.py``).
        recipe: hyperparameters in the family's own names and units.
        eval_protocol: ``eval_interval`` (frames), ``eval_episodes``, ``eval_window`` (points, or
            ``{"frames": n}``), and ``windows``: name -> [first, last] update (1-based, inclusive) over
            which the program averages its training statistics.
        deadline_sec: seconds after which the plugin ends the process.
        threads: CPU threads that the program may use.
        source: where the program's source is (``checkout``, ``commit``), as far as the plugin knows.
    """

    request_id: str
    run_id: str
    suite_id: str
    family: str
    task_id: str
    seed: int
    system: str
    adapter: str
    device: str
    recipe: Dict[str, Any]
    eval_protocol: Dict[str, Any]
    out_dir: str
    deadline_sec: float
    threads: int = 1
    attempt: int = 1
    source: Dict[str, Any] = field(default_factory=dict)
    schema_version: str = REQUEST_SCHEMA


def eval_protocol_hash(family: str, task_id: str, protocol: Mapping[str, Any]) -> str:
    """The documented hash: family, task_id, eval_interval, eval_episodes, eval_window."""
    keys = ("eval_interval", "eval_episodes", "eval_window")
    return content_hash({"family": family, "task_id": task_id, **{k: protocol.get(k) for k in keys}})


def request_by_hand(
    options: Any, family: str, system: str, adapter: str, source: Optional[Dict[str, Any]] = None
) -> RunRequest:
    """The request that a backend's command line describes in place of ``request.json``.

    Args:
        options: has task, seed, device, threads and out, and the texts of ``set``, ``eval`` and ``window``.

    Raises:
        WireError: a setting or a window cannot be read.
    """
    return RunRequest(
        request_id="by-hand",
        run_id="by-hand",
        suite_id="by-hand",
        family=family,
        task_id=options.task,
        seed=options.seed,
        system=system,
        adapter=adapter,
        device=options.device,
        recipe=dict(map(parse_setting, options.set)),
        eval_protocol={
            **dict(parse_setting(text, "--eval") for text in options.eval),
            "windows": dict(map(_parse_window, options.window)),
        },
        out_dir=options.out,
        deadline_sec=0.0,
        threads=options.threads,
        source=source or {},
    )


def parse_setting(text: str, option: str = "--set") -> Tuple[str, Any]:
    """``KEY=VALUE`` as (key, value); a value that is not JSON is text.

    Raises:
        WireError: there is no equals sign.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise WireError(f"{option} {text}: wanted KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _parse_window(text: str) -> Tuple[str, List[int]]:
    name, _, bounds = text.partition("=")
    try:
        first, last = (int(number) for number in bounds.split(":"))
    except ValueError:
        raise WireError(f"--window {text}: wanted NAME=FIRST:LAST, both whole numbers") from None
    return name, [first, last]


def check_main(
    program: str,
    check: Callable[[RunRequest], Any],
    refusals: Tuple[Type[Exception], ...],
    paths: Sequence[str],
) -> int:
    """A check program: say in one line which of some requests it would refuse first; the exit status.

    Args:
        check: raises one of ``refusals``, whose text is for the user, where it would refuse.
        paths: of ``request.json`` files.
    """
    for path in paths:
        request = read_request(path)
        try:
            check(request)
            Windows(request.eval_protocol.get("windows") or {})
        except (WireError, *refusals) as error:  # type: ignore[misc]
            print(f"{program}, {request.task_id}: {' '.join(str(error).split())}", file=sys.stderr)
            return 1
    return 0


def request_to_json(request: RunRequest) -> str:
    """The text of ``request.json``."""
    return json.dumps(asdict(request), indent=2, sort_keys=True, allow_nan=False) + "\n"


def read_request(path: str) -> RunRequest:
    """Read ``request.json``.

    Raises:
        WireError: not JSON, another schema version, or a missing or unknown field.
    """
    return request_from_dict(load_object(Path(path)), path)


def request_from_dict(data: Mapping[str, Any], path: str = "request.json") -> RunRequest:
    """The request in an object.

    Raises:
        WireError: another schema version, or a missing or unknown field.
    """
    if data.get("schema_version") != REQUEST_SCHEMA:
        raise WireError(f"{path}: schema_version is {data.get('schema_version')!r}, not {REQUEST_SCHEMA!r}")
    try:
        return RunRequest(**data)
    except TypeError as error:
        raise WireError(f"{path}: {error}") from None
