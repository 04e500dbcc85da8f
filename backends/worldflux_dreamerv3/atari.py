"""Atari games as the official ``embodied/envs/atari.py`` shows them to the agent.

Kept as the official program has it, because it decides what the agent sees:

- An action is repeated ``repeat`` times; the image is the pixelwise maximum of the last two frames,
  resized by Pillow. An episode that ends within the repeats shows the frames drawn so far.
- The first image of an episode is not of that episode: it is the last frame of the one before, so the first
  episode begins with a black image.
- Whatever ended an episode, its length of 108,000 frames included, the last step is terminal.
- ``sticky: False`` has no effect: the setting reaches the emulator after the game was loaded, which is too
  late (ale-py 0.9.0 and 0.11.2), so an action sticks with the emulator's default probability of 0.25.

The official program leaves its environments without a seed. Ours are seeded, so that a run can be
repeated; given the same seed both programs' environments do the same, frame by frame.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .recipe import Atari100k
from .spaces import BOOKKEEPING, Space

GAMES: tuple[str, ...] = (
    "alien", "amidar", "assault", "asterix", "bank_heist", "battle_zone", "boxing", "breakout",
    "chopper_command", "crazy_climber", "demon_attack", "freeway", "frostbite", "gopher", "hero",
    "jamesbond", "kangaroo", "krull", "kung_fu_master", "ms_pacman", "pong", "private_eye", "qbert",
    "road_runner", "seaquest", "up_n_down",
)  # fmt: skip
LONGEST_EPISODE = 108_000  # frames
POOLED_FRAMES = 2
LUMINANCE = np.array([0.299, 0.587, 1 - (0.299 + 0.587)])  # of red, green, blue
NOOP, FIRE, UP = 0, 1, 2


class Atari:
    """One game.

    Args:
        game: one of `GAMES`.
        settings: the official ``env.atari100k``.
        seed: of the emulator and of the number of no-ops before each episode.
    """

    backend = "ale"

    def __init__(self, game: str, settings: Atari100k, seed: int) -> None:
        self.repeat = settings.repeat
        self._settings = settings
        self._random = np.random.default_rng(seed)
        self._ale = _load(game, int(self._random.integers(0, 2**31)))
        needed = settings.actions == "needed"
        self._actions = self._ale.getMinimalActionSet() if needed else self._ale.getLegalActionSet()
        height, width = self._ale.getScreenDims()
        self._frames = np.zeros((POOLED_FRAMES, height, width, 3), np.uint8)
        self._newest = 0
        self._lives = self._age = 0
        self._begun, self._taken = self._before_episode(), list[int]()

    @property
    def obs_space(self) -> dict[str, Space]:
        """The image and what every environment has."""
        shape = (*self._settings.size, 1 if self._settings.gray else 3)
        return {"image": Space(shape, np.dtype(np.uint8), 0, 255), **BOOKKEEPING}

    @property
    def act_space(self) -> dict[str, Space]:
        """One of n actions."""
        n = len(self._actions)
        return {"action": Space((), np.dtype(np.int32), 0, n, n)}

    def reset(self) -> dict[str, Any]:
        """Begin an episode."""
        self._begun, self._taken = self._before_episode(), []
        self._ale.reset_game()
        for _ in range(self._random.integers(self._settings.noops + 1)):
            self._act_before_start(NOOP)
        if self._settings.autostart and FIRE in [int(a) for a in self._actions]:
            self._act_before_start(FIRE)
            self._act_before_start(UP)
        if self._settings.reset_frame == "current":
            self._draw()
            self._frames[1 - self._newest] = self._frames[self._newest]
        else:
            # Official versions before 2026-05 overwrite the frame just drawn with the one before.
            self._newest = 1 - self._newest
            self._frames[self._newest] = self._frames[1 - self._newest]
        self._lives, self._age = self._ale.lives(), 0
        return self._observe(0.0, first=True, last=False)

    def step(self, action: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """Take ``action["action"]`` for ``repeat`` frames, or until the episode ends."""
        self._taken.append(int(action["action"]))
        choice, reward, last = self._actions[self._taken[-1]], 0.0, False
        for i in range(self.repeat):
            reward += self._ale.act(choice)
            self._age += 1
            if i >= self.repeat - POOLED_FRAMES:
                self._draw()
            lost = self._lost_a_life()
            last = self._ale.game_over() or self._age >= LONGEST_EPISODE
            last = last or (lost and self._settings.lives == "reset")
            if last or (lost and self._settings.lives == "discount"):
                break
        return self._observe(reward, first=False, last=last)

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """What decides the running episode and every later one: the emulator as the episode began, and the
        episode's actions. Playing them again leads to the same state, and the emulator's own copy of its
        state leaves out which action sticks.
        """
        return {**self._begun, "actions": np.array(self._taken, np.int32)}

    def restore(self, snapshot: Mapping[str, NDArray[Any]]) -> None:
        """Go on where ``snapshot`` was taken."""
        import ale_py

        state = ale_py.ALEState.__new__(ale_py.ALEState)
        state.__setstate__((snapshot["emulator"].tobytes(),))
        self._ale.restoreState(state)
        self._random.bit_generator.state = json.loads(snapshot["random"].tobytes())
        self._frames[:], self._newest = snapshot["frames"], int(snapshot["newest"])
        self.reset()
        for action in snapshot["actions"]:
            self.step({"action": action})

    def _before_episode(self) -> dict[str, NDArray[Any]]:
        emulator = self._ale.cloneState(include_rng=True).__getstate__()[0]
        random = json.dumps(self._random.bit_generator.state)
        return {
            "emulator": np.frombuffer(emulator, np.uint8),
            "random": np.frombuffer(random.encode(), np.uint8),
            "frames": self._frames.copy(),
            "newest": np.asarray(self._newest),
        }

    def _act_before_start(self, action: int) -> None:
        self._ale.act(action)
        if self._ale.game_over():
            self._ale.reset_game()

    def _lost_a_life(self) -> bool:
        lives, before = self._ale.lives(), self._lives
        self._lives = lives
        return 0 < lives < before

    def _draw(self) -> None:
        self._newest = 1 - self._newest
        self._ale.getScreenRGB(self._frames[self._newest])

    def _observe(self, reward: float, first: bool, last: bool) -> dict[str, Any]:
        clipped = np.sign(reward) if self._settings.clip_reward else reward
        return {
            "image": self._image(),
            "reward": np.float32(clipped),
            "is_first": first,
            "is_last": last,
            "is_terminal": last,
        }

    def _image(self) -> NDArray[np.uint8]:
        from PIL import Image

        pooled = np.maximum(self._frames[0], self._frames[1])
        resized = Image.fromarray(pooled).resize(self._settings.size, Image.Resampling.BILINEAR)
        image = np.asarray(resized)
        if self._settings.gray:
            return (image * LUMINANCE).sum(-1).astype(np.uint8)[:, :, None]
        return image


def _load(game: str, seed: int) -> Any:
    import ale_py
    from ale_py import roms

    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    ale = ale_py.ALEInterface()
    ale.setInt("random_seed", seed)
    folder = os.environ.get("ALE_ROM_PATH")
    ale.loadROM(os.path.join(folder, f"{game}.bin") if folder else roms.get_rom_path(game))
    # Nothing sets repeat_action_probability here: see the module's docstring.
    return ale
