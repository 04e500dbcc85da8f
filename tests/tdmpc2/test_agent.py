"""The pieces of TD-MPC2 do what the paper and the official program say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="the extra `tdmpc2` is not installed")

import small
import torch
import torch.nn.functional as F

from backends.worldflux_tdmpc2 import activations, networks, optimiser, recipe
from backends.worldflux_tdmpc2.activations import TwoHot
from backends.worldflux_tdmpc2.agent import Agent, RunningScale
from backends.worldflux_tdmpc2.noise import dropout_scale
from backends.worldflux_tdmpc2.planner import Planner
from backends.worldflux_tdmpc2.replay import Replay

CPU = torch.device("cpu")
# Counted on the official WorldModel of size 1, 5, 19, 48 and 317 with walker-walk's 24 observations and
# 6 actions, dog-run's 223 and 38, and 64x64 pixels with 6 actions.
OFFICIAL_PARAMETERS = {
    ("size_1m", (24,), 6): 1_214_651,
    ("size_1m", (223,), 38): 1_339_387,
    ("proof_5m", (24,), 6): 4_960_618,
    ("proof_5m", (223,), 38): 5_159_082,
    ("proof_5m", (9, 64, 64), 6): 4_879_370,
    ("size_19m", (24,), 6): 18_062_442,
    ("size_48m", (24,), 6): 47_208_298,
    ("size_317m", (24,), 6): 312_595_417,
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


class TestTwoHot:
    two_hot = TwoHot(101, -10.0, 10.0, CPU)

    @given(st.floats(-22000, 22000, width=32))
    def test_a_scalar_survives_the_round_trip(self, x: float) -> None:
        index, share = self.two_hot.locate(torch.tensor([x]))
        weights = torch.zeros(101).scatter_add(0, index[0], share[0])
        back = activations.symexp(weights @ self.two_hot.bins)
        assert float(back) == pytest.approx(x, rel=1e-4, abs=1e-5)
        assert share.sum() == pytest.approx(1)
        assert int(index[0, 1]) == int(index[0, 0]) + 1 <= 100

    @pytest.mark.parametrize(("x", "edge"), [(1e9, 100), (-1e9, 0)])
    def test_what_lies_beyond_the_bins_is_put_into_the_last_one(self, x: float, edge: int) -> None:
        index, share = self.two_hot.locate(torch.tensor([x]))
        assert dict(zip(index[0].tolist(), share[0].tolist(), strict=True))[edge] == 1

    def test_cross_entropy_and_its_gradient_are_those_of_the_dense_form(self) -> None:
        logits = torch.randn(4, 3, 5, 101, dtype=torch.float64, requires_grad=True)
        x, weight = torch.randn(3, 5, dtype=torch.float64) * 9, torch.rand(3, 5, dtype=torch.float64)
        loss = self.two_hot.cross_entropy(logits, x, weight)
        index, share = self.two_hot.locate(x)
        dense = torch.zeros(3, 5, 101, dtype=torch.float64).scatter_add(-1, index, share)
        expected = -(dense * weight.unsqueeze(-1) * logits.log_softmax(-1)).sum()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
        (ours,) = torch.autograd.grad(3 * loss, logits)
        (theirs,) = torch.autograd.grad(3 * expected, logits)
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-12)

    def test_decode_is_the_symexp_of_the_mean_bin(self) -> None:
        logits = torch.full((101,), -1e9)
        logits[55] = 0.0  # the bin at 1.0 in symlog space
        assert float(self.two_hot.decode(logits)) == pytest.approx(math.e - 1, rel=1e-5)


class TestActivations:
    x = torch.cat([torch.linspace(-60, 60, 500, dtype=torch.float64), torch.randn(140, dtype=torch.float64)])

    def test_mish_is_torchs_with_and_without_gradient(self) -> None:
        torch.testing.assert_close(activations.mish(self.x), F.mish(self.x))
        x = self.x.clone().requires_grad_()
        (ours,) = torch.autograd.grad(activations.mish(x).sum(), x)
        (theirs,) = torch.autograd.grad(F.mish(x).sum(), x)
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)

    def test_simnorm_is_a_softmax_in_groups_with_its_gradient(self) -> None:
        x = self.x.view(-1, 16).clone().requires_grad_()
        ours, theirs = activations.simnorm(x, 8), F.softmax(x.view(-1, 2, 8), -1).view(x.shape)
        torch.testing.assert_close(ours, theirs)
        assert torch.equal(activations.simnorm(x.detach(), 8), ours.detach())
        torch.testing.assert_close(ours.view(-1, 8).sum(-1), torch.ones(len(self.x) // 8).double())
        upstream = torch.randn_like(x)
        torch.testing.assert_close(
            torch.autograd.grad(ours, x, upstream)[0], torch.autograd.grad(theirs, x, upstream)[0]
        )

    @pytest.mark.parametrize("scale", [100.0, 1e4])
    def test_large_inputs_stay_finite(self, scale: float) -> None:
        x = torch.tensor([-1.0, 1, 0.5, -1, -1, -1, -1, -1]) * scale
        assert activations.mish(x).isfinite().all()
        assert activations.simnorm(x, 4).view(2, 4).sum(-1).tolist() == [1, 1]


def test_running_scale_is_the_ema_of_numpys_percentile_range() -> None:
    rng = np.random.default_rng(0)
    scale, expected = RunningScale(0.1, 37, CPU), 1.0
    for spread in (0.1, 5.0, 20.0):
        values = rng.normal(0, spread, 37).astype(np.float32)
        low, high = np.percentile(values, [5, 95])
        expected += 0.1 * (max(1.0, high - low) - expected)
        scale.update(torch.from_numpy(values).unsqueeze(1))
        assert float(scale.value) == pytest.approx(expected, rel=1e-5)


class TestEnsemble:
    def test_it_equals_a_loop_over_separate_networks(self) -> None:
        torch.manual_seed(3)
        a = small.agent()
        q = networks.Ensemble([t.detach() + 0.3 * torch.randn_like(t) for t in a.q.tensors])
        x = torch.randn(7, 18)
        dropout = torch.rand(3, 7, 12)
        w0, b0, g0, o0, w1, b1, g1, o1, w2, b2 = q.tensors
        for scale in (None, dropout):
            for i, logits in enumerate(q(x, scale)):
                h = x @ w0[i] + b0[i]
                h = h if scale is None else h * scale[i]
                h = F.mish(F.layer_norm(h, (12,), g0[i, 0], o0[i, 0]))
                h = F.mish(F.layer_norm(h @ w1[i] + b1[i], (12,), g1[i, 0], o1[i, 0]))
                torch.testing.assert_close(logits, h @ w2[i] + b2[i], rtol=1e-4, atol=1e-5)

    def test_members_are_those_named(self) -> None:
        q, x = small.agent().q, torch.randn(5, 18)
        torch.testing.assert_close(q.members(torch.tensor([2, 0]))(x), q(x)[[2, 0]])

    def test_its_frozen_twin_shares_memory_and_passes_no_gradient_to_it(self) -> None:
        a = small.agent()
        x = torch.randn(5, 18, requires_grad=True)
        a.frozen_q.members(torch.tensor([0, 1]))(x).sum().backward()
        assert x.grad is not None
        assert all(p.grad is None for p in a.q.tensors)
        a.q.tensors[0].data.add_(1)
        assert torch.equal(a.q.tensors[0], a.frozen_q.tensors[0])


class TestInitialisation:
    def test_predictions_begin_at_zero_reward_and_equal_values_everywhere(self) -> None:
        a = small.agent()
        z, action = torch.rand(4, 16), torch.rand(4, 2)
        assert a.two_hot.decode(a.reward(torch.cat([z, action], -1))).abs().max() < 1e-5
        values = a.values(a.q, z, action)
        assert torch.equal(values, values[:, :1].expand_as(values))

    def test_the_target_begins_as_a_copy(self) -> None:
        a = small.agent()
        assert all(torch.equal(p, t) for p, t in zip(a.q.tensors, a.target_q.tensors, strict=True))
        assert not any(t.requires_grad for t in a.target_q.tensors)

    @pytest.mark.parametrize(("profile", "obs_shape", "action_dim"), OFFICIAL_PARAMETERS)
    def test_parameter_counts_are_the_official_ones(
        self, profile: str, obs_shape: tuple[int, ...], action_dim: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Counting needs shapes only: a gigabyte of random numbers would be drawn for nothing.
        monkeypatch.setattr(networks.torch.nn.init, "trunc_normal_", lambda t, std: t)
        chosen = recipe.parse_recipe(
            {"model_profile": profile, "obs": "rgb" if len(obs_shape) == 3 else "state"}
        )
        with torch.device("meta"):
            count = sum(p.numel() for n in _networks(chosen, obs_shape, action_dim) for p in n.parameters())
        assert count == OFFICIAL_PARAMETERS[profile, obs_shape, action_dim]


def _networks(chosen: recipe.Recipe, obs_shape: tuple[int, ...], action_dim: int) -> list[Any]:
    return [
        networks.build_encoder(chosen, obs_shape),
        *(
            build(chosen, action_dim)
            for build in (
                networks.build_dynamics,
                networks.build_reward,
                networks.build_policy,
                networks.build_ensemble,
            )
        ),
    ]


class TestReplay:
    @settings(deadline=None, max_examples=60)
    @given(
        lengths=st.lists(st.integers(1, 30), min_size=1, max_size=12),
        capacity=st.integers(31, 120),
        horizon=st.integers(1, 5),
    )
    def test_a_sub_trajectory_never_crosses_an_episode(
        self, lengths: list[int], capacity: int, horizon: int
    ) -> None:
        replay = Replay(capacity, (2,), torch.float32, 1, horizon + 1, CPU)
        for episode, n in enumerate(lengths):
            time = np.arange(n + 1)
            obs = np.stack([np.full(n + 1, episode), time], 1).astype(np.float32)
            replay.add(obs, time[1:, None].astype(np.float32), (100 * episode + time[1:]).astype(np.float32))
        # What the ring still holds: the newest observations, from the back.
        held, room = {}, capacity
        for episode in range(len(lengths) - 1, -1, -1):
            held[episode] = min(room, lengths[episode] + 1)
            room -= held[episode]
        usable = {e: n for e, n in held.items() if n > horizon}
        if not usable:
            with pytest.raises(ValueError, match="no episode"):
                replay.sample(4)
            return
        batch = replay.sample(64)
        episode, time = batch.obs.unbind(-1)
        assert torch.equal(episode, episode[:1].expand_as(episode))
        assert torch.equal(time, time[0] + torch.arange(horizon + 1).unsqueeze(1))
        assert torch.equal(batch.action[..., 0], time[1:])
        assert torch.equal(batch.reward, 100 * episode[1:] + time[1:])
        assert set(episode[0].int().tolist()) <= set(usable)
        first = {e: lengths[e] + 1 - n for e, n in usable.items()}
        assert all(t >= first[int(e)] for e, t in zip(episode[0].tolist(), time[0].tolist(), strict=True))

    def test_episodes_are_drawn_evenly_whatever_their_length(self) -> None:
        torch.manual_seed(0)
        replay = Replay(200, (1,), torch.float32, 1, 4, CPU)
        for value, n in ((0, 3), (1, 99)):
            obs = np.full((n + 1, 1), value, np.float32)
            replay.add(obs, np.zeros((n, 1), np.float32), np.zeros(n, np.float32))
        share = replay.sample(4000).obs[0].mean()
        assert 0.46 < share < 0.54, share

    def test_an_episode_larger_than_the_ring_is_refused(self) -> None:
        replay = Replay(5, (1,), torch.float32, 1, 4, CPU)
        with pytest.raises(ValueError, match="6 observations does not fit a replay of 5"):
            replay.add(np.zeros((6, 1), np.float32), np.zeros((5, 1), np.float32), np.zeros(5, np.float32))


class TestOptimiser:
    def test_adam_is_torchs(self) -> None:
        torch.manual_seed(0)
        ours = [torch.randn(4, 3), torch.randn(5)]
        theirs = [p.clone().requires_grad_() for p in ours]
        adam = optimiser.Adam([(ours[:1], 0.1), (ours[1:], 0.01)], eps=1e-5)
        reference = torch.optim.Adam(
            [{"params": theirs[:1], "lr": 0.1}, {"params": theirs[1:], "lr": 0.01}], eps=1e-5
        )
        for _ in range(5):
            gradients = [torch.randn_like(p) for p in ours]
            adam.step(gradients)
            for p, g in zip(theirs, gradients, strict=True):
                p.grad = g
            reference.step()
        for p, q in zip(ours, theirs, strict=True):
            torch.testing.assert_close(p, q.detach())

    @pytest.mark.parametrize("limit", [0.5, 100.0])
    def test_clip_limits_the_joint_norm_and_returns_the_one_before(self, limit: float) -> None:
        gradients = [torch.tensor([3.0]), torch.tensor([4.0])]
        assert float(optimiser.clip(gradients, limit)) == pytest.approx(5)
        assert float(torch.cat(gradients).norm()) == pytest.approx(min(limit, 5), rel=1e-5)


class TestDropout:
    def test_each_element_is_dropped_with_the_given_probability(self) -> None:
        torch.manual_seed(0)
        scale = dropout_scale((10, 100, 400), 0.05, CPU)
        dropped = (scale == 0).float()
        # Five standard errors, of the whole and of the first, last and neighbouring elements.
        assert abs(dropped.mean() - 0.05) < 5 * math.sqrt(0.05 * 0.95 / 400_000)
        for part in (dropped[0], dropped[-1]):
            assert abs(part.mean() - 0.05) < 5 * math.sqrt(0.05 * 0.95 / 40_000)
        pairs = (dropped[..., 1:] * dropped[..., :-1]).mean()
        assert abs(pairs - 0.05**2) < 5 * math.sqrt(0.05**2 / 399_000)
        assert scale.unique().tolist() == pytest.approx([0, 1 / 0.95])

    def test_the_first_and_last_element_can_be_dropped(self) -> None:
        torch.manual_seed(0)
        scales = torch.stack([dropout_scale((1, 1, 5), 0.5, CPU).flatten() for _ in range(400)])
        assert ((scales == 0).float().mean(0) - 0.5).abs().max() < 5 * 0.5 / math.sqrt(400)

    def test_none_is_drawn_where_nothing_is_dropped(self) -> None:
        assert dropout_scale((2, 3, 4), 0.0, CPU) is None


@pytest.mark.parametrize(
    ("episode_length", "expected"),
    [(500, 0.99), (50, 0.95), (10, 0.95), (5, 0.95), (1000, 0.995), (5000, 0.995)],
)
def test_discount_heuristic(episode_length: int, expected: float) -> None:
    assert recipe.discount(recipe.Recipe(), episode_length) == pytest.approx(expected)


def test_large_action_spaces_get_two_more_iterations() -> None:
    assert [recipe.planning_iterations(recipe.Recipe(), n) for n in (6, 19, 20, 38)] == [6, 6, 8, 8]


class TestPolicy:
    def test_entropies_follow_the_squashed_gaussian(self) -> None:
        a = small.agent()
        z, noise = torch.rand(50, 16), torch.randn(50, 2)
        action = a.act(z, noise)
        mean, raw = a.policy(z).chunk(2, -1)
        std = (-10 + 6 * (raw.tanh() + 1)).exp()
        normal = torch.distributions.Normal(mean, std)
        gaussian = normal.log_prob(mean + std * noise).sum(-1, keepdim=True)
        squash = torch.log(1 - action.sample.square() + 1e-6).sum(-1, keepdim=True)
        torch.testing.assert_close(action.entropy, squash - gaussian, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(action.scaled_entropy, -2 * gaussian, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(a.act_quickly(z, noise), action.sample)
        torch.testing.assert_close(action.mean, mean.tanh())


class TestPlanner:
    def plan(self, a: Agent, **kwargs: Any) -> tuple[Any, Any]:
        torch.manual_seed(1)
        planner = Planner(a)
        return planner.act(torch.randn(3), **{"first": True, "evaluate": True, **kwargs})

    def test_it_finds_the_action_that_the_model_rewards(self) -> None:
        a = small.agent(num_samples=200, iterations=5, num_elites=20)
        # A model whose reward is the first action, and whose Q-functions are equal everywhere.
        a.two_hot.decode = lambda logits: logits[..., 0]
        a.reward = lambda inputs: inputs[..., 16:17].expand(-1, 101)
        action, values = self.plan(a)
        assert action[0] > 0.9, action
        assert values[-1] > values[0]
        assert len(values) == 5

    def test_evaluation_leaves_out_the_noise_and_actions_are_bounded(self) -> None:
        a = small.agent()
        quiet, _ = self.plan(a)
        noisy, _ = self.plan(a, evaluate=False)
        assert not torch.equal(quiet, noisy)
        assert noisy.abs().max() <= 1

    def test_it_starts_from_the_plan_before_unless_the_episode_is_new(self) -> None:
        planner = Planner(small.agent(min_std=0.05, max_std=0.05, num_pi_trajs=0, iterations=1))
        planner._mean = torch.full((3, 2), 0.5)
        planner.act(torch.zeros(3), first=False, evaluate=True)
        assert (planner._mean[:2] - 0.5).abs().max() < 0.2
        assert planner._mean[2].abs().max() < 0.2
        planner._mean = torch.full((3, 2), 0.5)
        planner.act(torch.zeros(3), first=True, evaluate=True)
        assert planner._mean.abs().max() < 0.2

    def test_a_value_that_is_not_a_number_is_never_an_elite(self) -> None:
        a = small.agent()
        planner = Planner(a)
        estimate = planner.estimate_value

        def spoiled(*args: Any) -> Any:
            value = estimate(*args)
            value[0] = float("nan")
            return value + 100

        planner.estimate_value = spoiled
        action, _ = planner.act(torch.zeros(3), first=True, evaluate=True)
        assert action.isfinite().all()


class TestPixels:
    def test_a_shift_is_a_crop_of_the_image_padded_by_its_border(self) -> None:
        torch.manual_seed(0)
        image = torch.randint(0, 256, (1, 2, 64, 64), dtype=torch.uint8)
        padded = F.pad(image.float(), (3, 3, 3, 3), mode="replicate")[0]
        crops = {
            padded[:, r : r + 64, c : c + 64].numpy().tobytes(): (r, c) for r in range(7) for c in range(7)
        }
        seen = {
            crops[networks.random_shift(image, 3)[0].float().numpy().tobytes()] for _ in range(600)
        }  # a KeyError is a shift that is no crop
        assert len(seen) == 49

    def test_an_agent_of_pixels_learns_and_plans(self) -> None:
        chosen = small.recipe(obs="rgb", num_channels=1)
        a = Agent(chosen, (9, 64, 64), 2, 500, CPU)
        batch = small.replay().sample(6)
        batch = batch._replace(obs=torch.randint(0, 256, (4, 6, 9, 64, 64), dtype=torch.uint8))
        statistics = a.update(batch)
        assert all(v.isfinite() for v in statistics.values())
        action, _ = Planner(a).act(batch.obs[0, 0], first=True, evaluate=True)
        assert action.shape == (2,)


class TestUpdate:
    def test_a_batch_is_learned(self) -> None:
        a = small.agent(lr=1e-2, dropout=0.0)
        batch = small.replay().sample(6)
        losses = [float(a.update(batch)["total_loss"]) for _ in range(60)]
        assert losses[-1] < 0.75 * losses[0], losses[::20]

    def test_the_target_follows_by_tau(self) -> None:
        a = small.agent(tau=0.25)
        before = [t.clone() for t in a.target_q.tensors]
        a.update(small.replay().sample(6))
        for old, new, q in zip(before, a.target_q.tensors, a.q.tensors, strict=True):
            torch.testing.assert_close(new, old + 0.25 * (q.detach() - old))

    def test_statistics_are_the_official_ones(self) -> None:
        names = set(small.agent().update(small.replay().sample(6)))
        assert names == {
            *("consistency_loss", "reward_loss", "value_loss", "total_loss", "grad_norm"),
            *("pi_loss", "pi_grad_norm", "pi_entropy", "pi_scaled_entropy", "pi_scale"),
        }
