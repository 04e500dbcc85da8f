"""What is compiled quickly: runs too short to repay better code, and the same numbers either way."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import numpy as np
import pytest
import tiny

from backends.worldflux_dreamerv3 import compilation

SHORT = {"run__steps": 500, "run__train_ratio": 16}
# What XLA does by itself, which the flags of these tests change.
WELL = {
    "xla_cpu_use_fusion_emitters": True,
    "xla_backend_optimization_level": 3,
    "xla_llvm_disable_expensive_passes": False,
}


def test_a_short_run_of_small_networks_is_compiled_quickly() -> None:
    assert tiny.agent(**SHORT).compiler_options == compilation.QUICK


@pytest.mark.parametrize(
    ("recipe", "parameters"),
    [
        ({**SHORT, "run__steps": 10**9}, 10**5),
        (SHORT, 10**8),
        ({**SHORT, "agent__imag_length": 10**6}, 10**5),
    ],
    ids=["long", "large", "much imagined"],
)
def test_a_run_that_repays_it_is_compiled_well(recipe: dict[str, int], parameters: int) -> None:
    assert compilation.choose_options(tiny.recipe(**recipe), parameters) == {}


@pytest.fixture
def least_compiled() -> Iterator[None]:
    """JAX is told to leave optimisations out."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.usefixtures("least_compiled")
def test_who_asks_for_no_optimisation_gets_none() -> None:
    assert compilation.choose_options(tiny.recipe(**SHORT), 1) == {}


def test_the_quick_program_computes_what_the_other_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """One policy step: every action and latent, to float32's rounding."""
    quick = tiny.agent(**SHORT)
    assert tiny.agent().compiler_options == {}
    monkeypatch.setattr(compilation, "choose_options", lambda recipe, parameters: WELL)
    other = tiny.agent()
    assert (quick.compiler_options, other.compiler_options) == (compilation.QUICK, WELL)
    obs = {key: np.full((2, *space.shape), 0.5, space.dtype) for key, space in tiny.OBSERVATIONS.items()}
    key = np.array([3, 4], np.uint32)
    found = [a.policy(a.init_state(0).params, a.initial_carry(2), obs, key)[1:] for a in (quick, other)]
    for one, two in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)
