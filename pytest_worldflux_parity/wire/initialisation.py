"""How weights begin: what a recorder keeps of official initialisations, and a match program of ours."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Sequence


def split_members(named: Mapping[str, Any], ensembles: Sequence[str] = ()) -> Dict[str, Any]:
    """Each parameter, and of ensembles (names that begin so; members first) each member: ``name[0]``, ..."""
    found: Dict[str, Any] = {}
    for name, array in named.items():
        if name.startswith(tuple(ensembles)):
            found.update({f"{name}[{i}]": member for i, member in enumerate(array)})
        else:
            found[name] = array
    return found


def summarise_initialisations(drawn: Sequence[Mapping[str, Any]]) -> Dict[str, Any]:
    """Parameter -> rows (initialisations, 3): mean, standard deviation, mean absolute value of its elements.

    Args:
        drawn: of each initialisation, name -> array.
    """
    import numpy as np

    def summarise(value: Any) -> Any:
        numbers = np.asarray(value, np.float64)
        return numbers.mean(), numbers.std(), np.abs(numbers).mean()

    return {name: np.array([summarise(parameters[name]) for parameters in drawn]) for name in drawn[0]}
