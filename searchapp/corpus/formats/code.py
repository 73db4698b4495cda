"""Source code: a function or class is a passage of its own, with its comments, signature and docstring.

Python is read by its own parser; other languages by the grammars of tree-sitter (the extra ``code``), or, where that is
not installed, at blank lines.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from searchapp.corpus.blocks import Block
from searchapp.corpus.formats.charsets import decoded
from searchapp.corpus.formats.definitions import Definition, definition_blocks
from searchapp.corpus.formats.grammars import GRAMMARS, definitions
from searchapp.corpus.formats.reading import Facts, Limits

PYTHON = (".py", ".pyi", ".pyw")
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Named = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def read(path: Path, limits: Limits) -> Iterator[Facts | Block]:
    """Yield empty facts, then the blocks of a source file; lines and characters are those of the file."""
    text = decoded(path.read_bytes()).replace("\r\n", "\n").replace("\r", "\n")
    yield Facts()
    ending = path.suffix.lower()
    found: list[Definition] = []
    if ending in PYTHON:
        found = python_definitions(text)
    elif (grammar := GRAMMARS.get(ending)) and find_spec("tree_sitter") and find_spec(grammar.module):
        found = definitions(text, grammar, limits)
    yield from definition_blocks(text, found, limits)


def python_definitions(text: str) -> list[Definition]:
    """The functions, classes and methods of Python source; none where it cannot be parsed, as that of Python 2."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    lines = text.split("\n")
    found: list[Definition] = []
    waiting: list[tuple[ast.stmt, bool]] = [(node, False) for node in reversed(tree.body)]
    while waiting:
        node, in_class = waiting.pop()
        if isinstance(node, _Named):
            found.append(_definition(node, lines, in_class))
        if isinstance(node, ast.ClassDef):
            waiting.extend((child, True) for child in reversed(node.body))
        elif isinstance(node, ast.If | ast.Try | ast.With):
            waiting.extend((child, in_class) for child in reversed(_branches(node)))
    return found


def _branches(node: ast.If | ast.Try | ast.With) -> list[ast.stmt]:
    """The statements of all branches, in the order of their lines."""
    if isinstance(node, ast.If):
        return [*node.body, *node.orelse]
    if isinstance(node, ast.With):
        return node.body
    handled = [child for handler in node.handlers for child in handler.body]
    return [*node.body, *handled, *node.orelse, *node.finalbody]


def _definition(node: _Function | ast.ClassDef, lines: list[str], in_class: bool) -> Definition:
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    while first > 1 and lines[first - 2].lstrip().startswith("#") and _indent(lines[first - 2]) == node.col_offset:
        first -= 1
    body = node.body[0]
    behind = body.lineno
    if isinstance(body, _Named):
        behind = min([behind, *(decorator.lineno for decorator in body.decorator_list)])
    while behind - 1 > node.lineno and not lines[behind - 2].split("#")[0].strip():
        behind -= 1  # comments below the signature belong to the body
    behind = max(behind, node.lineno + 1)
    has_doc = isinstance(body, ast.Expr) and isinstance(body.value, ast.Constant) and isinstance(body.value.value, str)
    doc = (body.end_lineno or 0) if has_doc and body.lineno >= behind else 0
    kind = "class" if isinstance(node, ast.ClassDef) else "method" if in_class else "function"
    return Definition(node.name, kind, first, behind, node.end_lineno or node.lineno, doc)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
