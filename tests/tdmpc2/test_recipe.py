"""A recipe is run as it is written, or refused in one line that says what to change."""

from __future__ import annotations

from typing import Any

import pytest
import small

from backends.worldflux_tdmpc2.recipe import Recipe, RecipeError, effective_recipe, parse_recipe


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"num_elite": 8}, "did you mean 'num_elites'?"),
        ({"lr": "3e-4"}, "recipe.lr is '3e-4'; valid: a float"),
        ({"compile": "false"}, "recipe.compile is 'false'; valid: a bool"),
        ({"mpc": 1}, "recipe.mpc is 1; valid: a bool"),
        ({"steps": True}, "recipe.steps is True; valid: a int"),
        ({"steps": 3000.5}, "recipe.steps is 3000.5"),
        ({"steps": 0}, "valid: 1 or more"),
        ({"rho": 1.5}, "recipe.rho is 1.5; valid: 0 to 1"),
        ({"dropout": 1.0}, "recipe.dropout is 1.0"),
        ({"lr": float("nan")}, "a finite number"),
        ({"obs": "pixels"}, "supported here: state, rgb"),
        ({"num_elites": 600}, "num_elites (600) must not exceed num_samples (512)"),
        ({"num_pi_trajs": 600}, "num_pi_trajs (600) must not exceed"),
        ({"simnorm_dim": 7}, "latent_dim (512) must be a multiple of simnorm_dim (7)"),
        ({"vmin": 10.0}, "vmin (10.0) must be below vmax (10.0)"),
        ({"min_std": 3}, "min_std (3.0) must not exceed"),
        ({"num_q": 1}, "model_profile 'proof_5m' has 5"),
        ({"mlp_dim": 256}, "model_profile 'proof_5m' has 512"),
        ({"model_profile": "size_5m"}, "valid: size_1m, proof_5m, size_19m, size_48m, size_317m, custom"),
        ({"model_profile": "custom", "enc_dim": 8}, "also needs: mlp_dim, latent_dim, num_enc_layers, num_q"),
        ({"model_profile": "size_1m", "obs": "rgb"}, "to be 16 * num_channels"),
    ],
)
def test_a_mistake_is_refused_in_one_line(given: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(given)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_default_is_the_official_configuration_of_5m() -> None:
    assert parse_recipe({}) == Recipe()
    assert parse_recipe({"model_profile": "proof_5m", "num_q": 5}) == Recipe()


def test_a_profile_sets_its_sizes() -> None:
    r = parse_recipe({"model_profile": "size_317m"})
    assert (r.enc_dim, r.mlp_dim, r.latent_dim, r.num_enc_layers, r.num_q) == (4096, 4096, 1376, 5, 8)


def test_the_effective_recipe_has_every_key_and_the_derived_ones() -> None:
    effective = effective_recipe(small.recipe(), (223,), 38, 500)
    derived = {"discount": 0.99, "seed_steps": 2500, "episode_length": 500, "obs_shape": [223]}
    derived |= {"action_dim": 38, "action_repeat": 2, "iterations": 4}
    assert {k: effective[k] for k in derived} == derived
    assert effective.keys() == vars(Recipe()).keys() | derived.keys()
    assert type(parse_recipe({"grad_clip_norm": 20}).grad_clip_norm) is float
