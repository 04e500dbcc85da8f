"""The official TD-MPC2 (https://github.com/nicklashansen/tdmpc2), run from a checkout and observed.

    __main__.py   request -> run -> record
    recipe.py     our recipe <-> the official configuration
    observe.py    what is read off while the official train.py runs
    results.py    eval.csv and the files that a run leaves

Runs in the official program's own environment; the only module of ours that it imports is ``wire``.
"""

from pytest_worldflux_parity.wire.checkout import Change

ADAPTER = "official_tdmpc2_torch_subprocess"
REPOSITORY = "https://github.com/nicklashansen/tdmpc2"
TREE = (":tdmpc2",)  # the folder of the repository that holds train.py
PACKAGES = (
    "torch", "tensordict", "torchrl", "dm_control", "mujoco", "numpy", "gymnasium", "hydra-core",
    "omegaconf", "pandas",
)  # fmt: skip
# On a CPU a few places that insist on CUDA are changed in the copy, and only there.
CPU_CHANGES = (
    Change("train.py", "no assertion that there is CUDA", "assert torch.cuda.is_available()", "pass", 1),
    Change("tdmpc2.py", "the agent is on the CPU", "'cuda:0'", "'cpu'", 2),
    Change("tdmpc2.py", "Adam steps are not captured in a graph", "capturable=True", "capturable=False", 2),
    Change("common/buffer.py", "the replay is on the CPU", "'cuda:0'", "'cpu'", 2),
    Change("common/buffer.py", "no free CUDA memory is asked for", "torch.cuda.mem_get_info()", "(0, 0)", 1),
    Change("common/scale.py", "the running scale is on the CPU", "'cuda:0'", "'cpu'", 2),
)
