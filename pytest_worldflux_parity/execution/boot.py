"""Starts a Python program: ``python -I -S boot.py (-m MODULE | -c CODE | SCRIPT) [ARGUMENT ...]``.

Python itself then looks at no variable, no ``.pth`` line, no ``sitecustomize`` and no folder but those of
its standard library. The folders of the program are in ``boot.json`` beside this file: ``first`` (the copy
of the program, the contract), ``behind`` (its environment's packages), ``prefix`` (of a virtual
environment, or null), ``bytecode`` (the folder of what this start compiles), ``layers`` (what the session
has compiled for it, as :mod:`.bytecode` plans it). It imports the standard library only, and runs on any
Python from 3.9 on.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import runpy
import site
import subprocess
import sys
import types


def main() -> None:
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "boot.json")
    with open(path, encoding="utf-8") as handle:
        plan = json.load(handle)
    if plan["prefix"]:
        sys.prefix = sys.exec_prefix = plan["prefix"]
    # What `site` gives every program beside folders; -S leaves it out.
    site.setquit()
    site.setcopyright()
    site.sethelper()
    sys.path[:] = [*plan["first"], *sys.path, *plan["behind"]]
    _find_bytecode(plan["bytecode"], plan["layers"])
    _hand_on()
    _empty_main()
    how, *arguments = sys.argv[1:]
    if how == "-m":
        sys.argv[:] = arguments
        # As Python itself does for -m: in the one module that is __main__ until the end, threads and
        # what runs at exit included.
        runpy._run_module_as_main(arguments[0])  # type: ignore[attr-defined]
    elif how == "-c":
        sys.argv[:] = ["-c", *arguments[1:]]
        _run_as_main(compile(arguments[0], "<string>", "exec"))
    else:
        sys.argv[:] = [how, *arguments]
        sys.path.insert(0, os.path.dirname(os.path.abspath(how)))
        with open(how, "rb") as source:
            code = compile(source.read(), how, "exec")
        _run_as_main(code, __file__=how)


def _run_as_main(code: types.CodeType, **names: str) -> None:
    main = sys.modules["__main__"].__dict__
    main.update(names)
    exec(code, main)


def _empty_main() -> None:
    """Leave nothing of this file in the module that the program becomes."""
    main = sys.modules["__main__"].__dict__
    for name in [name for name in main if not name.startswith("__")]:
        del main[name]
    main.pop("__file__", None)
    main.update(__doc__=None, __cached__=None, __package__=None)


class _Loader(importlib.machinery.SourceFileLoader):
    """Reads what the standard library's installer compiled, which nothing holds less than its sources.

    And what the session has compiled, before what the start compiles for itself.
    """

    library = os.path.dirname(os.__file__) + os.sep
    prefix = ""
    layers: tuple[tuple[str, str, int], ...] = ()

    def get_data(self, path: str) -> bytes:
        source = path[len(self.prefix) :] if path.startswith(self.prefix) else ""
        if source.startswith(self.library) and "-packages/" not in source:
            folder, name = os.path.split(source)
            try:
                return super().get_data(os.path.join(folder, "__pycache__", name))
            except OSError:
                pass
        for asked, layer, made_ns in self.layers:
            if path.startswith(asked):
                try:
                    with open(layer + path[len(asked) :], "rb") as handle:
                        # What was touched since may be anybody's.
                        if os.fstat(handle.fileno()).st_ctime_ns <= made_ns:
                            return handle.read()
                except OSError:
                    pass
        return super().get_data(path)


def _find_bytecode(prefix: str, layers: list[tuple[str, str, int]]) -> None:
    """Look for bytecode in the start's own folder, the session's layers and the standard library's.

    What has no source is not run.

    Python takes bytecode that fits its source by time and size, or that asks for no check, whoever wrote it.
    So none is read that lies beside sources, or that another start has left.
    """
    sys.pycache_prefix = _Loader.prefix = prefix
    _Loader.layers = tuple(layers)
    machinery = importlib.machinery
    hook = machinery.FileFinder.path_hook(
        (machinery.ExtensionFileLoader, machinery.EXTENSION_SUFFIXES),
        (_Loader, machinery.SOURCE_SUFFIXES),
    )
    # The first is that of archives.
    sys.path_hooks[1:] = [hook]
    sys.path_importer_cache.clear()


def _hand_on() -> None:
    """Have children of multiprocessing start by this file too: their command is ``<options> -c CODE``.

    Python hands on ``-I`` and ``-S``, with which they look at no variable, but would look beside sources.
    """
    known = subprocess._args_from_interpreter_flags  # type: ignore[attr-defined]
    own = os.path.abspath(__file__)
    subprocess._args_from_interpreter_flags = lambda: [*known(), own]  # type: ignore[attr-defined]


if __name__ == "__main__":
    # In a module of its own: the program's names are put into this one, and are not to be this file's.
    spec = importlib.util.spec_from_file_location("_worldflux_parity_boot", os.path.abspath(__file__))
    assert spec is not None
    assert spec.loader is not None
    boot = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(boot)
    boot.main()
