"""PowerPoint presentations, as python-pptx writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from searchapp.corpus.formats.reading import Limits, Unreadable
from searchapp.corpus.formats.slides import read
from tests.corpus.formats import packages
from tests.corpus.formats.packages import shown


def test_what_another_library_wrote(tmp_path: Path) -> None:
    from pptx import Presentation
    from pptx.util import Inches

    made = Presentation()
    made.core_properties.title = "On Bees"
    first = made.slides.add_slide(made.slide_layouts[1])
    first.shapes.title.text = "Bees"
    frame = first.placeholders[1].text_frame
    frame.text = "They fly"
    inner = frame.add_paragraph()
    inner.text, inner.level = "far", 1
    first.notes_slide.notes_text_frame.text = "Say hello."
    second = made.slides.add_slide(made.slide_layouts[6])
    second.shapes.add_textbox(0, 0, Inches(1), Inches(1)).text_frame.text = "loose\vtext"
    table = second.shapes.add_table(2, 2, 0, 0, Inches(2), Inches(2)).table
    for number, text in enumerate(["Name", "Age", "Ann", "7"]):
        table.cell(number // 2, number % 2).text = text
    group = second.shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, Inches(1), Inches(1)).text_frame.text = "in a group"
    ids = made.slides._sldIdLst
    ids.insert(0, ids[1])  # the order is that of the presentation, not of the files
    made.save(str(tmp_path / "a.pptx"))
    facts, blocks = packages.read(read, tmp_path / "a.pptx")
    assert (facts.title, facts.pages) == ("On Bees", 2)
    assert shown(blocks) == [
        "*H1 Slide 1", "T loose\ntext", "R1 Name | Age", "R Ann | 7", "T in a group",
        "*H1 Bees", "L1 - They fly", "L2 - far", "T Say hello.",
    ]  # fmt: skip
    assert [block.where["slide"] for block in blocks if block.where] == [1] * 5 + [2] * 4


def test_more_slides_than_allowed(tmp_path: Path) -> None:
    from pptx import Presentation

    made = Presentation()
    for _ in range(3):
        made.slides.add_slide(made.slide_layouts[6])
    made.save(str(tmp_path / "a.pptx"))
    with pytest.raises(Unreadable, match="3 slides; at most 2 are read"):
        list(read(tmp_path / "a.pptx", Limits(pages=2)))


def test_no_presentation(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="no presentation inside"):
        list(read(packages.package(tmp_path / "a.pptx", {"a": "x"}), Limits()))
