"""Source code: which lines belong to which definition, in Python and by the grammars of other languages."""

from __future__ import annotations

import ast
import sysconfig
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.formats.code import PYTHON as PYTHON_ENDINGS
from searchapp.corpus.formats.code import python_definitions, read
from searchapp.corpus.formats.definitions import Definition, definition_blocks
from searchapp.corpus.formats.grammars import GRAMMARS
from searchapp.corpus.formats.reading import Facts, Limits
from searchapp.corpus.formats.table import BY_NAME
from tests.corpus.formats.packages import SHORT


def code(tmp_path: Path, name: str, text: str) -> list[Block]:
    """The blocks of a source file; checks that they are its text, end to end."""
    text = textwrap.dedent(text).lstrip("\n")
    (tmp_path / name).write_text(text)
    blocks = [block for block in read(tmp_path / name, Limits()) if not isinstance(block, Facts)]
    check(text, blocks)
    return blocks


def check(text: str, blocks: list[Block]) -> None:
    lead = blocks[0].start if blocks else len(text)
    assert not text[:lead].strip()
    assert "".join(block.text for block in blocks) == text[lead:]
    for block in blocks:
        assert text[block.start : block.end] == block.text
        assert block.line == 1 + text.count("\n", 0, block.start)
        assert block.end_line == block.line + block.text.rstrip().count("\n")


def symbols(blocks: list[Block]) -> list[str]:
    """Of each definition its kind, its name with those around it, and its first and last line with its body."""
    found = []
    for block in blocks:
        where = block.where or {}
        if block.kind is BlockKind.SIGNATURE:
            found.append([where["kind"], where["symbol"], block.line, block.end_line])
        elif found and where.get("symbol") == found[-1][1]:
            found[-1][3] = block.end_line
    return [f"{kind} {symbol} {first}-{last}" for kind, symbol, first, last in found]


PYTHON = '''
    """Module."""
    import os

    # about f
    # more
    @cache
    def f(a,
          b=1):  # trailing

        # below
        return a


    class A(B):
        """Doc
        of A."""

        x = 1

        @property
        def g(self):
            """Doc of g."""
            def inner():
                pass
            return 1

        async def h(self): return 2

        class C:
            def i(self): ...

    if os:
        def j(): pass
    else:
        def j(): pass
    main()
'''


def test_python(tmp_path: Path) -> None:
    blocks = code(tmp_path, "a.py", PYTHON)
    assert symbols(blocks) == [
        "function f 4-11", "class A 14-18", "method A.g 20-25", "method A.h 27-27", "class A.C 29-29", "method A.C.i 30-30",
        "function j 33-33", "function j 35-35",
    ]  # fmt: skip
    assert [f"{SHORT[b.kind]}{b.depth}" for b in blocks] == [
        "C0", "S0", "C1", "S0", "T1", "C1", "S1", "T2", "C2", "S1", "S1", "S2", "C0", "S0", "C0", "S0", "C0",
    ]  # fmt: skip
    assert blocks[1].text == "# about f\n# more\n@cache\ndef f(a,\n      b=1):  # trailing\n\n"
    assert blocks[-1].where == {"kind": "module"}
    assert [block.label for block in blocks if block.label] == ["f", "A", "g", "h", "C", "i", "j", "j"]


def test_python_that_cannot_be_parsed_is_read_all_the_same(tmp_path: Path) -> None:
    blocks = code(tmp_path, "a.py", 'print "old"\n\ndef f():\n  pass\n')
    assert [block.kind for block in blocks] == [BlockKind.CODE]
    assert code(tmp_path, "b.py", "x = " + "(" * 5_000 + ")" * 5_000)
    assert code(tmp_path, "c.py", "\n\n") == []


def test_definitions_of_a_library_are_those_that_the_parser_finds() -> None:
    folder = Path(sysconfig.get_paths()["stdlib"])
    for name in ("argparse.py", "dataclasses.py", "typing.py", "zipfile.py"):
        text = (folder / name).read_text()
        blocks = list(definition_blocks(text, python_definitions(text), Limits()))
        check(text, blocks)
        tree = ast.parse(text)
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        inner = {id(node) for one in functions for node in ast.walk(one) if node is not one}
        named = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        expected = sorted((n.lineno, n.name) for n in ast.walk(tree) if isinstance(n, named) and id(n) not in inner)
        found = [block for block in blocks if block.kind is BlockKind.SIGNATURE]
        assert [block.label for block in found] == [name for _, name in expected]
        for block, (line, _) in zip(found, expected, strict=True):
            assert block.line <= line <= block.end_line


SOURCES = {
    "a.js": ("""
        /** About f. */
        export function f(a) {
          return a
        }
        const g = async (x) => {
          return x
        }, k = 1
        export default class A extends B {
          // about m
          m() { return 1 }
          static n() {
            return 2
          }
        }
        run()
     """, ["function f 1-4", "function g 5-7", "class A 8-8", "method A.m 9-10", "method A.n 11-13"]),
    "b.js": ("""
        // about all
        (function (root) {
          // about f
          root.f = function (a) {
            return a
          }
          function g() {
          }
        })(this)
     """, ["function root.f 3-6", "function g 7-8"]),
    "a.ts": ("""
        interface I { a: string }
        export type T = string
        namespace N {
          export abstract class C<T> {
            m(): void {}
          }
        }
        enum E { A }
     """, ["interface I 1-1", "type T 2-2", "module N 3-3", "class N.C 4-4", "method N.C.m 5-5", "enum E 8-8"]),
    "a.java": ("""
        package p;
        /** About A. */
        @Deprecated
        public class A {
            int x;
            A() { }
            // about m
            void m(int a)
            {
                x = a;
            }
            enum E { ONE }
        }
     """, ["class A 2-5", "method A.A 6-6", "method A.m 7-11", "enum A.E 12-12"]),
    "a.c": ("""
        #include <a.h>
        /* about f */
        static int *f(int a)
        {
            return 0;
        }
        struct s { int x; };
        struct s *g(struct s *p) {
            return p;
        }
        #ifdef X
        void h(void) {}
        #endif
     """, ["function f 2-6", "struct s 7-7", "function g 8-10", "function h 12-12"]),
    "a.cpp": ("""
        namespace n {
        template <class T>
        class A {
          void m() { }
        };
        }
        int n::A::k() const {
          return 1;
        }
     """, ["namespace n 1-1", "class n.A 2-3", "method n.A.m 4-4", "function n::A::k 7-9"]),
    "a.go": ("""
        package p
        // about T
        type T struct {
            a int
        }
        func (t *T) M() int {
            return 1
        }
        func f() {}
     """, ["type T 2-5", "method T.M 6-8", "function f 9-9"]),
    "a.rs": ("""
        /// about S
        #[derive(Debug)]
        pub struct S { a: u8 }
        impl Display for S {
            fn m(&self) -> u8 {
                1
            }
        }
        fn f() {}
     """, ["struct S 1-3", "impl S 4-4", "method S.m 5-7", "function f 9-9"]),
    "a.cs": ("""
        namespace N {
          public class A {
            public int X { get; set; }
            public void M() {
            }
          }
        }
     """, ["namespace N 1-1", "class N.A 2-2", "property N.A.X 3-3", "method N.A.M 4-5"]),
    "a.rb": ("""
        module M
          # about a
          class A
            def m(x)
              x
            end
            def self.n = 1
          end
        end
     """, ["module M 1-1", "class M.A 2-3", "method M.A.m 4-6", "method M.A.n 7-7"]),
    "a.php": ("""
        <?php
        function f($a) {
            return $a;
        }
        class A {
            public function m() {
            }
        }
     """, ["function f 2-4", "class A 5-5", "method A.m 6-7"]),
    "a.sh": ("""
        # about f
        f() {
          echo x
        }
        f
     """, ["function f 1-4"]),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_other_languages(tmp_path: Path, name: str) -> None:
    pytest.importorskip("tree_sitter")
    pytest.importorskip(GRAMMARS[Path(name).suffix].module)
    source, expected = SOURCES[name]
    blocks = code(tmp_path, name, source)
    found = symbols(blocks)
    assert [whole(line) for line in found] == [whole(line) for line in expected]


def whole(line: str) -> str:
    """A definition with its lines, without the last one of what holds others, whose closing lines stand behind them."""
    return line.rpartition("-")[0] if line.startswith(("class", "module", "namespace", "impl")) else line


def test_brackets_in_brackets_and_endless_lines(tmp_path: Path) -> None:
    pytest.importorskip("tree_sitter")
    assert code(tmp_path, "a.js", "x = " + "[" * 50_000)
    assert code(tmp_path, "b.js", "function f(){};" * 20_000)
    assert code(tmp_path, "c.java", "class A {\n" * 450)


@given(
    st.text("ab \n", max_size=60),
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 5), st.integers(0, 9), st.integers(0, 4)), max_size=5),
)
@settings(max_examples=300, deadline=None)
def test_any_definitions_make_blocks_that_are_the_text(text: str, spans: list[tuple[int, int, int, int]]) -> None:
    found = [Definition("n", "k", a, a + b + 1, a + c, a + b + d) for a, b, c, d in sorted(spans)]
    check(text, list(definition_blocks(text, found, Limits())))


def test_the_table_knows_every_ending_of_a_grammar() -> None:
    assert set(BY_NAME["code"].endings) == {*PYTHON_ENDINGS, *GRAMMARS}
