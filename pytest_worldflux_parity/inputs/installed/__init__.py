"""What is installed for an interpreter, looked at from outside: nothing of it is imported or run.

    found = look(interpreter_at(python), leave_out=[project])
    said = document(found)
    wrong = against_pins(found, backend.requirements)
    edited = contents(found)

``.pth`` lines are read, and those that would run code are only hashed; the finders of editable
installations are read off their source.
"""

from __future__ import annotations

from .document import against_pins, document
from .interpreter import Interpreter, interpreter_at
from .look import Installed, contents, look
from .package_files import package_files

__all__ = [
    "Installed",
    "Interpreter",
    "against_pins",
    "contents",
    "document",
    "interpreter_at",
    "look",
    "package_files",
]
