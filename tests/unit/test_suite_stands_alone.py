"""The suite reads nothing beside the repository, and skips a test only for what a machine lacks."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

TESTS = Path(__file__).parents[1]


@functools.cache
def nodes() -> list[tuple[str, ast.AST]]:
    """Every operation, attribute and call of every test file, with its place."""
    return [
        (f"{path.relative_to(TESTS)}:{node.lineno}", node)
        for path in sorted(TESTS.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.BinOp | ast.Attribute | ast.Call)
    ]


def is_way_up(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and str(node.value).startswith("..")


def first_words(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        node = node.values[0]
    return str(node.value) if isinstance(node, ast.Constant) else ""


def uses(*names: str) -> list[tuple[str, ast.AST]]:
    """Where attributes of these dotted names stand; and the calls of them."""
    last = {name.rpartition(".")[2] for name in names}
    return [
        (place, node)
        for place, node in nodes()
        for attribute in [node.func if isinstance(node, ast.Call) else node]
        if isinstance(attribute, ast.Attribute)
        and attribute.attr in last
        and ast.unparse(attribute) in names
    ]


def test_no_path_of_a_test_leads_out_of_the_repository() -> None:
    joined = [
        place
        for place, node in nodes()
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and is_way_up(node.right)
    ]
    assert joined == []


def test_a_skip_says_what_the_machine_lacks() -> None:
    calls = [(place, node) for place, node in uses("pytest.skip") if isinstance(node, ast.Call)]
    assert calls
    unnamed = [
        place for place, call in calls if not first_words(call.args[0]).startswith("missing")
    ]
    assert unnamed == []


def test_nothing_else_skips_and_least_of_all_a_package_of_the_lock() -> None:
    assert uses("pytest.importorskip", "pytest.mark.skip", "pytest.mark.skipif") == []


def is_mark(decorator: ast.expr) -> bool:
    return ast.unparse(decorator).startswith("pytest.mark.")


def test_marks_stand_on_tests_where_pytest_reads_them() -> None:
    ignored = [
        f"{path.relative_to(TESTS)}:{node.lineno} {node.name}"
        for path in sorted(TESTS.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and any(is_mark(decorator) for decorator in node.decorator_list)
        and not node.name.startswith(("test_", "Test"))
    ]
    assert ignored == []
