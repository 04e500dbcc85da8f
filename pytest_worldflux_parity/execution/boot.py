"""Starts a Python program: ``python -I -S boot.py (-m MODULE | -c CODE | SCRIPT) [ARGUMENT ...]``.

Python itself then looks at no variable, no ``.pth`` line, no ``sitecustomize`` and no folder but those of
its standard library. The folders of the program are in ``boot.json`` beside this file: ``first`` (the copy
of the program, the contract), ``behind`` (its environment's packages), ``prefix`` (of a virtual
environment, or null). It imports the standard library only, and runs on any Python from 3.9 on.
"""

import json
import os
import runpy
import site
import sys


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
    how, *arguments = sys.argv[1:]
    if how == "-m":
        sys.argv[:] = arguments
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    elif how == "-c":
        sys.argv[:] = ["-c", *arguments[1:]]
        exec(compile(arguments[0], "<string>", "exec"), sys.modules["__main__"].__dict__)
    else:
        sys.argv[:] = [how, *arguments]
        sys.path.insert(0, os.path.dirname(os.path.abspath(how)))
        runpy.run_path(how, run_name="__main__")


if __name__ == "__main__":
    main()
