"""Notes which statements of ``benchmarks.gpu`` run, in every process that has this folder on its path.

Before each statement a call is put that writes the statement's place to the file ``SEARCHAPP_LINES``, once. So what is
killed has said what it ran, and nothing but those modules runs slower.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.machinery
import os
import sys
from pathlib import Path

BODIES = ("body", "orelse", "finalbody")


def is_counted(node: ast.stmt) -> bool:
    """Whether a statement does something: docstrings do not, and imports of the future have to stay first."""
    future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
    return not future and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def counted(tree: ast.AST) -> list[ast.stmt]:
    """All statements that are counted."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.stmt) and is_counted(node)]


def noted(tree: ast.Module, note: str) -> ast.Module:
    """The same module with the call before each statement that is counted."""
    for parent in [*ast.walk(tree)]:
        for name in BODIES:
            statements = getattr(parent, name, None)
            if isinstance(statements, list):
                made = []
                for node in statements:
                    if isinstance(node, ast.stmt) and is_counted(node):
                        call = ast.Expr(ast.Call(ast.Name(note, ast.Load()), [ast.Constant(node.lineno)], []))
                        made.append(ast.copy_location(call, node))
                    made.append(node)
                setattr(parent, name, made)
    return ast.fix_missing_locations(tree)


class Loader(importlib.machinery.SourceFileLoader):
    """Loads a module with its statements noted."""

    def source_to_code(self, data, path, *, _optimization=-1):
        return compile(noted(ast.parse(data), "__note__"), path, "exec", dont_inherit=True)

    def get_code(self, fullname):  # never from a cache
        return self.source_to_code(self.get_data(self.path), self.path)

    def exec_module(self, module):
        name, seen = Path(self.path).name, set()

        def note(line: int) -> None:
            if line not in seen:
                seen.add(line)
                with open(os.environ["SEARCHAPP_LINES"], "a", encoding="ascii") as file:  # noqa: PTH123
                    file.write(f"{name}:{line}\n")

        module.__dict__["__note__"] = note
        super().exec_module(module)


class Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of the package."""

    def find_spec(self, fullname, path=None, target=None):
        if not fullname.startswith("benchmarks.gpu.") or fullname.endswith("__main__"):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.origin:
            spec.loader = Loader(fullname, spec.origin)
        return spec


if "SEARCHAPP_LINES" in os.environ:
    sys.meta_path.insert(0, Finder())
