"""Cells of tables that are text: how long they may be, and their values.

A value is a number or true/false where it would be written the same again.
"""

from __future__ import annotations

import csv
import math
import re

# No leading zeros, and at most 18 digits: "007" and longer numbers are names, and would not come back the same.
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,30})?(?:[eE][-+]?[0-9]{1,3})?")
_BOOLEANS = {"true": True, "false": False}
# A quote that is never closed would otherwise swallow the whole rest of a file into one cell.
MOST_CHARACTERS = 16 * 2**20


def allow_long_cells() -> None:
    """Let ``csv``, which refuses cells of more than 131,072 characters, read up to ``MOST_CHARACTERS``.

    Whoever reads with ``csv`` calls it first; the limit is one for the whole process.
    """
    csv.field_size_limit(max(csv.field_size_limit(), MOST_CHARACTERS))


def typed(cell: str) -> bool | int | float | str:
    """A whole number, a float or true/false where the cell is one and the value is written as the cell is.

    Others keep their text: 3.10, 12e5 and -0 would come back as 3.1, 1200000.0 and 0. Filters compare by value all the
    same.
    """
    if cell.lower() in _BOOLEANS:
        return _BOOLEANS[cell.lower()]
    if _INTEGER.fullmatch(cell) and str(int(cell)) == cell:
        return int(cell)
    if _FLOAT.fullmatch(cell) and math.isfinite(float(cell)) and repr(float(cell)) == cell:
        return float(cell)
    return cell
