"""JSON files as values, and the strings in them as text that can be stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from searchapp.corpus.formats.charsets import clean
from searchapp.corpus.formats.reading import Unreadable


def load(path: Path) -> Any:
    """The value of a JSON file in UTF-8, 16 or 32. Raises Unreadable where it is none."""
    try:
        return json.loads(path.read_bytes())
    except RecursionError:
        raise Unreadable("nested too deep") from None
    except ValueError as error:
        raise Unreadable(f"damaged: no JSON ({str(error).splitlines()[0]})") from None


def objects(value: object) -> list[dict[str, Any]]:
    """The objects in a list; none of what is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text_of(value: object) -> str:
    """A string, or the strings of a list put together; "" of anything else. Without NUL and halves of characters."""
    if isinstance(value, list):
        value = "".join(item for item in value if isinstance(item, str))
    return clean(value) if isinstance(value, str) else ""
