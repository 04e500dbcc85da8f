"""Reading scores.jsonl: strictly, and against what the logger got."""

from __future__ import annotations

import pytest

from backends.official_dreamerv3 import results
from pytest_worldflux_parity.wire import CurvePoint, Refused

LOGGED = [(40, 1.5), (80, -2.0)]
GOOD = '{"step": 40, "episode/score": 1.5}\n{"step": 80, "episode/score": -2.0}\n'


def written(tmp_path, text):
    path = tmp_path / "scores.jsonl"
    path.write_bytes(text.encode())
    return path


def test_each_finished_episode_is_a_point(tmp_path):
    assert results.read_curve(written(tmp_path, GOOD), LOGGED) == (CurvePoint(40, 1.5), CurvePoint(80, -2.0))


def test_episodes_that_end_at_one_step_are_their_mean(tmp_path):
    text = GOOD + '{"step": 80, "episode/score": 4.0}\n'
    curve = results.read_curve(written(tmp_path, text), [*LOGGED, (80, 4.0)])
    assert curve == (CurvePoint(40, 1.5), CurvePoint(80, 1.0))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "absent or empty, and 2 episodes ended"),
        (GOOD[:-1], r":2: torn"),
        (GOOD[:-9] + "\n", r":2: .* is not a step and a score"),
        (GOOD.replace("1.5", "NaN"), r":1: .* finite"),
        (GOOD.replace("1.5", "1e400"), r":1: .* finite"),
        (GOOD.replace("40", "40.5"), r":1: .* whole step"),
        (GOOD.replace("episode/score", "score"), r":1: .* is not a step and a score"),
        (GOOD.replace("1.5", "1.6"), "the logger got"),
        (GOOD.splitlines(keepends=True)[0], "the logger got"),
        (GOOD + GOOD, "the logger got"),
        ("[]\n", "is not a step and a score"),
    ],
)
def test_a_file_that_is_not_whole_and_as_logged_is_refused(tmp_path, text, match):
    with pytest.raises(Refused, match=match):
        results.read_curve(written(tmp_path, text), LOGGED)


def test_a_run_without_a_finished_episode_has_no_score(tmp_path):
    with pytest.raises(Refused, match=r"no episode ended within run.steps"):
        results.read_curve(tmp_path / "none.jsonl", [])
