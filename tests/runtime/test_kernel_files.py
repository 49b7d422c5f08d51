"""Numba recompiles a kernel only when its own file changes: what it calls must be in that file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[2] / "src"
COMPILERS = {"njit", "kernel", "_kernel", "in_chunks"}
PACKAGES = ("ctphantom", "tomochrome")
CONSTANTS = "tomochrome.color.space"
"""Limits of sRGB and CIELAB, which the kernels of color share with code that does without Numba."""


def compiled(tree: ast.Module) -> list[ast.FunctionDef]:
    """The functions of a module that Numba compiles."""
    functions = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            used = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
            if any(isinstance(d, ast.Name) and d.id in COMPILERS for d in used):
                functions.append(node)
    return functions


TREES = {
    path: tree
    for package in PACKAGES
    for path in sorted((SRC / package).rglob("*.py"))
    if any(f"@{name}" in (text := path.read_text(encoding="utf-8")) for name in COMPILERS)
    and compiled(tree := ast.parse(text))
}


def test_the_kernels_of_all_packages_are_checked() -> None:
    packages = {path.relative_to(SRC).parent.as_posix() for path in TREES}
    assert packages >= {
        "ctphantom",
        *(f"tomochrome/{name}" for name in (
            "color", "colorization", "compare", "evaluate", "geometry", "io/dicom",
            "registration", "training", "transform",
        )),
    }  # fmt: skip


@pytest.mark.parametrize("path", TREES, ids=lambda p: p.name)
def test_a_kernel_calls_no_function_of_another_file(path: Path) -> None:
    imported = {
        alias.asname or alias.name
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith(PACKAGES)
        and node.module != CONSTANTS
        for alias in node.names
    }
    for function in compiled(TREES[path]):
        inside = {n.id for part in function.body for n in ast.walk(part) if isinstance(n, ast.Name)}
        foreign = inside & imported - {argument.arg for argument in function.args.args}
        assert not foreign, f"{function.name} uses {sorted(foreign)}"
