"""Who is told how far work is: bars in notebooks and terminals, nobody elsewhere."""

from __future__ import annotations

import io
import sys
from types import ModuleType

import pytest

from searchapp.progress import Bars, Silent, shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("notebook", "terminal", "asked", "kind"),
    [
        (True, False, None, Bars), (False, True, None, Bars), (False, False, None, Silent),
        (True, True, False, Silent), (False, False, True, Bars),
    ],
)  # fmt: skip
def test_bars_where_somebody_looks(
    notebook: bool, terminal: bool, asked: bool | None, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    if notebook:
        monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    monkeypatch.setattr(sys, "stderr", Terminal() if terminal else io.StringIO())
    with shown(asked) as told:
        assert type(told) is kind
        told.stage("encoding", total=3, unit="doc")
        told.advance(2)
    assert ("encoding" in sys.stderr.getvalue()) == (kind is Bars)


def test_a_progress_of_ones_own_is_told() -> None:
    own = Silent()
    with shown(own) as told:
        assert told is own
