"""The contract between the plugin and a backend program: a request in, a record out.

A backend imports this package and nothing else of ours, so it uses the standard library only and
runs on any Python from 3.9 on. The plugin starts ``argv request.json``; the program writes into
``request.out_dir``: ``metrics.json`` (schema ``parity.v1``), ``progress.jsonl`` (heartbeats) and
whatever else it likes. Exit status 0 means that ``metrics.json`` is there and valid.

A program whose components are compared with a golden folder is started as ``argv match_request.json`` and
leaves ``outputs.npz``, ``perturbed.npz`` and ``match.json``: ``match``. numpy, which such a program
has, is imported there by the functions that need it.
"""

from __future__ import annotations

from .capture import capture
from .documents import (
    LARGEST_NUMBER,
    LARGEST_STEP,
    WireError,
    canonical_json,
    content_hash,
    file_sha256,
    files_sha256,
    load_object,
    object_in,
    one_line,
    to_plain,
    tree_files,
    tree_sha256,
    write_atomic,
)
from .match import (
    GOLDEN_SCHEMA,
    MATCH_REQUEST_SCHEMA,
    MATCH_SCHEMA,
    Arrays,
    Golden,
    MatchError,
    match_main,
    read_golden,
    read_match_request,
    write_match,
)
from .program import (
    Log,
    Program,
    Refused,
    Terminated,
    compute_rates,
    from_one,
    hash_files,
    limit_threads,
    package_versions,
)
from .progress import Progress, Windows
from .recipe import RecipeError, read_recipe
from .record import (
    RECORD_SCHEMA,
    CurvePoint,
    RunRecord,
    curve_of_episodes,
    find_artifact,
    read_record,
    record_from_dict,
    record_to_dict,
    write_record,
)
from .request import (
    REQUEST_SCHEMA,
    RunRequest,
    check_main,
    eval_protocol_hash,
    parse_setting,
    read_request,
    request_by_hand,
    request_from_dict,
    request_to_json,
)
