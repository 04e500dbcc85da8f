"""The evidence of a verdict: one file that a stranger can check without us and without a GPU.

``members`` says what of a run goes in, ``attempts`` makes members of its attempts, ``log`` reads its lines,
``bundle`` writes and opens it (``container`` is the zip, ``statement`` what it states of itself, ``signing``
the keys), and ``checking`` holds every document in it against what the records give.
"""

from .bundle import BundleInfo, OpenedBundle, build, check_inputs, open_bundle
from .members import expected_names, refuse_names
from .signing import SignKey, read_sign_key

__all__ = [
    "BundleInfo", "OpenedBundle", "SignKey", "build", "check_inputs", "expected_names", "open_bundle",
    "read_sign_key", "refuse_names",
]  # fmt: skip
