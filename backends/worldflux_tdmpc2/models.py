"""Changes to dm_control's models that make them those of the official TD-MPC2 environments.

Two are to the MJCF text, for custom tasks (official ``tdmpc2/envs/tasks/*.xml``). The others undo what
changed between MuJoCo 3.1.2, which the official program pins, and the version that we run.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import mujoco
import numpy as np

THREE_LINK_RANGE = "-80 80"  # degrees
DOG_MODEL = Path(__file__).with_name("dog_model.npz")


def restore_dog(model: mujoco.MjModel) -> None:
    """Gives the dog the inertias and collision primitives that MuJoCo 3.1.2 derives from its meshes.

    They differ by a few parts in a million from what later versions derive, enough to change accelerations
    and contact forces in the third digit. The numbers are recorded by
    ``backends/official_tdmpc2/record_environments.py --dog-model``.

    Raises:
        ValueError: this dm_control's dog is another model.
    """
    with np.load(DOG_MODEL) as archive:
        recorded = {name: archive[name] for name in archive.files if name != "provenance"}
    primitives = recorded.pop("primitives")
    mass = recorded["body_mass"]
    if model.body_mass.shape != mass.shape or not np.isclose(model.body_mass.sum(), mass.sum(), rtol=1e-4):
        raise ValueError(f"{DOG_MODEL.name} is of another version of the dog than this dm_control's")
    for name, values in recorded.items():
        getattr(model, name)[primitives if name.startswith("geom_") else slice(None)] = values
    # MuJoCo ignores position and rotation of a geom whose frame it found to be its body's frame of inertia.
    model.geom_sameframe[primitives] = mujoco.mjtSameFrame.mjSAMEFRAME_NONE
    mujoco.mj_setConst(model, mujoco.MjData(model))


def _find_element(tree: ElementTree.Element, tag: str, name: str) -> ElementTree.Element:
    found = tree.find(f".//{tag}[@name='{name}']")
    if found is None:
        raise LookupError(f"the model of this dm_control has no <{tag} name={name!r}>")
    return found


def lengthen_floor(tree: ElementTree.Element, floor: str, half_length: str) -> None:
    """Makes the floor (a plane, infinite to contacts) longer to the eye, for agents that run backwards."""
    geom = _find_element(tree, "geom", floor)
    geom.set("size", " ".join([half_length, *geom.attrib["size"].split()[1:]]))


def split_upper_arm(tree: ElementTree.Element) -> None:
    """Makes the suite's two-link arm one of three links: two of 9 cm, then the hand, pivots 9 cm apart.

    Every pivot but the shoulder is limited to 80 degrees either way, and a third motor is added.
    """
    upper, hand = _find_element(tree, "body", "arm"), _find_element(tree, "body", "hand")
    _find_element(upper, "geom", "arm").set("fromto", "0 0 0 .09 0 0")
    upper.remove(hand)
    lower = ElementTree.SubElement(upper, "body", name="forearm", pos=".09 0 0")
    lower.append(_rename_element(_find_element(upper, "geom", "arm"), "forearm"))
    ElementTree.SubElement(lower, "joint", name="elbow", limited="true", range=THREE_LINK_RANGE)
    lower.append(hand)
    for body in (hand, _find_element(hand, "body", "finger")):
        body.set("pos", ".09 0 0")
    _find_element(hand, "joint", "wrist").set("range", THREE_LINK_RANGE)
    _find_actuator(tree).insert(1, ElementTree.Element("motor", name="elbow", joint="elbow"))


def _rename_element(element: ElementTree.Element, name: str) -> ElementTree.Element:
    return ElementTree.Element(element.tag, {**element.attrib, "name": name})


def _find_actuator(tree: ElementTree.Element) -> ElementTree.Element:
    section = tree.find("actuator")
    if section is None:
        raise LookupError("the model of this dm_control has no <actuator>")
    return section
