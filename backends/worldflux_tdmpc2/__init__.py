"""Our own TD-MPC2 (Hansen, Su & Wang 2024, arXiv:2310.16828), single-task online, in PyTorch.

Reads top to bottom: ``recipe`` (hyperparameters), ``environments``, ``activations``, ``networks``,
``replay``, ``optimiser``, ``agent`` (losses and update), ``planner`` (MPPI), ``training`` (the loop),
``checkpoint``, ``__main__`` (request in, record out).
"""
