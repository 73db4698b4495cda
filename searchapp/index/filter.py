"""Filters on metadata: a small language, ``lang == "en" and year >= 2020``, evaluated column by column.

Names are metadata keys, character for character (composed and decomposed letters are two keys); ``meta["First Name"]``
names any key there can be. Comparisons, ``in``, ``not in``, ``and``, ``or``, ``not`` and parentheses; values are
strings, numbers, ``true``/``false`` and lists of these. ``"bees" in tags`` asks whether a key's list holds a value, or
is that value. A document without the key, or with a value of another type, fails every comparison but ``!=`` and
``not in``. Numbers compare as Python compares them, exactly; text that is a number as JSON writes numbers (3.10, 12e5,
though not 007) is compared with a number by its value, and with a string as text. ``true`` and ``false`` are no
numbers.
"""

from __future__ import annotations

import ast
import difflib
import unicodedata
from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from searchapp.errors import SearchAppError
from searchapp.index.columns import Columns
from searchapp.index.comparison import Literal, Metadata, among, compare, holding
from searchapp.unicode import find_surrogate

if TYPE_CHECKING:
    import pyarrow as pa

EXAMPLE = 'an example that works: lang == "en" and year >= 2020; a key that is no plain word is meta["First Name"]'
LISTED = '"bees" in tags'
SHOWN = 30  # keys that a refusal lists
OPERATORS = {
    ast.Eq: "equal", ast.NotEq: "not_equal", ast.Lt: "less", ast.LtE: "less_equal", ast.Gt: "greater",
    ast.GtE: "greater_equal", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip
OPPOSITES = {"not_equal": "equal", "not in": "in", "not holds": "holds"}
MIRRORED = {"less": "greater", "less_equal": "greater_equal", "greater": "less", "greater_equal": "less_equal"}
CONSTANTS = {"true": True, "false": False, "True": True, "False": False}


class FilterError(SearchAppError):
    """A filter that is not understood. ``at``: the character at fault, from 1; None where that is not known."""

    def __init__(self, message: str, at: int | None = None) -> None:
        super().__init__(message)
        self.at = at


class Filter:
    """A parsed filter. Raises FilterError, with the place, for what the language does not have.

    ``is_partial``: it is asked of some documents of an index, and others may have the keys that these lack.
    """

    is_partial = False

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.names: set[str] = set()
        self.lists: set[str] = set()  # those of them that are asked for what their lists hold
        try:
            self._tree = ast.parse(expression.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            at = error.offset if isinstance(error, SyntaxError) else None
            lead = len(expression) - len(expression.lstrip())
            at = (
                None
                if at is None
                else lead + (at if 0 < at <= len(expression.strip()) else len(expression.strip()) + 1)
            )
            place = "" if at is None else f" at character {at}" if at <= len(expression.rstrip()) else " at its end"
            raise FilterError(f"--filter {expression!r} is not understood{place}; {EXAMPLE}", at) from error
        try:
            self._check(self._tree)
        except RecursionError as error:
            raise SearchAppError(f"--filter is nested too deep to be understood; {EXAMPLE}") from error

    def mask(self, segments: Columns | Sequence[pa.StructArray], metadata: Metadata | None = None) -> np.ndarray:
        """Boolean mask over all rows; raises SearchAppError for a key that no document has.

        ``metadata`` gives a segment's metadata as JSON text by its number. It is read where the typed columns hold
        numbers that were rounded; without it these count as rounded. Documents that are gone count until they are
        compacted away; an index without any has every key.
        """
        columns = segments if isinstance(segments, Columns) else Columns(segments)
        if len(columns.starts) == 1:
            return np.zeros(0, dtype=bool)
        known = {name.partition(":")[2] for name in columns.names if not name.startswith("other:")}
        known |= {name for name in self.lists if f"other:{name}" in columns.names}
        if not self.is_partial and (unknown := sorted(self.names - known)):
            if f"other:{unknown[0]}" in columns.names:
                raise SearchAppError(
                    f"--filter names {unknown[0]!r}, which holds lists or objects; ask for one entry: {LISTED}"
                )
            at = self.expression.find(unknown[0]) + 1 or None
            raise FilterError(f"--filter names {unknown[0]!r}, which no document has; {_keys(unknown[0], known)}", at)
        return self._evaluate(self._tree, columns, metadata)

    def _check(self, node: ast.expr) -> None:
        match node:
            case ast.BoolOp(values=values):
                for value in values:
                    self._check(value)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                self._check(operand)
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                for one, operator, other in zip([left, *comparators], ops, comparators, strict=False):
                    self._comparison(one, operator, other)
            case _:
                raise self._refused(node)

    def _comparison(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> tuple[str, str, Any]:
        """Return (key, operation, value) with the key on the left."""
        operation = OPERATORS.get(type(operator))
        if operation is None:
            raise self._refused(left)
        key, other = self._key(left), right
        if key is None and operation in ("in", "not in") and (held := self._key(right)) is not None:
            value = self._value(left)
            if isinstance(value, list):
                raise self._refused(left)
            self.names.add(held)
            self.lists.add(held)
            return held, "holds" if operation == "in" else "not holds", value
        if key is None and operation not in ("in", "not in"):
            key, other, operation = self._key(right), left, MIRRORED.get(operation, operation)
        if key is None:
            raise self._refused(left)
        value = self._value(other)
        if (operation in ("in", "not in")) != isinstance(value, list):
            raise self._refused(other)
        self.names.add(key)
        return key, operation, value

    def _key(self, node: ast.expr) -> str | None:
        match node:
            case ast.Name(id=name) if name not in CONSTANTS:
                return self._source(node) or name  # as it was typed: Python's own names are in NFKC
            case ast.Subscript(value=ast.Name(id="meta"), slice=ast.Constant(value=str(name))):
                return name
        return None

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=str() as value) if find_surrogate(value) is not None:
                raise SearchAppError(f"--filter holds {value!a}, a lone surrogate, which no text is; {EXAMPLE}")
            case ast.Constant(value=bool() | str() as value):
                return Literal(value)
            case ast.Constant(value=int() | float() as value):
                return Literal(value, self._source(node))
            case ast.Name(id=name) if name in CONSTANTS:
                return Literal(CONSTANTS[name])
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)) if not isinstance(
                value, bool
            ):
                return Literal(-value, f"-{self._source(node.operand)}")
            case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
                values = [self._value(item) for item in items]
                if not any(isinstance(value, list) for value in values):
                    return values
        raise self._refused(node)

    def _source(self, node: ast.AST) -> str:
        return ast.get_source_segment(self.expression.strip(), node) or ""

    def _refused(self, node: ast.AST) -> FilterError:
        part = self._source(node) or ast.unparse(node)
        at = self.expression.find(part) + 1 or None
        return FilterError(f"--filter {self.expression!r}: {part!r} cannot stand there; {EXAMPLE}", at)

    def _evaluate(self, node: ast.expr, columns: Columns, metadata: Metadata | None) -> np.ndarray:
        match node:
            case ast.BoolOp(op=operator, values=values):
                parts = [self._evaluate(value, columns, metadata) for value in values]
                return reduce(np.logical_and if isinstance(operator, ast.And) else np.logical_or, parts)
            case ast.UnaryOp(operand=operand):
                return ~self._evaluate(operand, columns, metadata)
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                steps = zip([left, *comparators], ops, comparators, strict=False)
                parts = [_passes(columns, *self._comparison(*step), metadata) for step in steps]
                return reduce(np.logical_and, parts)
        raise self._refused(node)


def _passes(columns: Columns, key: str, operation: str, value: Any, metadata: Metadata | None) -> np.ndarray:
    """Compare one key with a value; False where the key is missing or the types do not go together."""
    if operation in OPPOSITES:
        return ~_passes(columns, key, OPPOSITES[operation], value, metadata)
    if operation == "holds":
        return holding(columns, key, value, metadata)
    if operation == "in":
        return among(columns, key, value, metadata)
    return compare(columns, key, operation, value, metadata)


def written(key: str) -> str:
    """A key as a filter names it."""
    plain = key.isidentifier() and key.isascii()
    if plain:
        try:
            plain = isinstance(ast.parse(key, mode="eval").body, ast.Name) and key not in CONSTANTS
        except SyntaxError:  # a word of Python's: and, class
            plain = False
    if plain:
        return key
    quoted = key if key.isprintable() and unicodedata.is_normalized("NFC", key) else ascii(key)[1:-1]
    if quoted == key:
        quoted = key.replace("\\", "\\\\")
    quoted = quoted.replace('"', '\\"')
    return f'meta["{quoted}"]'


def _keys(unknown: str, known: set[str]) -> str:
    """The keys there are, near ones first, as a filter names them."""
    forms = {key: unicodedata.normalize("NFKC", key).casefold() for key in known}
    wanted = unicodedata.normalize("NFKC", unknown).casefold()
    near = [key for key, form in sorted(forms.items()) if form == wanted]
    near += [
        key
        for form in difflib.get_close_matches(wanted, sorted(set(forms.values())), n=3)
        for key in sorted(known)
        if forms[key] == form and key not in near
    ]
    listed = [written(key) for key in sorted(known)]
    more = f" and {len(listed) - SHOWN:,} more" if len(listed) > SHOWN else ""
    hint = f"near it: {', '.join(written(key) for key in near)}; " if near else ""
    return (
        f"{hint}the metadata keys are {', '.join(listed[:SHOWN]) or 'none'}{more}; "
        'a key that is no plain word is written meta["First Name"]'
    )
