"""The names of rules, effects and gates, as suites and documents have them.

What stands behind a name is an entry of ``METRIC_RULES`` (``judgement/metric_rules.py``), of ``EFFECTS``
(``judgement/stats/effect_kinds.py``) or of ``GATES`` (``judgement/all_gates.py``).
"""

from __future__ import annotations

from collections.abc import Mapping

# Rule of a metric of a quick suite -> the question that it answers.
QUESTIONS: Mapping[str, str] = {
    "drop_ratio": "non-inferiority",
    "calibrated": "non-inferiority",
    "equivalence": "equivalence",
}
EFFECT_NAMES = ("log_ratio", "normalized_difference")
GATE_NAMES = ("components", "components_declared", "coverage", "validity", "independence")
