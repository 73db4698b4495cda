from __future__ import annotations

import pytest

from searchapp.index.intake.files import kind_of_reason


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("`_id` holds the control character U+000A at character 12", "`_id` holds the control character U+000A at character N"),
        ("invalid UTF-8: 0xff at byte 3", "invalid UTF-8"),
        ("2 cells, the header names 3 (the row runs on to line 4)", "N cells, the header names N"),
        ("metadata `a:b2` holds inf, which is", "metadata `a:b2` holds inf, which is"),
        ("line longer than 67,108,864 bytes: split it", "line longer than N bytes"),
    ],
)  # fmt: skip
def test_reasons_keep_what_tells_them_apart(reason: str, kind: str) -> None:
    assert kind_of_reason(reason) == kind
