"""Reading eval.csv: strictly, at its one path."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.official_tdmpc2 import results
from pytest_worldflux_parity.wire import CurvePoint, Refused


def written(tmp_path, text):
    path = tmp_path / "eval.csv"
    path.write_bytes(text.encode())
    return path


def test_steps_become_frames(tmp_path):
    path = written(tmp_path, "step,episode_reward\n0.0,337.2\n3000.0,299.5\n")
    assert results.read_curve(path, [0, 3000]) == (CurvePoint(0, 337.2), CurvePoint(6000, 299.5))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "absent or empty"),
        ("step,episode_reward\n", r"steps \[\], expected \[0, 3000\]"),
        ("step,episode_reward\n0.0,1.0\n3000.0,29", r":3: torn"),
        ("step,episode_reward\n0.0,1.0\n3000.0", r":3: torn"),
        ("step,episode_reward\n0.0,1.0\n3000.0\n", r":3: .* is not a step and a reward"),
        ("step,episode_reward\n0.0,1.0\n3000.0,\n", r":3: .* is not a step and a reward"),
        ("step,episode_reward\n0.0,nan\n3000.0,1\n", r":2: .* finite"),
        ("step,episode_reward\n0.0,1e400\n3000.0,1\n", r":2: .* finite"),
        ("step,episode_reward\n0.5,1\n3000.0,1\n", r":2: .* whole step"),
        ("step,episode_reward\n0.0,1\n", r"steps \[0\], expected \[0, 3000\]"),
        ("step,episode_reward\n0.0,1\n3000.0,1\n6000.0,1\n", "expected"),
        ("step,episode_reward\n3000.0,1\n0.0,1\n", "expected"),
        ("step,episode_success\n0.0,1\n", "columns"),
        ("0.0,1\n3000.0,1\n", "columns"),
    ],
)
def test_a_file_that_is_not_whole_and_as_expected_is_refused(tmp_path, text, match):
    with pytest.raises(Refused, match=match):
        results.read_curve(written(tmp_path, text), [0, 3000])


def test_an_absent_file_is_refused_even_when_another_runs_file_is_near(tmp_path):
    (tmp_path / "other").mkdir()
    written(tmp_path / "other", "step,episode_reward\n0.0,1.0\n")
    with pytest.raises(Refused, match="absent or empty"):
        results.read_curve(tmp_path / "eval.csv", [0])


def test_the_path_is_fixed_by_task_and_seed():
    path = results.find_log_dir(Path("run"), "dog-run", 3)
    assert path == Path("run/logs/dog-run/3/parity")


@pytest.mark.parametrize(
    ("steps", "every", "due"),
    [
        (3000, 3000, [0, 3000]),
        (5000, 2500, [0, 2500, 5000]),
        (3499, 3000, [0, 3000]),
        (3000, 700, [0, 1000, 1500, 2500, 3000]),
        (2999, 3000, [0]),
        (1000, 1, [0, 500, 1000]),
    ],
)
def test_evaluations_wait_for_the_end_of_an_episode(steps, every, due):
    assert results.list_evaluation_steps({"steps": steps, "eval_freq": every, "episode_length": 500}) == due


@given(st.integers(1, 400), st.integers(1, 60), st.integers(1, 30))
def test_evaluations_never_outnumber_intervals_nor_episodes(steps, every, length):
    due = results.list_evaluation_steps({"steps": steps, "eval_freq": every, "episode_length": length})
    assert due[0] == 0
    assert all(step % length == 0 and step <= steps for step in due)
    assert len(due) <= min(steps // every, steps // length) + 1
