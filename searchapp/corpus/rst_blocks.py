"""Blocks of reStructuredText, as docutils and Sphinx read it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from searchapp.corpus.blocks import Block, BlockKind, Builder, Located, indent_of
from searchapp.corpus.headings import _clip, _is_run, _underlines

_DIRECTIVE = re.compile(r"[ \t]*\.\. +(?:[a-z][a-z0-9]*:)?([a-zA-Z][\w.+-]*)::(?:[ \t]+(.*))?$")
_ITEM = re.compile(r"[ \t]*(?:[-+*•‣⁃]|\(?(?:[0-9]{1,9}|#|[a-zA-Z])[.)]|:[^:\s][^:]{0,80}:)(?=[ \t]|$)")
_SIMPLE = re.compile(r"[ \t]*=+(?:[ \t]+=+)+[ \t]*$")
_GRID = re.compile(r"[ \t]*\+(?:[-=]+\+)+[ \t]*$")
_GRID_HEADER = re.compile(r"[ \t]*\+(?:=+\+)+[ \t]*$")
_DEEPEST = 16  # definitions in one another; what is nested deeper counts to the sixteenth
_CODE = frozenset(
    "code code-block sourcecode literalinclude parsed-literal math testcode testsetup testoutput doctest "
    "productionlist graphviz prompt raw csv-table".split()
)
# What Sphinx's domains describe: each is the name of a thing, and what is indented below it is about that thing.
_DEFINITIONS = frozenset(
    "function method classmethod staticmethod decorator decoratormethod class exception attribute property data "
    "describe object option cmdoption envvar confval setting opcode 2to3fixer pdbcommand "
    "var member macro type struct union enum enumerator concept directive role command "
    "cfunction cmacro ctype cmember cvar audit-event autofunction autoclass automethod autoexception".split()
)


def rst_blocks(lines: Iterable[Located]) -> Iterator[Block]:
    """Yield titles, paragraphs, list items, table rows, literal blocks, and what Sphinx calls object descriptions.

    A title's level is the order in which its underline is first used. An entry of a definition list is a list item.
    """
    reader = _Rst()
    for line in lines:
        reader.read(line)
        if reader.builder.ready:
            yield from reader.builder.take()
    reader.end()
    yield from reader.builder.take()


class _Rst:
    """What is open while the lines go by."""

    def __init__(self) -> None:
        self.builder = Builder()
        self._styles: list[str] = []  # of titles, in the order of their levels
        self._title = 0  # lines to come of the title that is open
        self._fresh = True  # at the top, after a blank line or a title
        self._ended = False  # the last line ended with "::", so that an indented block is literal
        self._indent = 0  # of the last paragraph
        self._code = -1  # code lasts as long as lines are indented more than this; -1 where none is open
        self._doctest = False
        self._entry = -1  # an entry of a definition list lasts as long as lines are indented more than this
        self._definitions: list[int] = []  # indentation of each open definition
        self._table: list[Located] = []
        self._simple = False  # the table is a simple one, not a grid

    def read(self, line: Located) -> None:
        text = line.text
        if not text or text.isspace():
            self._blank(line)
        elif self._table:
            self._table_line(line)
        elif self._title:
            self.builder.add(line)
            self._title -= 1
            self._fresh = not self._title
        elif not self._fresh and self._code < 0 and not text[0].isspace() and self._entry < 0:
            self.builder.add(line)  # by far the most lines
            self._ended = text.rstrip().endswith("::")
        else:
            self._block(line)

    def end(self) -> None:
        self._close_table()
        self.builder.close()

    def _blank(self, line: Located) -> None:
        if self._table:
            self._close_table()
        self.builder.blank(line)
        self._fresh = True
        self._doctest = False

    def _block(self, line: Located) -> None:
        indent = indent_of(line.text)
        if self._code >= 0:
            if indent > self._code or self._doctest:
                self.builder.add(line)
                return
            self._code = -1
        if not self._fresh and not (self._entry >= indent and self.builder.kind is BlockKind.LIST_ITEM):
            self.builder.add(line)
            self._ended = line.text.rstrip().endswith("::")
            return
        if self._entry >= 0:
            if indent > self._entry and not _ITEM.match(line.text) and not self._special(line):
                self.builder.add(line)
                self._fresh, self._ended = False, line.text.rstrip().endswith("::")
                return
            self._entry = -1 if indent <= self._entry else self._entry
        self._open(line, indent)

    def _special(self, line: Located) -> bool:
        """Whether something other than a paragraph begins: a directive, a table, an example, a literal block."""
        bare = line.text.strip()
        return bare.startswith((">>> ", ".. ")) or self._ended or bool(_SIMPLE.match(bare) or _GRID.match(bare))

    def _open(self, line: Located, indent: int) -> None:
        text, builder = line.text, self.builder
        bare = text.rstrip()
        while self._definitions and indent <= self._definitions[-1]:
            self._definitions.pop()
        depth = len(self._definitions)
        literal = self._ended and indent > self._indent
        self._ended = False
        if literal:
            self._code = self._indent
            builder.begin(BlockKind.CODE, line, depth=depth)
            return  # what follows is code as long as it is indented
        if self._opens_title(line):
            return
        self._fresh = False
        stripped = bare.lstrip()
        if stripped.startswith(".. ") and (directive := _DIRECTIVE.match(bare)):
            self._directive(line, indent, depth, directive[1].lower(), directive[2] or "")
        elif stripped.startswith(">>> "):
            self._code, self._doctest = indent, True
            builder.begin(BlockKind.CODE, line, depth=depth)
        elif stripped[0] in "=+" and (_SIMPLE.match(bare) or _GRID.match(bare)):
            builder.close()
            self._table, self._simple = [line], stripped[0] == "="
        elif _ITEM.match(bare):
            self._indent = indent + 1
            self._entry = indent
            self._ended = bare.endswith("::")
            builder.begin(BlockKind.LIST_ITEM, line, level=1 + indent // 2, depth=depth)
        elif not stripped.startswith((".. ", "| ")) and line.second.strip() and indent_of(line.second) > indent:
            self._entry = indent
            self._indent = indent + 1
            builder.begin(BlockKind.LIST_ITEM, line, level=1 + indent // 2, depth=depth)
        else:
            self._indent = indent
            self._ended = bare.endswith("::")
            builder.begin(BlockKind.TEXT, line, depth=depth)

    def _opens_title(self, line: Located) -> bool:
        bare, second = line.text.rstrip(), line.second.rstrip()
        if bare[0].isspace():
            return False
        run = _is_run(bare)
        if run and second.strip() and not _is_run(second) and line.third.rstrip() == bare:
            style, self._title, text = bare[0] * 2, 2, second
        elif not run and _underlines(second, bare):
            style, self._title, text = second[0], 1, bare
        else:
            return False
        if style not in self._styles:
            self._styles.append(style)
        self._entry = -1
        self.builder.begin(BlockKind.HEADING, line, self._styles.index(style) + 1, _clip(text))
        return True

    def _directive(self, line: Located, indent: int, depth: int, name: str, argument: str) -> None:
        builder = self.builder
        self._indent = indent
        if name in _DEFINITIONS:
            label = _clip(argument)
            builder.begin(BlockKind.SIGNATURE, line, label=label, depth=depth)
            if depth < _DEEPEST:
                self._definitions.append(indent)
        elif name in _CODE:
            self._code = indent
            self._fresh = True
            builder.begin(BlockKind.CODE, line, depth=depth)
        else:
            builder.begin(BlockKind.TEXT, line, depth=depth)

    def _table_line(self, line: Located) -> None:
        """Collect a table: its header is known by the border that follows it."""
        self._table.append(line)
        if self._simple and _SIMPLE.match(line.text.rstrip()) and not line.second.strip():
            self._close_table()
            self._fresh = True

    def _close_table(self) -> None:
        """Hand out the rows of the table; what stands above the second of three borders is its header."""
        table, self._table = self._table, []
        if not table:
            return
        mark = _SIMPLE if self._simple else _GRID_HEADER
        borders = [number for number, line in enumerate(table) if mark.match(line.text.rstrip())]
        header = -1
        if self._simple and len(borders) > 2:
            header = borders[1]
        elif not self._simple and borders:
            header = borders[0]
        depth = len(self._definitions)
        opens = False  # a row begins, whatever the line looks like
        for number, line in enumerate(table):
            border = bool(_GRID.match(line.text.rstrip())) if not self._simple else number in borders
            closing = self._simple and number == len(table) - 1 and border
            if number == 0:
                self.builder.begin(BlockKind.TABLE_ROW, line, level=1 if header >= 0 else 0, depth=depth)
            elif number <= header or closing or not (opens or (self._simple and _begins_row(line) and number > 1)):
                self.builder.add(line)
            else:
                self.builder.begin(BlockKind.TABLE_ROW, line, depth=depth)
            opens = number == header or (number > max(header, 0) and border and not self._simple)


def _begins_row(line: Located) -> bool:
    """Whether the first column of a simple table's line holds something: else it continues the row above."""
    return not line.text[:2].isspace() and not _SIMPLE.match(line.text.rstrip())
