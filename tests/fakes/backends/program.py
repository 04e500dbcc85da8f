"""A real, tiny backend program: what it does is asked for by the recipe's ``behaviour``.

Scores come from a generator seeded by system, task and seed, so they repeat and differ.
"""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from pytest_worldflux_parity import wire


def main() -> None:
    request = wire.read_request(sys.argv[1])
    recipe = dict(request.recipe)
    behaviour = recipe.get("behaviour", "ok")
    only = recipe.get("only")
    if only and f"{request.system}/{request.task_id}/{request.seed}" not in only:
        behaviour = "ok"
    print(f"program: {behaviour} for {request.task_id} seed {request.seed}", file=sys.stderr)
    BEHAVIOURS[behaviour](request)


def record(request: wire.RunRequest, **changes: object) -> wire.RunRecord:
    rng = random.Random(f"{request.system} {request.task_id} {request.seed}")
    level, loss = float(request.recipe.get("level", 100.0)), 2.0
    if request.system == "worldflux":
        level *= float(request.recipe.get("worldflux_factor", 1.0))
        loss *= float(request.recipe.get("loss_factor", 1.0))
    spread = float(request.recipe.get("spread", 0.5))
    curve = tuple(wire.CurvePoint(s, level * s / 1000 + rng.gauss(0, spread)) for s in (0, 500, 1000))
    effective = {**request.recipe, **({"odd": 1} if behaves(request, "other_recipe") else {})}
    fields: dict = {
        "request_id": request.request_id,
        "adapter": request.adapter,
        "task_id": request.task_id,
        "seed": request.seed,
        "device": request.device,
        "curve": curve,
        "scalars": {"loss.late": loss + rng.gauss(0, 0.01)},
        "metadata": {
            "mode": "live",
            "adapter_id": request.adapter,
            "backend_kind": "fake",
            "effective_recipe": effective,
            "eval_protocol": request.eval_protocol,
            "policy_mode": "trained",
            "policy_impl": "fake",
            "env_backend": "fake",
            "model_id": "fake",
            "model_profile": "tiny",
            "recipe_hash": wire.content_hash(effective),
            "eval_protocol_hash": wire.eval_protocol_hash(
                request.family, request.task_id, request.eval_protocol
            ),
            "artifact_manifest": {"progress.jsonl": "0" * 64},
            "source": {"tree_sha256": wire.content_hash(request.adapter)},
        },
    }
    return wire.RunRecord(**{**fields, **changes})


def behaves(request: wire.RunRequest, behaviour: str) -> bool:
    return request.recipe.get("behaviour") == behaviour and request.system == "worldflux"


def ok(request):
    wire.Progress(request.out_dir, 1000).beat(1000)
    wire.write_record(request.out_dir, record(request))


def crash(request):
    print("ValueError: the replay buffer is empty", file=sys.stderr)
    sys.exit(3)


def hang(request):
    Path(request.out_dir, "pid").write_text(str(os.getpid()))
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(request.out_dir, "child_pid").write_text(str(child.pid))
    time.sleep(600)


def stubborn(request):
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hang(request)


def leaves_child(request):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(request.out_dir, "child_pid").write_text(str(child.pid))
    ok(request)


def no_record(request):
    print("done")


def nan(request):
    data = wire.record_to_dict(record(request))
    data["curve"][-1]["return"] = float("nan")
    Path(request.out_dir, "metrics.json").write_text(json.dumps(data))


def half_json(request):
    text = json.dumps(wire.record_to_dict(record(request)))
    Path(request.out_dir, "metrics.json").write_text(text[: len(text) // 2])


def wrong_task(request):
    wire.write_record(request.out_dir, record(request, task_id="another-task"))


def wrong_request(request):
    wire.write_record(request.out_dir, record(request, request_id="0" * 64))


def empty_curve(request):
    wire.write_record(request.out_dir, record(request, curve=()))


def no_metric(request):
    wire.write_record(request.out_dir, record(request, scalars={}))


def says_failure(request):
    wire.write_record(request.out_dir, record(request, success=False))


def random_policy(request):
    good = record(request)
    wire.write_record(request.out_dir, record(request, metadata={**good.metadata, "policy_mode": "random"}))


def mock_mode(request):
    good = record(request)
    wire.write_record(request.out_dir, record(request, metadata={**good.metadata, "mode": "mock"}))


def huge_number(request):
    text = json.dumps(wire.record_to_dict(record(request)))
    Path(request.out_dir, "metrics.json").write_text(text.replace('"mode": "live"', '"mode": 1e400'))


def killed(request):
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


def flaky(request):
    """Fails on the first attempt."""
    return crash(request) if request.attempt == 1 else ok(request)


def litters(request):
    """Leaves what programs leave: checkpoints, a replay buffer, and a link out of its folder."""
    out = Path(request.out_dir)
    for name in ("run/config.yaml", "run/models/final.pt", "replay/chunk.npz", "progress.csv"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("x" * 1000)
    (out / "data").symlink_to(request.recipe["elsewhere"])
    (out / "replay" / "data").symlink_to(request.recipe["elsewhere"])
    manifest = {
        "config_snapshot": [{"path": "run/config.yaml"}],
        "checkpoint_paths": [{"path": "run/models/final.pt"}],
    }
    good = record(request)
    metadata = {**good.metadata, "artifact_manifest": manifest}
    if request.recipe.get("then") == "crash" and request.system == "worldflux":
        crash(request)
    wire.write_record(request.out_dir, record(request, metadata=metadata))


def waits(request):
    """Goes on once the file ``until`` is there."""
    Path(request.out_dir, "pid").write_text(str(os.getpid()))
    while not Path(request.recipe["until"]).exists():
        time.sleep(0.02)
    ok(request)


def memory(request):
    """Asks for more memory than there is, each time."""
    bytearray(1 << 60)


def gpu_memory(request):
    if request.attempt == 1:
        sys.exit("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.")
    ok(request)


def sees(request):
    """Notes when it had which GPUs, in the file ``log``."""
    start = time.monotonic()
    time.sleep(0.1)
    with open(request.recipe["log"], "a") as log:
        gpus, share = os.environ["CUDA_VISIBLE_DEVICES"], os.environ.get("XLA_PYTHON_CLIENT_MEM_FRACTION")
        log.write(json.dumps([gpus.split(","), start, time.monotonic(), share]) + "\n")
    ok(request)


def tells(request):
    """Leaves where and when it ran, in which files, and with which GPUs; waits for ``until`` where asked."""
    start = time.monotonic()
    Path(request.out_dir, "pid").write_text(str(os.getpid()))
    print("a line of its log", flush=True)
    wire.Progress(request.out_dir, 1000).beat(500)
    until = request.recipe.get("until")
    if until:
        # Of a group of its own: whoever ends children or a group does not end it.
        child = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
        )
        Path(request.out_dir, "escaped_pid").write_text(str(child.pid))
    while until and not Path(until).exists():
        time.sleep(0.02)
    time.sleep(0.2)
    seen = {
        "node": os.environ.get("WORLDFLUX_PARITY_CACHE"),
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", "").split(","),
        "interval": [start, time.monotonic()],
        "files": [os.path.realpath(__file__), os.path.realpath(wire.__file__), request.out_dir],
        "beside": sorted(os.listdir(Path(__file__).resolve().parents[1])),
        "sees": os.path.isdir(request.recipe.get("project", ".")),
    }
    Path(request.out_dir, "deeper").mkdir()
    Path(request.out_dir, "deeper", "seen.json").write_text(json.dumps(seen))
    ok(request)


def family(request):
    """Waits, with a child, and with one that has left its process group."""
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    for name, own in (("child_pid", False), ("escaped_pid", True)):
        child = subprocess.Popen(sleep, start_new_session=own)
        Path(request.out_dir, name).write_text(str(child.pid))
    waits(request)


BEHAVIOURS = {
    f.__name__: f
    for f in (
        ok, crash, hang, stubborn, leaves_child, no_record, nan, half_json, wrong_task, wrong_request,
        empty_curve, no_metric, says_failure, random_policy, killed, flaky, waits, tells,
        mock_mode, huge_number, family, memory, gpu_memory, sees, litters,
    )
} | {"other_recipe": ok}  # fmt: skip

if __name__ == "__main__":
    main()
