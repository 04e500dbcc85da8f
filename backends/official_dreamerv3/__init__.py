"""The official DreamerV3 (https://github.com/danijar/dreamerv3), run from a checkout and observed.

    __main__.py   request -> run -> record
    recipe.py     our recipe <-> the official configuration
    observe.py    what is read off while the official program runs
    results.py    scores.jsonl and the files that a run leaves

Runs in the official program's own environment; the only module of ours that it imports is ``wire``.
"""

ADAPTER = "official_dreamerv3_jax_subprocess"
REPOSITORY = "https://github.com/danijar/dreamerv3"
TREE = ("", "--", "dreamerv3", "embodied")  # the folders of the repository that are run, unchanged
PACKAGES = (
    "jax", "jaxlib", "optax", "chex", "ninjax", "elements", "portal", "numpy", "dm_control", "mujoco",
    "ale-py", "pillow",
)  # fmt: skip
