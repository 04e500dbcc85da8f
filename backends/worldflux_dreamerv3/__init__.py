"""DreamerV3 in JAX (Hafner et al. 2023, arXiv:2301.04104), written from the paper and from the behaviour of
the official program at the locked commit, and sharing no code with it.

Read ``recipe.py``, ``networks.py``, ``rssm.py``, ``heads.py``, ``losses.py``, ``optimiser.py``, ``agent.py``.
"""
