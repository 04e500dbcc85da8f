"""Compiles sources for :mod:`.bytecode`: ``python -I -S fill.py < work.json``, in a program's own Python.

The work is ``{"folder": ..., "modules": [[source, name, sha256 or null, level, bytecode], ...]}``: ``level``
is that of optimisation, empty for none, ``bytecode`` where it goes below the folder. It prints as JSON what
it has made: ``{bytecode: sha256}``. Nothing of what it compiles is run; what cannot be compiled is left out.
It imports the standard library only, and runs on any Python from 3.9 on.
"""

import hashlib
import importlib.util
import json
import marshal
import os
import stat
import sys
import warnings


def main() -> None:
    warnings.simplefilter("ignore")
    work = json.load(sys.stdin)
    made = {}
    for source, name, sha256, level, bytecode in work["modules"]:
        try:
            data = _compiled(source, name, sha256, level)
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        path = os.path.join(work["folder"], bytecode)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as handle:
            handle.write(data)
        made[bytecode] = hashlib.sha256(data).hexdigest()
    json.dump(made, sys.stdout)


def _compiled(source: str, name: str, sha256: "str | None", level: str) -> bytes:
    """The bytecode, with time and size of its source (PEP 552): it counts while these stay."""
    found = os.stat(source)
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("no file")
    with open(source, "rb") as handle:
        text = handle.read()
    if sha256 is not None and hashlib.sha256(text).hexdigest() != sha256:
        raise ValueError("not what was sealed")
    code = compile(text, name, "exec", dont_inherit=True, optimize=int(level or 0))
    fields = (0, int(found.st_mtime) & 0xFFFFFFFF, len(text) & 0xFFFFFFFF)
    header = b"".join(field.to_bytes(4, "little") for field in fields)
    return importlib.util.MAGIC_NUMBER + header + marshal.dumps(code)


if __name__ == "__main__":
    main()
