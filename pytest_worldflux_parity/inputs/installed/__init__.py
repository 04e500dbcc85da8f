"""What is installed for an interpreter, looked at from outside: nothing of it is imported or run.

    found = look(interpreter_at(python), leave_out=[project])
    said = document(found)
    wrong = against_pins(found, backend.requirements)
    edited = contents(found)

``.pth`` lines are read, and those that would run code are only told of; the finders of editable
installations are read off their source.
"""

from __future__ import annotations

from .changes import contents
from .data import Installed, Interpreter, Package
from .document import against_pins, document
from .interpreter import interpreter_at
from .look import look
from .package_files import package_files

__all__ = [
    "Installed",
    "Interpreter",
    "Package",
    "against_pins",
    "contents",
    "document",
    "interpreter_at",
    "look",
    "package_files",
]
