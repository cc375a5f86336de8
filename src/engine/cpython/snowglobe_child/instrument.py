"""Compiles the texts of the script, with the changes that Snowglobe asks for (src/engine/marks.rs).

Assertions pass the values of their expressions through a function, and subtests can be skipped.
"""

from __future__ import annotations

import ast
from types import CodeType
from typing import Any

# The functions that rewritten assertions call, by the kind of their mark.
FUNCTIONS = {"value": "_snowglobe_seen", "assertion": "_snowglobe_assert", "check": "_snowglobe_checking"}

# The function that each statement calls first, if the script stops for its user.
STEP = "_snowglobe_step"

# The name in the script that says whether a subtest runs.
RUNS = "_snowglobe_runs"

# The places of assertions and of `with`, each with that of its expression: tracebacks of some versions name the former.
_narrower: dict[tuple[str, Any], Any] = {}


def compile_text(text: str, file: str, marks: dict[str, Any]) -> CodeType:
    """Compiles the script or one of its modules."""
    # The compiler checks more of a text than of a tree.
    compile(text, file, "exec", dont_inherit=True)
    tree = ast.parse(text, file)
    tree = ast.fix_missing_locations(_Marker(text, file, marks).visit(tree))
    return compile(tree, file, "exec", dont_inherit=True)


def span_of(file: str, span: Any) -> Any:
    """Returns the place of its expression, for the place of a statement; other places as they are."""
    return span if span is None else _narrower.get((file, tuple(span)), span)


class _Marker(ast.NodeTransformer):
    def __init__(self, text: str, file: str, marks: dict[str, Any]) -> None:
        self._file = file
        self._expressions = {(mark["begin"], mark["end"]): mark for mark in marks["expressions"]}
        self._subtests = set(marks["subtests"])
        self._steps = marks["steps"]
        self._line_begins = [0]
        for line in text.encode().splitlines(keepends=True):
            self._line_begins.append(self._line_begins[-1] + len(line))

    def _range(self, node: Any) -> tuple[int, int]:
        begin, end = self._line_begins[node.lineno - 1], self._line_begins[node.end_lineno - 1]
        return begin + node.col_offset, end + node.end_col_offset

    def visit(self, node: ast.AST) -> Any:
        """Changes what is in a node, and the node if it is marked."""
        if isinstance(node, ast.JoinedStr):
            # The places in it are none of the text, in some versions.
            return node
        self.generic_visit(node)
        if isinstance(node, ast.expr):
            return self._expression(node)
        if isinstance(node, ast.Assert):
            _narrower[(self._file, _span(node))] = _span(node.test)
        if isinstance(node, ast.With):
            _narrower[(self._file, _span(node))] = _span(node.items[0].context_expr)
        if isinstance(node, ast.With) and self._range(node)[0] in self._subtests:
            self._make_skippable(node)
        if isinstance(node, ast.stmt) and self._steps:
            return self._make_steppable(node)
        return node

    def _make_steppable(self, node: ast.stmt) -> ast.stmt:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            return node
        call = ast.Call(ast.Name(STEP, ast.Load()), [ast.Constant(node.lineno)], [])
        for part in (call, call.func, *call.args):
            ast.copy_location(part, node)
        return ast.copy_location(ast.If(call, [node], []), node)

    def _expression(self, node: Any) -> Any:
        begin, end = self._range(node)
        mark = self._expressions.pop((begin, end), None)
        if mark is None:
            return node
        function: Any = ast.Name(FUNCTIONS[mark["kind"]], ast.Load())
        arguments: list[Any] = [node]
        if mark["kind"] == "assertion":
            function = ast.copy_location(ast.Call(ast.copy_location(function, node), [], []), node)
        if mark["kind"] == "value":
            arguments = [*map(ast.Constant, (begin, end, mark["part"])), node]
        return ast.copy_location(ast.Call(function, arguments, []), node)

    def _make_skippable(self, node: ast.With) -> None:
        for item in node.items:
            call = item.context_expr
            function = call.func if isinstance(call, ast.Call) else None
            if isinstance(function, ast.Name) and function.id == "subtest" and item.optional_vars is None:
                item.optional_vars = ast.copy_location(ast.Name(RUNS, ast.Store()), node)
                runs = ast.copy_location(ast.Name(RUNS, ast.Load()), node)
                node.body = [ast.copy_location(ast.If(runs, node.body, []), node)]
                return


def _span(node: Any) -> tuple[int, int, int, int]:
    return node.lineno, node.end_lineno, node.col_offset, node.end_col_offset
