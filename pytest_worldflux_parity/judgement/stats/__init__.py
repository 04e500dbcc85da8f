"""Decision rules on arrays of scores: numbers in, an explicit generator where random, numbers out.

The names of ``__all__`` are public, and need numpy and scipy alone. Scores are arrays of shape (n,), one a
seed, in the metric's own units; margins are relative (0.05 is 5 %), and an effect is worldflux minus
upstream, so + is higher. Whatever the data do not allow is a ``StatisticsError`` of one line.

Two one-sided tests of the `clinic` data (R package ``equivalence``), which two visits of 15 patients gave:

>>> first = [2.84, 2.51, 2.41, 2.95, 3.14, 3.79, 4.14, 3.85, 3.02, 3.45, 5.37, 3.81, 4.19, 3.16, 3.84]
>>> second = [2.6, 2.82, 2.18, 3.46, 4.01, 3.04, 3.47, 4.06, 2.91, 3.59, 4.51, 3.16, 3.86, 3.31, 3.02]
>>> found = tost(second, first, effect="difference", margin=0.6, design="paired")
>>> f"p {found.p_value:.12f}, 90 % interval {found.ci_low:.6f} to {found.ci_high:.6f}"
'p 0.003166881489, 90 % interval -0.074434 to 0.403767'

The power of such a test, and the pairs that 80 % take (true difference -4, standard deviation 25.4558):

>>> [round(paired_tost_power(-4, 25.4558, n, low=-19.2, high=19.2), 5) for n in (5, 15, 30, 50)]
[0.10599, 0.66629, 0.93855, 0.9941]
>>> seeds_needed(lambda n: paired_tost_power(-4, 25.4558, n, low=-19.2, high=19.2), 0.8)
20

Holm's correction of a family:

>>> holm([0.52, 0.12, 0.0001, 0.03, 0.14]).round(4).tolist()
[0.52, 0.36, 0.0005, 0.12, 0.36]

The three rules of a quick suite, of the tasks of a suite. Ours is 1 % lower than the official one:

>>> import numpy as np
>>> official = [500.0, 503.0, 498.0, 501.0, 499.0]
>>> tasks = [TaskScores("walker-walk", official, [0.99 * x for x in official[::-1]])]
>>> calibrated_rule(tasks, margin=0.05, rng=np.random.default_rng(0)).verdict
'pass'
>>> equivalence_rule(tasks, margin=0.005).verdict
'fail'
>>> drop_ratio_rule(official, [0.99 * x for x in official], rng=np.random.default_rng(0)).pass_
True

And a posterior: of two values the mean is uniform between them (Rubin 1981).

>>> drawn = posterior_means([1.0, 3.0], 20_000, np.random.default_rng(bayes_seed("walker-walk", "return")))
>>> bool(abs(np.quantile(drawn, 0.25) - 1.5) < 0.02)
True
"""

from .bayes import BayesResult, bayes, bayes_seed, posterior_means
from .calibrated import CalibratedResult, TaskScores, calibrated_rule
from .equivalence import EquivalenceResult, equivalence_rule
from .holm import holm
from .noninferiority import DropRatioResult, drop_ratio_rule
from .power import paired_tost_power, seeds_needed, tost_power, unpaired_tost_power, welch_tost_power
from .tost import TostResult, tost

__all__ = [
    "BayesResult",
    "CalibratedResult",
    "DropRatioResult",
    "EquivalenceResult",
    "TaskScores",
    "TostResult",
    "bayes",
    "bayes_seed",
    "calibrated_rule",
    "drop_ratio_rule",
    "equivalence_rule",
    "holm",
    "paired_tost_power",
    "posterior_means",
    "seeds_needed",
    "tost",
    "tost_power",
    "unpaired_tost_power",
    "welch_tost_power",
]
