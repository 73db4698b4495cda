"""Docstrings of the standard modules that are written in C, read from the living objects."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from searchapp.corpus.validate import RawRecord

MAX_TITLE = 160  # characters
_EXAMPLES = "xx"  # xxlimited and its kin are samples for authors of extensions


def compiled_docstrings(module: str) -> Iterator[RawRecord]:
    """Yield the documented public names of a module in C, sorted by name; none if it cannot be imported here.

    The names of ``builtins`` go without their module ("str.split"), as people type them. There are no lines.
    """
    if module.startswith(_EXAMPLES):
        return
    found = _import(module)
    if found is None:
        return
    yield from _record(module, "module", module, f"module {module}", found)
    prefix = "" if module == "builtins" else f"{module}."
    for name, value in _members(found):
        # A name that only points at something of another module is documented there.
        if getattr(value, "__module__", None) != module or getattr(value, "__name__", None) != name:
            continue
        id = prefix + name
        if inspect.isclass(value):
            bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
            yield from _record(module, "class", id, f"class {id}({bases})" if bases else f"class {id}", value)
            for method, descriptor in _members(value):
                yield from _record(module, "method", f"{id}.{method}", _title(f"{id}.{method}", descriptor), descriptor)
        elif inspect.isbuiltin(value):
            yield from _record(module, "function", id, _title(id, value), value)


def clip_title(title: str) -> str:
    """Cut a signature to the length of a title."""
    return title if len(title) <= MAX_TITLE else title[: MAX_TITLE - 1] + "…"


def _import(module: str) -> ModuleType | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except Exception:  # other systems' modules, and whatever else an import may do
        return None


def _members(owner: ModuleType | type) -> list[tuple[str, Any]]:
    """List the public members; on classes the raw descriptors, so that nothing inherited and no property runs."""
    names = vars(owner)
    members = [(name, value) for name, value in sorted(names.items()) if not name.startswith("_")]
    if isinstance(owner, ModuleType):
        # `sys` keeps the hooks that a program may replace under a second name: the corpus is the same in any program.
        return [(name, names.get(f"__{name}__", value)) for name, value in members]
    return [(name, value) for name, value in members if inspect.isroutine(value) or inspect.isdatadescriptor(value)]


def _title(id: str, value: Any) -> str:
    if not inspect.isroutine(value):
        return id
    target = value.__func__ if isinstance(value, staticmethod) else value
    try:
        signature = str(inspect.signature(target))
    except (ValueError, TypeError):
        signature = "(...)"
    return clip_title(id + signature)


def _record(module: str, kind: str, id: str, title: str, value: Any) -> Iterator[RawRecord]:
    text = value.__doc__
    if isinstance(text, str) and text.strip():
        fields = {"id": id, "title": title, "text": inspect.cleandoc(text), "module": module, "kind": kind}
        yield RawRecord(fields, module, 1)
