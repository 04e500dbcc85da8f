"""The 11 tasks that TD-MPC2 adds to the DeepMind Control Suite, as differences from tasks of that suite.

Source of the behaviour: TD-MPC2 (Hansen, Su, Wang 2024), appendix on DMControl, and the official
``tdmpc2/envs/tasks``. A custom task keeps observations and, but for ``cup-spin``, initial states of the
suite task that it starts from, so a `Variant` names only what it replaces: the reward, the model, the
start. The physics argument of all functions here is that domain's ``dm_control.mujoco.Physics``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from xml.etree import ElementTree

from dm_control.utils.rewards import tolerance

from .models import lengthen_floor, split_upper_arm

Physics = Any  # dm_control is not typed

CHEETAH_UPRIGHT_HEIGHT = 1.2  # metres, of torso and feet
CHEETAH_RUN_SPEED = 10.0  # metres per second, as in cheetah-run
WALKER_STAND_HEIGHT = 1.2
HOPPER_STAND_HEIGHT = 0.6


@dataclass(frozen=True)
class Variant:
    """A custom task.

    Attributes:
        base: name of the suite's task, of the same domain, that supplies all that is not replaced.
        reward: physics -> reward of one control step, in [0, 1]; None keeps the base's.
        edit_model: changes the MJCF tree of the base's model in place; None keeps the model.
        place: (random, physics) -> None, sets the initial state; None keeps the base's.
    """

    base: str
    reward: Callable[[Physics], float] | None = None
    edit_model: Callable[[ElementTree.Element], None] | None = None
    place: Callable[[Any, Physics], None] | None = None


# Rewards. `_at_least` and its like name the three shapes of tolerance() that the tasks are made of.


def _at_least(x: float, bound: float, margin: float, **shape: Any) -> float:
    return tolerance(x, bounds=(bound, math.inf), margin=margin, **shape)


def _at_most(x: float, bound: float, margin: float, **shape: Any) -> float:
    return tolerance(x, bounds=(-math.inf, bound), margin=margin, **shape)


_LINEAR_TO_ZERO = {"sigmoid": "linear", "value_at_margin": 0}
_LINEAR_TO_HALF = {"sigmoid": "linear", "value_at_margin": 0.5}


def cheetah_run_backwards(physics: Physics) -> float:
    """1 from 8 m/s backwards on, falling linearly to 0 at rest."""
    target = 0.8 * CHEETAH_RUN_SPEED
    return _at_most(physics.speed(), -target, margin=target, **_LINEAR_TO_ZERO)


def _height(physics: Physics, body: str) -> float:
    return physics.named.data.xpos[body, "z"]


def _cheetah_raised(height: float) -> float:
    return _at_least(height, CHEETAH_UPRIGHT_HEIGHT, margin=CHEETAH_UPRIGHT_HEIGHT / 2)


def cheetah_jump(physics: Physics) -> float:
    """Torso and both feet 1.2 m up (weight 5 of 6) without moving faster than 0.5 m/s (weight 1 of 6)."""
    torso = _height(physics, "torso")
    raised = sum(_cheetah_raised((torso + _height(physics, foot)) / 2) for foot in ("bfoot", "ffoot")) / 2
    in_place = tolerance(physics.speed(), bounds=(-0.5, 0.5), margin=0.5, **_LINEAR_TO_ZERO)
    return (5 * raised + in_place) / 6


def cheetah_run_on_one_foot(physics: Physics, raised_foot: str) -> float:
    """Torso and `raised_foot` ("ffoot" or "bfoot") 1.2 m up, times speed: 6 m/s forwards gives all of it."""
    foot, torso = (_cheetah_raised(_height(physics, body)) for body in (raised_foot, "torso"))
    target = 0.6 * CHEETAH_RUN_SPEED
    moving = _at_least(physics.speed(), target, margin=target, **_LINEAR_TO_ZERO)
    return (3 * foot + 2 * torso) / 5 * (5 * moving + 1) / 6


def walker_backwards(physics: Physics, speed: float) -> float:
    """The suite's walker reward, with `speed` (m/s) wanted in the other direction."""
    standing = _at_least(physics.torso_height(), WALKER_STAND_HEIGHT, margin=WALKER_STAND_HEIGHT / 2)
    upright = (1 + physics.torso_upright()) / 2
    moving = _at_most(physics.horizontal_velocity(), -speed, margin=speed / 2, **_LINEAR_TO_HALF)
    return (3 * standing + upright) / 4 * (5 * moving + 1) / 6


def hopper_hop_backwards(physics: Physics) -> float:
    """Standing height times speed: half the speed of hopper-hop (1 m/s), backwards, gives all of it."""
    standing = tolerance(physics.height(), bounds=(HOPPER_STAND_HEIGHT, 2))
    return standing * _at_most(physics.speed(), -1.0, margin=0.5, **_LINEAR_TO_HALF)


def pendulum_spin(physics: Physics) -> float:
    """1 from 9 rad/s on in either direction, falling linearly to 0.5 at 4.5 rad/s and to 0 at rest."""
    return _at_least(abs(physics.named.data.qvel["hinge"][0]), 9.0, margin=4.5, **_LINEAR_TO_HALF)


def cup_spin(physics: Physics) -> float:
    """Ball outside the cup, 0.5 m from the target (weight 1 of 3) and at 6 m/s (weight 2 of 3)."""
    distance = math.hypot(*physics.ball_to_target())
    speed = math.hypot(*physics.named.data.qvel[["ball_x", "ball_z"]])
    far = _at_least(distance, 0.5, margin=0.25, **_LINEAR_TO_HALF)
    fast = _at_least(speed, 6.0, margin=3.0, **_LINEAR_TO_HALF)
    return (1 - physics.in_target()) * (far + 2 * fast) / 3


# Initial states.


def place_ball_in_cup(random: Any, physics: Physics) -> None:
    """Puts the ball where it touches nothing and, in nine episodes of ten, inside the cup.

    random: the task's ``numpy.random.RandomState``; one draw decides about the cup, then two a try.
    """
    anywhere = random.uniform() < 0.1
    while True:
        physics.named.data.qpos["ball_x"] = random.uniform(-0.2, 0.2)
        physics.named.data.qpos["ball_z"] = random.uniform(0.2, 0.5)
        physics.after_reset()
        if physics.data.ncon == 0 and (anywhere or physics.in_target()):
            return


_long_ground = partial(lengthen_floor, floor="ground", half_length="200")
_long_floor = partial(lengthen_floor, floor="floor", half_length="500")

VARIANTS: Mapping[str, Variant] = {
    "cheetah-jump": Variant("run", cheetah_jump, _long_ground),
    "cheetah-run-back": Variant("run", partial(cheetah_run_on_one_foot, raised_foot="ffoot"), _long_ground),
    "cheetah-run-backwards": Variant("run", cheetah_run_backwards, _long_ground),
    "cheetah-run-front": Variant("run", partial(cheetah_run_on_one_foot, raised_foot="bfoot"), _long_ground),
    "cup-spin": Variant("catch", cup_spin, place=place_ball_in_cup),
    "hopper-hop-backwards": Variant("hop", hopper_hop_backwards),
    "pendulum-spin": Variant("swingup", pendulum_spin),
    "reacher-three-easy": Variant("easy", edit_model=split_upper_arm),
    "reacher-three-hard": Variant("hard", edit_model=split_upper_arm),
    "walker-run-backwards": Variant("run", partial(walker_backwards, speed=8.0), _long_floor),
    "walker-walk-backwards": Variant("walk", partial(walker_backwards, speed=1.0), _long_floor),
}
