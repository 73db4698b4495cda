"""The docstrings of the running Python's standard library: a real corpus that every machine has."""

from __future__ import annotations

import ast
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from searchapp.corpus.compiled import clip_title, compiled_docstrings
from searchapp.corpus.document import Record, Rejected
from searchapp.corpus.validate import RawRecord, validate
from searchapp.errors import CorpusError

_SKIPPED = frozenset({"test", "tests", "idlelib", "lib2to3", "turtledemo"})
_PROPERTIES = frozenset({"property", "cached_property", "abstractproperty", "setter", "getter", "deleter"})
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def stdlib_identity() -> Iterator[str]:
    """Yield what decides the content of the corpus: the interpreter and its version."""
    yield sys.implementation.name
    yield sys.version


def read_stdlib() -> Iterator[Record]:
    """Yield one record for every public module, class, function and method that has a docstring.

    Sources are parsed, never imported; the modules written in C are imported and inspected. The order is by module
    name, then by place in the source (in C: by name). The first definition of a dotted name wins.

    Raises CorpusError where this Python comes without the sources of its library.
    """
    library = Path(sysconfig.get_paths()["stdlib"])
    names = sorted(name for name in sys.stdlib_module_names if _is_public(name))
    sources = {name: list(_module_files(library, name)) for name in names}
    if not any(sources.values()):
        raise CorpusError(f"python:stdlib: no Python sources in {library}; expected the standard library's .py files")
    total = sum(max(1, len(files)) for files in sources.values())
    seen: set[str] = set()
    done = 0
    for name, files in sources.items():
        parts = [_module_docstrings(path, library) for path in files] or [compiled_docstrings(name)]
        for part in parts:
            done += 1
            for found in part:
                item = found if isinstance(found, Rejected) else validate(found)
                if item.id is None or item.id not in seen:
                    yield Record(item, done / total)
                if item.id is not None:
                    seen.add(item.id)


def _is_public(name: str) -> bool:
    return not name.startswith("_") and name not in _SKIPPED


def _module_files(library: Path, name: str) -> Iterator[Path]:
    """Yield the source files of a module or package, sorted; none where it has no Python source."""
    package = library / name
    if (package / "__init__.py").is_file():
        yield package / "__init__.py"
        for child in sorted(package.iterdir()):
            if _is_public(child.stem) and (child.suffix == ".py" or child.is_dir()):
                yield from _module_files(package, child.stem)
    elif (source := library / f"{name}.py").is_file():
        yield source


def _module_docstrings(path: Path, library: Path) -> Iterator[RawRecord | Rejected]:
    file = path.relative_to(library)
    parts = file.parts[:-1] if file.stem == "__init__" else (*file.parts[:-1], file.stem)
    module = ".".join(parts)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError) as error:
        yield Rejected(file=file.as_posix(), line=1, reason=f"cannot be parsed: {error}")
        return
    for kind, id, node in _definitions(tree, module, in_class=False):
        text = ast.get_docstring(node)
        if text and text.strip():
            line = 1 if isinstance(node, ast.Module) else min([node.lineno, *(d.lineno for d in node.decorator_list)])
            place = {"module": module, "kind": kind, "line": line, "file": file.as_posix()}
            fields: dict[str, Any] = {"id": id, "title": _title(id, node), "text": text, **place}
            yield RawRecord(fields, file.as_posix(), line)


def _definitions(
    node: ast.AST, name: str, *, in_class: bool
) -> Iterator[tuple[str, str, ast.Module | ast.ClassDef | _Function]]:
    """Yield kind, dotted name and node of all that can be reached by its name: not what stands inside functions."""
    if isinstance(node, ast.Module):
        yield "module", name, node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if child.name.startswith("_"):
                continue
            id = f"{name}.{child.name}"
            if isinstance(child, ast.ClassDef):
                yield "class", id, child
                yield from _definitions(child, id, in_class=True)
            else:
                yield "method" if in_class else "function", id, child
        elif isinstance(child, ast.stmt | ast.ExceptHandler):
            # Definitions also stand under `if`, `try` and `with`.
            yield from _definitions(child, name, in_class=in_class)


def _title(id: str, node: ast.Module | ast.ClassDef | _Function) -> str:
    if isinstance(node, ast.Module):
        return f"module {id}"
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in [*node.bases, *node.keywords])
        return clip_title(f"class {id}({bases})" if bases else f"class {id}")
    decorators = {getattr(mark, "attr", getattr(mark, "id", "")) for mark in node.decorator_list}
    if decorators & _PROPERTIES:
        return id
    return clip_title(f"{id}({ast.unparse(node.args)})")
