"""Filters on metadata: a small language, ``lang == "en" and year >= 2020``, evaluated column by column.

Names are metadata keys (``meta["odd key"]`` for those that are no identifiers). Comparisons, ``in``, ``not in``,
``and``, ``or``, ``not`` and parentheses; values are strings, numbers, ``true``/``false`` and lists of these. A document
without the key, or with a value of another type, fails every comparison but ``!=`` and ``not in``.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

import numpy as np

from searchapp.errors import SearchAppError
from searchapp.index.storage.documents import as_float, kind_of

if TYPE_CHECKING:
    import pyarrow as pa

EXAMPLE = 'an example that works: lang == "en" and year >= 2020'
OPERATORS = {
    ast.Eq: "equal", ast.NotEq: "not_equal", ast.Lt: "less", ast.LtE: "less_equal", ast.Gt: "greater",
    ast.GtE: "greater_equal", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip
MIRRORED = {"less": "greater", "less_equal": "greater_equal", "greater": "less", "greater_equal": "less_equal"}
CONSTANTS = {"true": True, "false": False, "True": True, "False": False}


class Filter:
    """A parsed filter. Raises SearchAppError, with the place, for what the language does not have."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.names: set[str] = set()
        try:
            self._tree = ast.parse(expression.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            place = f" at character {error.offset}" if isinstance(error, SyntaxError) and error.offset else ""
            raise SearchAppError(f"--filter {expression!r} is not understood{place}; {EXAMPLE}") from error
        try:
            self._check(self._tree)
        except RecursionError as error:
            raise SearchAppError(f"--filter is nested too deep to be understood; {EXAMPLE}") from error

    def mask(self, segments: list[pa.StructArray]) -> np.ndarray:
        """Boolean mask over all rows; raises SearchAppError for a key that no document has.

        Documents that are gone count until they are compacted away; an index without any has every key.
        """
        if not segments:
            return np.zeros(0, dtype=bool)
        columns = {field.name for segment in segments for field in segment.type}
        known = {name.partition(":")[2] for name in columns if not name.startswith("other:")}
        if unknown := sorted(self.names - known):
            if f"other:{unknown[0]}" in columns:
                raise SearchAppError(f"--filter names {unknown[0]!r}, which holds lists or objects; {EXAMPLE}")
            keys = ", ".join(sorted(known)) or "none"
            raise SearchAppError(f"--filter names {unknown[0]!r}, which no document has; the metadata keys are {keys}")
        return np.concatenate([self._evaluate(self._tree, segment) for segment in segments])

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
        if key is None and operation not in ("in", "not in"):
            key, other, operation = self._key(right), left, MIRRORED.get(operation, operation)
        if key is None:
            raise self._refused(left)
        value = self._value(other)
        if (operation in ("in", "not in")) != isinstance(value, list):
            raise self._refused(other)
        self.names.add(key)
        return key, operation, value

    @staticmethod
    def _key(node: ast.expr) -> str | None:
        match node:
            case ast.Name(id=name) if name not in CONSTANTS:
                return name
            case ast.Subscript(value=ast.Name(id="meta"), slice=ast.Constant(value=str(name))):
                return name
        return None

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=bool() | int() | float() | str() as value):
                return value
            case ast.Name(id=name) if name in CONSTANTS:
                return CONSTANTS[name]
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return -value
            case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
                return [self._value(item) for item in items]
        raise self._refused(node)

    def _refused(self, node: ast.AST) -> SearchAppError:
        part = ast.get_source_segment(self.expression.strip(), node) or ast.unparse(node)
        return SearchAppError(f"--filter {self.expression!r}: {part!r} cannot stand there; {EXAMPLE}")

    def _evaluate(self, node: ast.expr, segment: pa.StructArray) -> np.ndarray:
        match node:
            case ast.BoolOp(op=operator, values=values):
                parts = [self._evaluate(value, segment) for value in values]
                return np.logical_and.reduce(parts) if isinstance(operator, ast.And) else np.logical_or.reduce(parts)
            case ast.UnaryOp(operand=operand):
                return ~self._evaluate(operand, segment)
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                steps = zip([left, *comparators], ops, comparators, strict=False)
                return np.logical_and.reduce([_compare(segment, *self._comparison(*step)) for step in steps])
        raise self._refused(node)


def _compare(segment: pa.StructArray, key: str, operation: str, value: Any) -> np.ndarray:
    """Compare one column with a value; False where the key is missing or the types do not go together."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if operation == "in":
        found = [_compare(segment, key, "equal", item) for item in value]
        return np.logical_or.reduce(found) if found else np.zeros(len(segment), dtype=bool)
    if operation in ("not_equal", "not in"):
        return ~_compare(segment, key, "equal" if operation == "not_equal" else "in", value)
    place = segment.type.get_field_index(f"{kind_of(value)}:{key}")
    if place < 0:
        return np.zeros(len(segment), dtype=bool)
    column = segment.field(place)
    if kind_of(value) == "number" and not (pa.types.is_integer(column.type) and _is_int64(value)):
        column, value = pc.cast(column, pa.float64(), safe=False), as_float(value)
    result = getattr(pc, operation)(column, pa.scalar(value, column.type))
    return np.asarray(pc.fill_null(result, False))


def _is_int64(value: int | float) -> bool:
    return isinstance(value, int) and -(2**63) <= value < 2**63
