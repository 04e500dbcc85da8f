"""The evidence of a verdict: one file that a stranger can check without us and without a GPU.

``members`` says what of a run goes in, ``cleaning`` takes out of it what must not leave the machine,
``attempts`` and ``log`` make members of the runs, ``packing`` in a process of its own where there are many,
``bundle`` writes and opens it (``container`` is the zip, ``statement`` what it states of itself, ``signing``
the keys), and ``checking`` holds every document in it against what the records give.
"""

from .bundle import BundleInfo, OpenedBundle, build, bundle_cleaner, check_inputs, open_bundle
from .members import array_members, expected_names, refuse_names
from .packing import Ahead, ahead
from .signing import SignKey, read_sign_key

__all__ = [
    "Ahead", "BundleInfo", "OpenedBundle", "SignKey", "ahead", "array_members", "build", "bundle_cleaner",
    "check_inputs", "expected_names", "open_bundle", "read_sign_key", "refuse_names",
]  # fmt: skip
