"""The decision of the proof track: is every task shown to be equivalent, behind its gates?

``cells`` judges one (task, metric), ``decision`` all of them (``results`` is what comes out, ``reasons``
says why), ``seeding`` says how many seeds a pilot asks for and
what looking at its variance costs, ``planning`` what a suite would cost before it is run, and ``stability``
holds a verdict against earlier ones.
"""
