"""dm_control as programs need it that are held against official ones.

Two things hold later versions of MuJoCo to what 3.1.2 computes, which official environments pin: convex geoms
collide by libccd, and its iterations are limited to 50. dm_control is imported by the functions that need it.
"""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import contextmanager
from typing import Any, Callable, Iterator, List

_RENDERER = "egl"


def collide_as_before(model: Any) -> None:
    """Have convex geoms of a ``mujoco.MjModel`` collide as MuJoCo 3.1.2 has it."""
    import mujoco

    model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_NATIVECCD)
    model.opt.ccd_iterations = 50


def quadruped_sensor_names(physics: Any, *sensor_types: int) -> List[str]:
    """``quadruped.Physics._get_sensor_names`` without ``numpy.in1d``, which numpy 2.4 lacks."""
    import numpy as np

    cache = physics._sensor_types_to_names
    if sensor_types not in cache:
        ids = np.flatnonzero(np.isin(physics.model.sensor_type, sensor_types))
        cache[sensor_types] = [physics.model.id2name(i, "sensor") for i in ids]
    names: List[str] = cache[sensor_types]
    return names


def open_camera(physics: Any, height: int, width: int, camera_id: int) -> Callable[[], Any]:
    """A function that draws a frame (height, width, 3), uint8.

    Raises:
        RuntimeError: no OpenGL library draws.
    """
    from dm_control.mujoco import Camera

    try:
        camera = Camera(physics, height, width, camera_id)
        camera.render()
    except Exception as error:  # each OpenGL library has its own errors
        raise RuntimeError(_no_renderer(error)) from error
    # A copy, because the camera draws all its frames into one buffer.
    return lambda: camera.render().copy()


@contextmanager
def renderer_for(wanted: bool) -> Iterator[None]:
    """Within, dm_control, which picks its renderer on import, picks none where none is wanted.

    Raises:
        RuntimeError: one is wanted, and no OpenGL library is there.
    """
    asked_for = os.environ.get("MUJOCO_GL")
    os.environ["MUJOCO_GL"] = (asked_for or _RENDERER) if wanted else "disable"
    try:
        if wanted:
            _import_renderer()
        yield
    finally:
        del os.environ["MUJOCO_GL"]
        if asked_for is not None:
            os.environ["MUJOCO_GL"] = asked_for


def _import_renderer() -> None:
    loaded = sys.modules.get("dm_control._render")
    try:
        if loaded is None:
            importlib.import_module("dm_control._render")
        elif loaded.BACKEND == "off":  # an environment without a renderer came first in this process
            importlib.reload(loaded)
    except Exception as error:  # each OpenGL library has its own errors
        raise RuntimeError(_no_renderer(error)) from error


def _no_renderer(error: Exception) -> str:
    renderer = os.environ.get("MUJOCO_GL", _RENDERER)
    return (
        f"images need OpenGL, and MUJOCO_GL={renderer} failed ({type(error).__name__}: {error}): "
        "install libegl1 or set MUJOCO_GL to egl, osmesa or glfw"
    )
