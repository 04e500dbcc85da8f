"""How these tests compile."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator

import pytest

# As the match program does it (match.prepare_jax): compiling is most of what these tests take, and how
# fast the result runs does not matter.
QUICKLY = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_use_fusion_emitters=false",
)


@pytest.fixture(scope="package", autouse=True)
def _compiled_quickly() -> Iterator[None]:
    """Little is optimised, and what an earlier session compiled is loaded, as our programs do."""
    with pytest.MonkeyPatch.context() as patch:
        # XLA reads its flags once, when the first of these tests needs it.
        patch.setenv("XLA_FLAGS", " ".join([os.environ.get("XLA_FLAGS", ""), *QUICKLY]).strip())
        if importlib.util.find_spec("jax"):
            from backends.worldflux_dreamerv3 import compilation

            compilation.enable()
        yield
