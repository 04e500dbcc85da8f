"""The official TD-MPC2 (https://github.com/nicklashansen/tdmpc2), run from a checkout and observed.

    __main__.py   request -> run -> record
    source.py     the checkout: verified, copied, adapted to a CPU
    recipe.py     our recipe <-> the official configuration
    observe.py    what is read off while the official train.py runs
    results.py    eval.csv and the observations -> the record

Runs in the official program's own environment; the only module of ours that it imports is ``wire``.
"""


class Refused(Exception):
    """The run cannot be done or believed. Its text is the one line that the user reads."""
