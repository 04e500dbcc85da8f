"""The official DreamerV3 (https://github.com/danijar/dreamerv3), run from a checkout and observed.

    __main__.py   request -> run -> record
    source.py     the checkout: verified, and its program copied from the commit, unchanged
    recipe.py     our recipe <-> the official configuration
    observe.py    what is read off while the official program runs
    results.py    scores.jsonl and the observations -> the record

Runs in the official program's own environment; the only module of ours that it imports is ``wire``.
"""


class Refused(Exception):
    """The run cannot be done or believed. Its text is the one line that the user reads."""
