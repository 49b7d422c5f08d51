"""Numba recompiles a kernel only when its own file changes: what it calls must be in that file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[2] / "src" / "tomochrome"
PACKAGES = ("registration", "transform", "compare", "geometry")
COMPILERS = {"njit", "kernel", "in_chunks"}


def compiled(tree: ast.Module) -> list[ast.FunctionDef]:
    """The functions of a module that Numba compiles."""
    found = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            used = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
            if any(isinstance(d, ast.Name) and d.id in COMPILERS for d in used):
                found.append(node)
    return found


@pytest.mark.parametrize(
    "path",
    [p for package in PACKAGES for p in sorted((SRC / package).rglob("*.py"))],
    ids=lambda p: p.name,
)
def test_a_kernel_calls_no_function_of_another_file(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tomochrome")
        for alias in node.names
    }
    for function in compiled(tree):
        inside = {n.id for part in function.body for n in ast.walk(part) if isinstance(n, ast.Name)}
        foreign = inside & imported - {argument.arg for argument in function.args.args}
        assert not foreign, f"{function.name} uses {sorted(foreign)}"
