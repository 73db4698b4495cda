"""The grammars of tree-sitter by endings, and which of their nodes are definitions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from searchapp.corpus.formats.definitions import Definition
from searchapp.corpus.formats.reading import Limits, Unreadable

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

_COMMENTS = frozenset("comment line_comment block_comment attribute_item attribute_list decorator".split())
_IDENTIFIER = re.compile(r"[^\W\d]\w*")
_WRAPPERS = frozenset(
    "export_statement ambient_declaration lexical_declaration variable_declaration template_declaration".split()
)
_MOST_BYTES = 50_000_000


@dataclass(frozen=True, slots=True)
class Grammar:
    """A grammar: its module and function; ``kinds`` of definitions by type of node.

    ``inside`` are the definitions that hold others; ``through`` the nodes that stand around definitions. ``member`` is
    the kind of a function that stands in a type.
    """

    module: str
    kinds: dict[str, str]
    inside: frozenset[str] = frozenset()
    through: frozenset[str] = frozenset()
    function: str = "language"
    member: str = "method"
    types: frozenset[str] = field(default_factory=lambda: frozenset(("class", "interface", "trait", "struct", "impl")))


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _kinds(**named: str) -> dict[str, str]:
    """``function="a b"`` as ``{"a": "function", "b": "function"}``."""
    return {node: kind for kind, nodes in named.items() for node in nodes.split()}


_SCRIPT = _kinds(
    function="function_declaration generator_function_declaration function_signature",
    method="method_definition abstract_method_signature", interface="interface_declaration",
    enum="enum_declaration", type="type_alias_declaration", module="internal_module module",
) | {"class_declaration": "class", "abstract_class_declaration": "class", "class": "class"}  # fmt: skip
_SCRIPT |= dict.fromkeys(_ASSIGNED := ("variable_declarator", "assignment_expression"), "function")
_IN_SCRIPT = _words("class_declaration abstract_class_declaration class internal_module module")
_AROUND_SCRIPT = _words(
    "program export_statement class_body statement_block lexical_declaration variable_declaration "
    "ambient_declaration expression_statement "
    # a function that is called at once, or given to one that is, holds the definitions of many older files
    "call_expression arguments parenthesized_expression unary_expression function_expression arrow_function"
)
_C = _kinds(
    function="function_definition", struct="struct_specifier", enum="enum_specifier", union="union_specifier",
    type="type_definition", macro="preproc_function_def",
)  # fmt: skip
_AROUND_C = _words(
    "translation_unit preproc_if preproc_ifdef preproc_else preproc_elif linkage_specification declaration_list "
    "template_declaration field_declaration_list"
)
_JAVA = _kinds(
    interface="interface_declaration annotation_type_declaration", enum="enum_declaration",
    method="method_declaration constructor_declaration compact_constructor_declaration",
) | {"class_declaration": "class", "record_declaration": "class"}  # fmt: skip
_SHARP = _kinds(
    interface="interface_declaration", enum="enum_declaration", struct="struct_declaration",
    method="method_declaration constructor_declaration operator_declaration", property="property_declaration",
    namespace="namespace_declaration", delegate="delegate_declaration", function="local_function_statement",
) | {"class_declaration": "class", "record_declaration": "class"}  # fmt: skip
_GO = _kinds(function="function_declaration", method="method_declaration", type="type_declaration")
_RUST = _kinds(
    function="function_item", struct="struct_item union_item", enum="enum_item", trait="trait_item", impl="impl_item",
    module="mod_item", macro="macro_definition", type="type_item",
)  # fmt: skip
_RUBY = {"method": "method", "singleton_method": "method", "class": "class", "module": "module"}
_PHP = _kinds(
    function="function_definition", interface="interface_declaration", trait="trait_declaration",
    enum="enum_declaration", method="method_declaration", namespace="namespace_definition",
) | {"class_declaration": "class"}  # fmt: skip

_JS = Grammar("tree_sitter_javascript", _SCRIPT, _IN_SCRIPT, _AROUND_SCRIPT)
_TS = Grammar("tree_sitter_typescript", _SCRIPT, _IN_SCRIPT, _AROUND_SCRIPT, "language_typescript")
_TSX = Grammar("tree_sitter_typescript", _SCRIPT, _IN_SCRIPT, _AROUND_SCRIPT, "language_tsx")
_CPP = Grammar(
    "tree_sitter_cpp", _C | {"class_specifier": "class", "namespace_definition": "namespace"},
    _words("class_specifier struct_specifier namespace_definition"), _AROUND_C,
)  # fmt: skip
_BRACES = _words("class_body interface_body enum_body enum_body_declarations declaration_list program compilation_unit")
GRAMMARS: dict[str, Grammar] = {
    **dict.fromkeys((".js", ".jsx", ".mjs", ".cjs"), _JS),
    **dict.fromkeys((".ts", ".mts", ".cts"), _TS),
    ".tsx": _TSX,
    ".java": Grammar("tree_sitter_java", _JAVA, _words(" ".join(_JAVA)) - {"method_declaration"}, _BRACES),
    **dict.fromkeys((".c", ".h"), Grammar("tree_sitter_c", _C, frozenset(), _AROUND_C)),
    **dict.fromkeys((".cc", ".cpp", ".cxx", ".hpp", ".hh", ".hxx"), _CPP),
    ".go": Grammar("tree_sitter_go", _GO, frozenset(), _words("source_file")),
    ".rs": Grammar(
        "tree_sitter_rust", _RUST, _words("trait_item impl_item mod_item"), _words("source_file declaration_list")
    ),
    ".cs": Grammar(
        "tree_sitter_c_sharp", _SHARP,
        _words("class_declaration struct_declaration interface_declaration record_declaration namespace_declaration"),
        _BRACES | {"file_scoped_namespace_declaration", "global_statement"},
    ),
    ".rb": Grammar("tree_sitter_ruby", _RUBY, _words("class module"), _words("program body_statement")),
    ".php": Grammar(
        "tree_sitter_php", _PHP,
        _words("class_declaration interface_declaration trait_declaration enum_declaration namespace_definition"),
        _words("program declaration_list compound_statement enum_declaration_list"), "language_php",
    ),
    **dict.fromkeys(
        (".sh", ".bash"),
        Grammar("tree_sitter_bash", {"function_definition": "function"}, frozenset(), _words("program if_statement")),
    ),
}  # fmt: skip


@cache
def _parser(module: str, function: str) -> Parser:
    from tree_sitter import Language, Parser

    return Parser(Language(getattr(import_module(module), function)()))


def definitions(text: str, grammar: Grammar, limits: Limits) -> list[Definition]:
    """The definitions of source code by a grammar, in order, what stands in another behind it."""
    data = text.encode()
    if len(data) > _MOST_BYTES:
        raise Unreadable(f"more than {_MOST_BYTES:,} bytes of source code")
    tree = _parser(grammar.module, grammar.function).parse(data)
    found: list[Definition] = []
    frames = [_Frame(iter(tree.root_node.children), "")]
    while frames:
        frame = frames[-1]
        node = next(frame.nodes, None)
        if node is None:
            frames.pop()
            continue
        if node.type in _COMMENTS:
            frame.see_comment(node)
            continue
        kind = grammar.kinds.get(node.type, "")
        above, first = frame.comment, frame.first_line(node)
        if kind and node.is_named and (node.type not in _ASSIGNED or _is_function(node)):
            if frame.kind in grammar.types and kind == "function":
                kind = grammar.member
            if (one := _definition(node, kind, first)) is None:
                continue
            found.append(one)
            frame.around = 0
            if node.type not in grammar.inside:
                continue
            frames.append(_Frame(iter(node.children), kind))
        elif node.type in _WRAPPERS & grammar.through:
            frames.append(_Frame(iter(node.children), frame.kind, around=first))
        elif node.type in grammar.through:
            frames.append(_Frame(iter(node.children), frame.kind, comment=above))
        if len(frames) > limits.depth:
            raise Unreadable(f"definitions nested more than {limits.depth} deep")
    return found


class _Frame:
    """The nodes of a level that are still to be seen, and the comment that stands above the next one.

    ``around`` is the first line of the node around, such as ``export``, where its first definition is to come.
    """

    __slots__ = ("_last", "around", "comment", "kind", "nodes")

    def __init__(self, nodes: Iterator[Node], kind: str, around: int = 0, comment: tuple[int, int] = (0, 0)) -> None:
        self.nodes, self.kind, self.around = nodes, kind, around
        self.comment = comment  # its first and last line
        self._last = 0  # the last line of the node before

    def see_comment(self, node: Node) -> None:
        """Take notice of a comment or annotation; one behind other code is no comment of what follows."""
        first, last = node.start_point[0] + 1, _last_line(node)
        if first != self._last:
            begin = self.comment[0] if self.comment[0] and first <= self.comment[1] + 1 else first
            self.comment = (begin, last)

    def first_line(self, node: Node) -> int:
        """The line at which a node begins, with the comment directly above it and what stands around it."""
        line: int = node.start_point[0] + 1
        begin, end = self.comment
        first = begin if begin and end + 1 >= line else line
        if node.is_named:
            self._last, self.comment = _last_line(node), (0, 0)
        return min(first, self.around) if self.around else first


def _last_line(node: Node) -> int:
    """The last line of a node; some include the end of their line."""
    row, column = node.end_point
    return row if column == 0 and row > node.start_point[0] else row + 1


def _value(node: Node) -> Node | None:
    return node.child_by_field_name("value") or node.child_by_field_name("right")


def _is_function(node: Node) -> bool:
    value = _value(node)
    return value is not None and value.type in ("arrow_function", "function_expression", "function", "class")


def _definition(node: Node, kind: str, first: int) -> Definition | None:
    """A definition; None for what only declares or names a type."""
    body = node.child_by_field_name("body")
    if kind in ("struct", "enum", "union") and body is None and "specifier" in node.type:
        return None
    line, last = node.start_point[0] + 1, _last_line(node)
    value = _value(node) if node.type in _ASSIGNED else None
    inner = body or (value.child_by_field_name("body") if value is not None else None)
    behind = inner.start_point[0] + 2 if inner is not None else last + 1  # behind the line of the brace
    if inner is not None and inner.type == "body_statement":  # no brace: behind the line of what stands before it
        before = [child for child in node.children if child.end_byte <= inner.start_byte]
        behind = max((child.end_point[0] + 2 for child in before if child.type not in _COMMENTS), default=line + 1)
    return Definition(_name(node, kind), kind, first, max(line + 1, behind), last)


def _name(node: Node, kind: str) -> str:
    """The name of a definition, of a function in C down the declarators, of a method in Go with its receiver."""
    name = node.child_by_field_name("name") or node.child_by_field_name("left")
    if name is None and kind == "impl":
        name = node.child_by_field_name("type")
    inner = node
    for _ in range(20):
        following = inner.child_by_field_name("declarator")
        if name is not None or following is None:
            break
        inner = following
        if inner.child_by_field_name("declarator") is None:
            name = inner
    if name is None and kind == "type":  # Go: type (…) or type T …
        name = next((child.child_by_field_name("name") for child in node.named_children), None)
    text = (name.text or b"").decode("utf-8", "replace") if name is not None else ""
    text = " ".join(text.split())[:200]
    receiver = node.child_by_field_name("receiver")
    if receiver is not None and receiver.text and node.type == "method_declaration":
        words = _IDENTIFIER.findall(receiver.text.decode("utf-8", "replace").partition("[")[0])
        return f"{words[-1]}.{text}" if words else text
    return text
