"""What a batch promises: which sequences, how often, in which order, with which marks and latents."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from backends.worldflux_dreamerv3.replay import Replay

LENGTH, CONTEXT = 5, 1


def replay(**changes: Any) -> Replay:
    """A small replay."""
    settings: dict[str, Any] = {
        "length": LENGTH, "context": CONTEXT, "capacity": 1000, "envs": 2, "online": False, "seed": 0
    }  # fmt: skip
    return Replay(**{**settings, **changes})


def entry(t: int, envs: int = 2, episode: int = 7) -> dict[str, np.ndarray]:
    """Entry ``t`` of every environment; its value says where it is from."""
    return {
        "value": 1000 * np.arange(envs) + t,
        "image": np.full((envs, 2, 2, 3), t % 256, np.uint8),
        "is_first": np.full(envs, t % episode == 0),
        "is_last": np.full(envs, t % episode == episode - 1),
        "dyn/deter": np.full((envs, 3), t, np.float32),
    }


def add(memory: Replay, t: int) -> None:
    """Add entry ``t`` of every environment."""
    memory.write(entry(t, memory.envs))
    for _ in range(memory.envs):
        memory.admit()


def filled(entries: int, **changes: Any) -> Replay:
    """A replay that so many entries of each environment went through."""
    memory = replay(**changes)
    for t in range(entries):
        add(memory, t)
    return memory


def starts(memory: Replay, draws: int) -> Counter[int]:
    """How often each first value was drawn."""
    return Counter(memory.sample(draws)["value"][:, 0].tolist())


def test_a_sequence_is_consecutive_and_of_one_environment() -> None:
    batch = filled(40).sample(64)
    first = batch["value"][:, :1]
    np.testing.assert_array_equal(batch["value"], first + np.arange(LENGTH))
    assert {int(v) // 1000 for v in first[:, 0]} == {0, 1}
    np.testing.assert_array_equal(batch["image"][..., 0, 0, 0], batch["value"] % 1000)


def test_sequences_count_as_soon_as_they_are_whole() -> None:
    memory = replay()
    for t in range(LENGTH - 1):
        add(memory, t)
    assert len(memory) == 0
    with pytest.raises(LookupError, match="no sequence yet"):
        memory.sample(1)
    memory.write(entry(LENGTH - 1))
    memory.admit()
    assert len(memory) == 1
    assert starts(memory, 10) == {0: 10}
    memory.admit()
    assert starts(memory, 50).keys() == {0, 1000}


def test_flags_mark_the_beginning_of_a_sequence_and_the_end_of_an_episode_cut_short() -> None:
    memory = filled(40)
    memory._data["is_last"][:] = False  # as if every episode had been abandoned
    batch = memory.sample(200)
    t = batch["value"] % 1000
    begins = t % 7 == 0
    np.testing.assert_array_equal(batch["is_first"][:, 1:], begins[:, 1:])
    assert batch["is_first"][:, 0].all()
    np.testing.assert_array_equal(batch["is_last"][:, :-1], begins[:, 1:])
    assert not batch["is_last"][:, -1].any()
    # What is stored is not what was marked.
    assert memory._data["is_first"][:80].sum() == 2 * len(range(0, 40, 7))


def test_latents_are_given_for_the_context_and_the_rest_for_all_entries() -> None:
    batch = filled(40, context=2).sample(3)
    assert batch["dyn/deter"].shape == (3, 2, 3)
    np.testing.assert_array_equal(batch["dyn/deter"][..., 0], batch["value"][:, :2] % 1000)
    assert batch["image"].shape == (3, LENGTH, 2, 2, 3)
    assert batch["consec"].dtype == np.int32
    assert not batch["consec"].any()
    assert batch["stepid"].shape == (3, LENGTH, 20)
    assert batch["stepid"].dtype == np.uint8


def test_every_entry_has_its_own_stepid() -> None:
    batch = filled(40).sample(300)
    by_value: dict[int, bytes] = {}
    for value, stepid in zip(batch["value"].ravel(), batch["stepid"].reshape(-1, 20), strict=True):
        assert by_value.setdefault(int(value), stepid.tobytes()) == stepid.tobytes()
    assert len(set(by_value.values())) == len(by_value) == 80


def test_draws_are_uniform_over_all_sequences() -> None:
    memory = filled(30)
    count = Counter[int]()
    for _ in range(40):
        count += starts(memory, 500)
    assert len(count) == len(memory) == 2 * (30 - LENGTH + 1)
    expected = 20000 / len(memory)
    chi_square = sum((n - expected) ** 2 / expected for n in count.values())
    assert chi_square < 51 + 5 * np.sqrt(2 * 51), "five standard deviations above its mean"


def test_the_oldest_sequences_are_forgotten() -> None:
    memory = filled(100, capacity=21)
    assert len(memory) == 21
    last = 100 - LENGTH
    kept = {e * 1000 + t for t in range(last - 10, last + 1) for e in (0, 1)} - {last - 10}
    assert starts(memory, 2000).keys() == kept
    batch = memory.sample(100)
    np.testing.assert_array_equal(batch["value"], batch["value"][:, :1] + np.arange(LENGTH))


@pytest.mark.parametrize("envs", [1, 3])
def test_fresh_sequences_go_out_once_in_order_and_do_not_overlap(envs: int) -> None:
    """Official: the first begins at the second entry of its environment, the next where it ends."""
    memory = replay(envs=envs, online=True)
    seen: list[int] = []
    for t in range(23):
        add(memory, t)
        if t % LENGTH == 0 and t > 0:
            seen += memory.sample(envs)["value"][:, 0].tolist()
    assert seen == [1000 * e + start for start in (1, 6, 11, 16) for e in range(envs)]


def test_a_fresh_sequence_that_was_forgotten_is_left_out() -> None:
    memory = filled(200, capacity=10, online=True)
    assert min(starts(memory, 20)) >= 200 - LENGTH - 5


def test_without_the_online_queue_nothing_is_served_first() -> None:
    assert len(starts(filled(40), 20)) > 10


def test_new_latents_replace_the_stored_ones_of_exactly_their_entries() -> None:
    memory = filled(40)
    batch = memory.sample(1)
    new = np.arange(100, 100 + LENGTH - CONTEXT, dtype=np.float32)[None, :, None].repeat(3, axis=2)
    # As bits: what was never written may hold NaN, which differs from itself.
    bits = memory._data["dyn/deter"].view(np.uint32)
    before = bits.copy()
    memory.update(batch["stepid"][:, CONTEXT:], {"dyn/deter": new})
    changed = np.flatnonzero((bits != before).any(axis=1))
    values = memory._data["value"][changed]
    assert sorted(values.tolist()) == batch["value"][0, CONTEXT:].tolist()
    np.testing.assert_array_equal(np.sort(memory._data["dyn/deter"][changed, 0]), new[0, :, 0])


def test_the_later_sequence_of_a_batch_decides_where_two_overlap() -> None:
    memory = filled(LENGTH + 1, envs=1)
    stepid = memory.sample(40)
    order = np.argsort(stepid["value"][:, 0], kind="stable")[[0, -1]]
    pair = stepid["stepid"][order]
    latents = np.stack([np.full((LENGTH, 3), n, np.float32) for n in (50, 60)])
    memory.update(pair, {"dyn/deter": latents})
    assert memory._data["dyn/deter"][:6, 0].tolist() == [50, 60, 60, 60, 60, 60]
    memory.update(pair[::-1], {"dyn/deter": latents})
    assert memory._data["dyn/deter"][:6, 0].tolist() == [60, 60, 60, 60, 60, 50]


def test_latents_of_forgotten_entries_are_dropped() -> None:
    memory = filled(20, capacity=10)
    batch = memory.sample(4)
    for t in range(20, 60):
        add(memory, t)
    before = memory._data["dyn/deter"].copy()
    memory.update(batch["stepid"], {"dyn/deter": np.full((4, LENGTH, 3), -1, np.float32)})
    np.testing.assert_array_equal(memory._data["dyn/deter"], before)


@pytest.mark.parametrize("capacity", [12, 1000])
def test_a_restored_replay_goes_on_like_the_one_it_was_taken_of(capacity: int) -> None:
    memory = filled(33, capacity=capacity, online=True)
    copy = replay(capacity=capacity, online=True, seed=99)
    copy.restore({key: value.copy() for key, value in memory.snapshot()})
    for t in range(33, 50):
        for one in (memory, copy):
            add(one, t)
        ours, theirs = memory.sample(6), copy.sample(6)
        assert ours.keys() == theirs.keys()
        for key in ours:
            np.testing.assert_array_equal(ours[key], theirs[key])


def test_no_more_memory_is_reserved_than_a_run_can_fill() -> None:
    memory = replay(capacity=5_000_000, most_rows=80)
    for t in range(40):
        add(memory, t)
    assert len(memory._data["value"]) == 82
    np.testing.assert_array_equal(
        np.sort(memory._data["value"][:80]), np.sort([*range(40), *range(1000, 1040)])
    )
