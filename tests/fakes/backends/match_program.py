"""A real, tiny match program: a linear world model with hand-written gradients, in its own layout.

What it does wrong is asked for by ``behaviour`` of the golden's config.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from pytest_worldflux_parity import wire

LEARNING_RATE = 0.1
# official name -> ours, and whether ours is its transpose
MAPPING = {"enc.weight": ("encoder/kernel", True), "enc.bias": ("encoder/bias", False),
           "head.weight": ("head/kernel", True)}  # fmt: skip
HERE = Path(__file__).parent / "fake_worldflux"


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text())
    folder, out = Path(request["golden"]), Path(request["out_dir"])
    manifest = json.loads((folder / "manifest.json").read_text())
    config = manifest["config"]
    behaviour = config["behaviour"]
    print(f"match program: {behaviour}", file=sys.stderr)
    with np.load(folder / "arrays.npz", allow_pickle=False) as stored:
        arrays = dict(stored)
    early(behaviour, out, config)
    if behaviour == "copies":
        arrays["outputs/heads/reward"]
    if any(row["name"] == "lockstep_initial" for row in manifest["components"]):
        COMPONENTS["lockstep_initial"] = lockstep
    mistake = {"late": 1.1} if behaviour == "late_rate" else {}
    params = {own: own_layout(arrays[f"weights/{name}"], t) for name, (own, t) in MAPPING.items()}
    outputs = {
        key: value for c in COMPONENTS for key, value in COMPONENTS[c](params, arrays, mistake).items()
    }
    perturbed = {
        f"{name}/{key}": value
        for name, (component, _, _, change) in perturbations(behaviour).items()
        for key, value in COMPONENTS[component](changed(params, change), arrays, change).items()
    }
    deliver(behaviour, out, outputs, perturbed, params)


def own_layout(array, transposed):
    return array.T.copy() if transposed else array.copy()


def environment(params, arrays, change):
    step = 0.1 * change.get("step", 1.0)
    return {"environment/position": arrays["inputs/environment/position"]
            + step * arrays["inputs/environment/action"]}  # fmt: skip


def latent(params, arrays):
    return np.tanh(arrays["inputs/shared/x"] @ params["encoder/kernel"] + params["encoder/bias"])


def encoder(params, arrays, change):
    return {"encoder/z": latent(params, arrays)}


def predicted(params, arrays):
    return latent(params, arrays) @ params["head/kernel"]


def heads(params, arrays, change):
    reward = predicted(params, arrays) * change.get("sign", 1.0)
    return {"heads/reward": reward, "heads/positive": reward > 0}


def loss(params, arrays, change):
    off = predicted(params, arrays) - arrays["inputs/shared/target"]
    return {"loss/value": np.mean(off**2) * change.get("scale", 1.0)}


def gradients(params, arrays, change):
    x, z = arrays["inputs/shared/x"], latent(params, arrays)
    off = 2 * (z @ params["head/kernel"] - arrays["inputs/shared/target"]) / len(x) * change.get("scale", 1.0)
    # A stop-gradient that is left out, or one too many: through tanh or around it.
    slope = 1.0 if change.get("straight") else 1 - z**2
    behind = off @ params["head/kernel"].T * slope
    return {"head/kernel": z.T @ off, "encoder/kernel": x.T @ behind, "encoder/bias": behind.sum(0)}


def official(values):
    return {name: values[own].T if t else values[own] for name, (own, t) in MAPPING.items()}


def gradient(params, arrays, change):
    return {f"gradient/{k}": v for k, v in official(gradients(params, arrays, change)).items()}


def update(params, arrays, change):
    rate = LEARNING_RATE * change.get("rate", 1.0)
    moved = {k: params[k] - rate * g for k, g in gradients(params, arrays, change).items()}
    return {f"update/{k}": v for k, v in official(moved).items()}


def lockstep(params, arrays, change):
    """Three updates, one after the other."""
    found = {}
    for number in (1, 2, 3):
        rate = LEARNING_RATE * change.get("rate", 1.0) * (change.get("late", 1.0) if number == 3 else 1.0)
        params = {k: params[k] - rate * g for k, g in gradients(params, arrays, {}).items()}
        values = official(params)
        found |= {f"lockstep_initial/{number:03}/{k}": values[k] for k in ("enc.weight", "head.weight")}
    return found


COMPONENTS = {f.__name__: f for f in (environment, encoder, heads, loss, gradient, update)}


def perturbations(behaviour):
    rows = {
        "step_size": ("environment", "constant", "the step is 1 % longer", {"step": 1.01}),
        "kernel": ("encoder", "weight", "a weight is larger by a hundredth", {"encoder/kernel": 1.01}),
        "reward_kernel": ("heads", "weight", "a weight is larger by a thousandth", {"head/kernel": 1.001}),
        "loss_scale": ("loss", "constant", "the loss is 1 % larger", {"scale": 1.01}),
        "tanh": ("gradient", "stop_gradient", "the gradient passes tanh unchanged", {"straight": True}),
        "sign": ("heads", "constant", "rewards have the wrong sign", {"sign": -1.0}),
        "sum": ("gradient", "constant", "the loss is 1 % larger", {"scale": 1.01}),
        "rate": ("update", "constant", "the learning rate is 2 % higher", {"rate": 1.02}),
    }
    if behaviour == "blind":
        rows["reward_kernel"] = (*rows["reward_kernel"][:3], {"head/kernel": 1 + 1e-12})
        del rows["sign"]
    if behaviour == "half_blind":
        del rows["sign"]
    if "lockstep_initial" in COMPONENTS:
        rows["lockstep_rate"] = (
            "lockstep_initial",
            "constant",
            "the learning rate is 1 % higher",
            {"rate": 1.01},
        )
    many = {"large_perturbed": 200, "many_perturbations": 300}.get(behaviour, 0)
    rows |= {f"p{i}": rows["loss_scale"] for i in range(many)}
    if behaviour == "never_perturbed":
        del rows["loss_scale"]
    if behaviour == "perturbs_nothing_known":
        rows["odd"] = ("decoder", *rows["rate"][1:3], {})
        COMPONENTS["decoder"] = lambda *_: {"decoder/image": np.ones(2)}
    return rows


def changed(params, change):
    result = {k: v.copy() for k, v in params.items()}
    for name in result.keys() & change.keys():
        result[name].flat[0] *= change[name]
    return result


def early(behaviour, out, config):
    """What goes wrong before anything is written."""
    if behaviour == "crash":
        print("ValueError: the encoder has no weights", file=sys.stderr)
        sys.exit(3)
    if behaviour == "flaky" and not Path(config["until"]).exists():
        sys.exit("not yet")
    if behaviour == "hang":
        (out / "pid").write_text(str(os.getpid()))
        time.sleep(600)
    if behaviour == "waits":
        (out / "pid").write_text(str(os.getpid()))
    while behaviour == "waits" and not Path(config["until"]).exists():
        time.sleep(0.02)


def deliver(behaviour, out, outputs, perturbed, params):
    if behaviour == "wrong_heads":
        outputs["heads/reward"] = outputs["heads/reward"] * 1.001
    if behaviour == "wrong_and_blind":
        outputs["heads/reward"] = outputs["heads/reward"] * 1.001
        perturbed["reward_kernel/heads/reward"] = outputs["heads/reward"].copy()
    if behaviour == "wrong_from_encoder":
        for key in ("encoder/z", "heads/reward", "loss/value"):
            outputs[key] = outputs[key] + 0.01
    if behaviour == "nan":
        outputs["encoder/z"][0, 0] = np.nan
    if behaviour == "perturbed_nan":
        perturbed["kernel/encoder/z"][:] = np.nan
    if behaviour == "missing_output":
        del outputs["loss/value"]
    if behaviour == "extra_output":
        outputs["heads/second"] = np.ones(3)
    if behaviour == "unknown_output":
        outputs["decoder/image"] = np.ones(3)
    if behaviour == "other_shape":
        outputs["encoder/z"] = outputs["encoder/z"].T
    if behaviour == "pickle":
        outputs["loss/value"] = np.array([{"a": 1}], dtype=object)
    np.savez(out / "outputs.npz", **outputs)
    if behaviour == "large_perturbed":
        perturbed["p0/loss/value"] = np.zeros(8_000_000)
    np.savez_compressed(out / "perturbed.npz", **perturbed)
    if behaviour == "torn_npz":
        whole = (out / "outputs.npz").read_bytes()
        (out / "outputs.npz").write_bytes(whole[: len(whole) // 2])
    if behaviour != "no_match_json":
        text = json.dumps(document(behaviour, params))
        wire.write_atomic(out / "match.json", text[: len(text) // 2] if behaviour == "half_json" else text)


def document(behaviour, params):
    mapping = {name: own for name, (own, _) in MAPPING.items()}
    shapes = {name: list(p.shape) for name, p in params.items()}
    if behaviour == "unmapped":
        del mapping["enc.bias"]
    if behaviour == "mapped_twice":
        mapping["enc.bias"] = "encoder/kernel"
    if behaviour == "left_over":
        shapes["head/bias"] = [1]
    tree = "0" * 64 if behaviour == "other_tree" else wire.tree_sha256(HERE)
    return {
        "schema_version": "worldflux.parity.match.v1",
        "mapping": mapping,
        "parameters": shapes,
        "perturbations": [
            {"name": n, "component": c, "kind": kind, "what": what}
            for n, (c, kind, what, _) in perturbations(behaviour).items()
        ],
        "packages": {"numpy": np.__version__},
        "source": {"tree_sha256": tree},
    }


if __name__ == "__main__":
    main()
