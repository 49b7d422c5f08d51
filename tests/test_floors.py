"""The plan of the house, held by reading every import statement in it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src" / "tomochrome"
MODULES = sorted(SRC.rglob("*.py"))
PHANTOM = sorted((SRC.parent / "ctphantom").rglob("*.py"))

# A room may import from itself and from the rooms named before it, and from no others.
ROOMS = (
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
    "compare",
    "evaluate",
    "registration",
    "training",
    "cli",
    "_napari",
)
# The same for the folders of `_napari`.
NAPARI_ROOMS = (
    "layers",
    "kit",
    "export",
    "viewer",
    "series",
    "compare",
    "colorize",
    "registration",
    "hints",
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


def room_of(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SRC)))
def test_a_room_imports_only_from_rooms_below(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":  # the front door: it names the rooms and imports them on first use
        return
    assert room in ROOMS, f"'{room}' has no place in the plan of the house"
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    if room == "_napari":
        allowed -= {"cli"}
    used = {name.split(".")[1] for name in imports(path) if name.startswith("tomochrome.")}
    used &= set(ROOMS)
    assert used <= allowed, f"{room} imports from {sorted(used - allowed)}"


@pytest.mark.parametrize("room", NAPARI_ROOMS)
def test_a_folder_of_napari_imports_only_from_those_before_it(room: str) -> None:
    folder = SRC / "_napari"
    assert {p.name for p in folder.iterdir() if (p / "__init__.py").exists()} == set(NAPARI_ROOMS)
    allowed = NAPARI_ROOMS[: NAPARI_ROOMS.index(room) + 1]
    used = {name for path in (folder / room).glob("*.py") for name in imports(path)}
    names = {name.split(".")[2] for name in used if name.startswith("tomochrome._napari.")}
    assert names <= set(allowed)


@pytest.mark.parametrize("path", PHANTOM, ids=lambda p: p.name)
def test_the_phantom_needs_numpy_scipy_and_numba_only(path: Path) -> None:
    used = {name.split(".")[0] for name in imports(path)} - sys.stdlib_module_names
    assert used <= {"ctphantom", "numpy", "scipy", "numba"}


def test_one_module_imports_the_phantom() -> None:
    users = {path for path in MODULES if any(n.split(".")[0] == "ctphantom" for n in imports(path))}
    assert users == {SRC / "phantom.py"}


def test_no_files_import_each_other_in_a_circle() -> None:
    """Nor inside functions, where a circle does not show when the program starts."""
    files = {module_name(path): path for path in (*MODULES, *PHANTOM)}
    uses: dict[str, set[str]] = {name: set() for name in files}
    for name, path in files.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
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
def test_only_the_napari_room_imports_the_window_system(path: Path) -> None:
    if room_of(path) == "_napari":
        return
    used = {name.split(".")[0] for name in imports(path)}
    assert not used & WINDOW_SYSTEM


@pytest.mark.parametrize("path", [*MODULES, *PHANTOM], ids=module_name)
def test_a_module_holds_one_idea(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 600


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
        "tomochrome.training",
        "tomochrome.windowing",
    ],
)
def test_no_room_loads_a_network_library_when_it_is_imported(module: str) -> None:
    assert not loaded_by(f"import {module}") & {"torch", "monai", "napari", "qtpy"}


@pytest.mark.parametrize("module", ["tomochrome", "tomochrome.cli"])
def test_the_front_door_loads_nothing_heavy(module: str) -> None:
    heavy = {"numpy", "numba", "scipy", "torch", "monai", "SimpleITK", "pydicom", "napari"}
    assert not loaded_by(f"import {module}") & heavy


def test_modules_of_the_tests_have_names_of_their_own() -> None:
    """Python knows them by that name alone: of two, one would be imported in place of the other."""
    tests = Path(__file__).parent
    names = [path.name for path in tests.rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))
    for path in tests.rglob("*.py"):
        assert "\nfrom conftest import" not in path.read_text(encoding="utf-8"), path
