"""The options of Python that a program's command line may have before what it runs."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import BackendError

# What changes where Python looks for code, or makes it wait for a person, is not among them.
_PLAIN_OPTIONS = frozenset(["-u", "-B", "-O", "-OO", "-v", "-b", "-bb", "-q"])
# A value follows, or stands in the same word.
_VALUED_OPTIONS = ("-X", "-W")
_WHAT = ("-m", "-c")


def count_options(words: Sequence[str], where: str = "backend.yaml") -> int:
    """How many words before what Python is to run are options of Python itself.

    Args:
        words: behind ``{python}``.

    Raises:
        BackendError: one of them cannot be passed on.
    """
    count = 0
    while count < len(words) and words[count].startswith("-") and words[count] not in _WHAT:
        word = words[count]
        option = "".join(words[count : count + 1 + (word in _VALUED_OPTIONS)])
        # Where bytecode is looked for is the boot file's to say.
        if (word not in _PLAIN_OPTIONS and not word.startswith(_VALUED_OPTIONS)) or option.startswith(
            "-Xpycache_prefix"
        ):
            raise BackendError(
                f"argv has {option}, an option of Python that a sealed program cannot have",
                where=where,
                valid=sorted((*_PLAIN_OPTIONS, *_VALUED_OPTIONS)),
                got=option,
            )
        count += 1 + (word in _VALUED_OPTIONS)
    return count
