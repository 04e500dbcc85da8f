"""Our own TD-MPC2 (Hansen, Su & Wang 2024, arXiv:2310.16828), single-task online, in PyTorch.

Reads top to bottom: ``recipe`` (hyperparameters), ``environments``, ``activations``, ``networks``,
``noise`` (every random number), ``replay``, ``optimiser``, ``agent`` (losses and update), ``planner``
(MPPI), ``training`` (the loop), ``checkpoint``, ``__main__`` (request in, record out). Beside them,
``match`` computes the components that the official program's are compared with.

Networks are lists of plain tensors, not ``torch.nn.Module``: with the networks of a quick suite a module's
bookkeeping takes as long as its arithmetic.
"""
