"""The order of the packages, checked by reading every import statement."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src" / "tomochrome"
MODULES = sorted(SRC.rglob("*.py"))
PHANTOM = sorted((SRC.parent / "ctphantom").rglob("*.py"))

# A package may import from itself and from those named before it, and from no others.
PACKAGES = (
    "errors",
    "tissue",
    "notices",
    "volume",
    "formats",
    "runtime",
    "geometry",
    "windowing",
    "color",
    "bundles",
    "io",
    "phantom",
    "transform",
    "colorization",
    "rendering",
    "compare",
    "evaluate",
    "restoration",
    "registration",
    "training",
    "cli",
    "_napari",
)
#: The same for the folders of `_napari`.
NAPARI_FOLDERS = (
    "layers",
    "kit",
    "export",
    "viewer",
    "series",
    "compare",
    "colorize",
    "registration",
    "hints",
    "restore",
)
WINDOW_SYSTEM = {"napari", "qtpy", "PyQt5", "PyQt6", "PySide6", "vispy", "magicgui", "superqt"}


def imports(path: Path) -> Iterator[str]:
    """Every absolute name that a module imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package_of(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SRC)))
def test_a_package_imports_only_from_packages_below(path: Path) -> None:
    package = package_of(path)
    if package == "__init__":  # imports its names from the packages on first use
        return
    assert package in PACKAGES, f"'{package}' has no place in the order of the packages"
    allowed = set(PACKAGES[: PACKAGES.index(package) + 1])
    if package == "_napari":
        allowed -= {"cli"}
    used = {name.split(".")[1] for name in imports(path) if name.startswith("tomochrome.")}
    used &= set(PACKAGES)
    assert used <= allowed, f"{package} imports from {sorted(used - allowed)}"


@pytest.mark.parametrize("folder", NAPARI_FOLDERS)
def test_a_folder_of_napari_imports_only_from_those_before_it(folder: str) -> None:
    package = SRC / "_napari"
    folders = {path.name for path in package.iterdir() if (path / "__init__.py").exists()}
    assert folders == set(NAPARI_FOLDERS)
    allowed = NAPARI_FOLDERS[: NAPARI_FOLDERS.index(folder) + 1]
    used = {name for path in (package / folder).glob("*.py") for name in imports(path)}
    names = {name.split(".")[2] for name in used if name.startswith("tomochrome._napari.")}
    assert names <= set(allowed)


@pytest.mark.parametrize("path", PHANTOM, ids=lambda p: p.name)
def test_the_phantom_needs_numpy_scipy_and_numba_only(path: Path) -> None:
    used = {name.split(".")[0] for name in imports(path)} - sys.stdlib_module_names
    assert used <= {"ctphantom", "numpy", "scipy", "numba", "lazy_loader"}


def test_one_module_imports_the_phantom() -> None:
    """Another takes the compilation of kernels from it, and nothing else."""
    users = {
        path: names
        for path in MODULES
        if (names := {name for name in imports(path) if name.split(".")[0] == "ctphantom"})
    }
    compiling = {"ctphantom.compiling", "ctphantom.compiling.kernel"}
    assert users.keys() == {SRC / "phantom.py", SRC / "runtime" / "kernels.py"}
    assert users[SRC / "runtime" / "kernels.py"] == compiling


def test_no_files_import_each_other_in_a_circle() -> None:
    """Nor inside functions, where a circle does not show when the program starts."""
    files = {module_name(path): path for path in (*MODULES, *PHANTOM)}
    uses: dict[str, set[str]] = {name: set() for name in files}
    for name, path in files.items():
        stub = path.with_suffix(".pyi")  # what a package imports on first use
        source = (
            stub.read_text(encoding="utf-8").replace("from .", f"from {name}.")
            if stub.exists()
            else ""
        )
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8") + source)):
            if isinstance(node, ast.Import):
                uses[name] |= {alias.name for alias in node.names} & files.keys()
            elif isinstance(node, ast.ImportFrom):
                # a module of a package is not what the package's own file offers
                whole = {f"{node.module}.{alias.name}" for alias in node.names}
                inside = whole & files.keys()
                uses[name] |= inside if inside == whole else inside | {str(node.module)}
        uses[name] &= files.keys()
    try:
        TopologicalSorter(uses).prepare()
    except CycleError as error:
        pytest.fail(f"files import each other: {' <- '.join(error.args[1])}")


def module_name(path: Path) -> str:
    """Name under which a file is imported."""
    parts = path.relative_to(SRC.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SRC)))
def test_only_the_napari_package_imports_the_window_system(path: Path) -> None:
    if package_of(path) == "_napari":
        return
    used = {name.split(".")[0] for name in imports(path)}
    assert not used & WINDOW_SYSTEM


def test_names_of_files_are_unique() -> None:
    """A name says what is in the file, whatever its folder."""
    names = [path.name for path in (*MODULES, *PHANTOM) if not path.name.startswith("__")]
    assert [name for name, count in Counter(names).items() if count > 1] == []


def loaded_by(statement: str, warnings: str = "error") -> set[str]:
    """Return the names of all modules that a new process has after a statement."""
    code = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", warnings, "-c", code], check=True, capture_output=True, text=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "panel", ["colorize.colorize_widget", "hints.hints_panel", "registration.register_widget"]
)
def test_a_panel_opens_without_what_only_its_work_needs(panel: str) -> None:
    """It takes twice as long with ``scipy.ndimage``, which a worker imports afterwards."""
    pytest.importorskip("napari")
    later = {"torch", "monai", "pydicom", "SimpleITK", "nibabel", "scipy.ndimage"}
    # warnings are napari's
    assert not loaded_by(f"import tomochrome._napari.{panel}", "ignore") & later


@pytest.mark.parametrize(
    "module",
    [
        "tomochrome",
        "tomochrome.cli",
        "tomochrome.color",
        "tomochrome.colorization",
        "tomochrome.compare",
        "tomochrome.evaluate",
        "tomochrome.geometry",
        "tomochrome.io",
        "tomochrome.phantom",
        "tomochrome.rendering",
        "tomochrome.training",
        "tomochrome.windowing",
    ],
)
def test_no_package_loads_a_network_library_when_it_is_imported(module: str) -> None:
    assert not loaded_by(f"import {module}") & {"torch", "monai", "napari", "qtpy"}


@pytest.mark.parametrize("module", ["tomochrome", "tomochrome.cli"])
def test_importing_the_package_loads_nothing_heavy(module: str) -> None:
    heavy = {"numpy", "numba", "scipy", "torch", "monai", "SimpleITK", "pydicom", "napari"}
    assert not loaded_by(f"import {module}") & heavy


def test_modules_of_the_tests_have_names_of_their_own() -> None:
    """Python knows them by that name alone: of two, one would be imported in place of the other."""
    tests = Path(__file__).parent
    names = [path.name for path in tests.rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))
    for path in tests.rglob("*.py"):
        assert "\nfrom conftest import" not in path.read_text(encoding="utf-8"), path
