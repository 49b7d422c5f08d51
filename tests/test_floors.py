"""The order of the packages, checked by reading every import statement."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
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


@cache
def statements(path: Path) -> tuple[ast.Import | ast.ImportFrom, ...]:
    """Every import statement of a module, wherever in the file."""
    tree = nested(ast.parse(path.read_text(encoding="utf-8")))
    return tuple(node for node in tree if isinstance(node, ast.Import | ast.ImportFrom))


def nested(node: ast.AST) -> Iterator[ast.AST]:
    """A statement and those inside it, without expressions: `ast.walk` takes twice as long."""
    yield node
    for field in ("body", "orelse", "handlers", "finalbody", "cases"):
        for statement in getattr(node, field, ()):
            yield from nested(statement)


@cache
def imports(path: Path) -> frozenset[str]:
    """Every absolute name that a module imports."""
    names: set[str] = set()
    for node in statements(path):
        names |= {alias.name for alias in node.names if isinstance(node, ast.Import)}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            assert node.module is not None
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def package_of(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def test_every_package_has_a_place_in_the_order() -> None:
    # `__init__` imports its names from the packages on first use
    assert {package_of(path) for path in MODULES} - {"__init__"} == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_from_packages_below(package: str) -> None:
    allowed = set(PACKAGES[: PACKAGES.index(package) + 1])
    if package == "_napari":
        allowed -= {"cli"}
    for path in (path for path in MODULES if package_of(path) == package):
        used = {name.split(".")[1] for name in imports(path) if name.startswith("tomochrome.")}
        used &= set(PACKAGES)
        assert used <= allowed, f"{path} imports from {sorted(used - allowed)}"


@pytest.mark.parametrize("folder", NAPARI_FOLDERS)
def test_a_folder_of_napari_imports_only_from_those_before_it(folder: str) -> None:
    package = SRC / "_napari"
    folders = {path.name for path in package.iterdir() if (path / "__init__.py").exists()}
    assert folders == set(NAPARI_FOLDERS)
    allowed = NAPARI_FOLDERS[: NAPARI_FOLDERS.index(folder) + 1]
    used = {name for path in (package / folder).glob("*.py") for name in imports(path)}
    names = {name.split(".")[2] for name in used if name.startswith("tomochrome._napari.")}
    assert names <= set(allowed)


def test_the_phantom_needs_numpy_scipy_and_numba_only() -> None:
    for path in PHANTOM:
        used = {name.split(".")[0] for name in imports(path)} - sys.stdlib_module_names
        assert used <= {"ctphantom", "numpy", "scipy", "numba", "lazy_loader"}, path


def test_what_the_core_imports_is_declared() -> None:
    """Without napari, which installs more, or as the extra that the user is told to install."""
    settings = tomllib.loads((SRC.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    project = settings["project"]
    extras = project["optional-dependencies"]
    core = [path for path in MODULES if package_of(path) != "_napari"]
    used = {name.split(".")[0] for path in core for name in imports(path)}
    used -= {*sys.stdlib_module_names, "tomochrome", "ctphantom", "pydantic_core"}  # of pydantic
    optional = {"av": "video", "zarr": "zarr", "vtkmodules": "render",
                "highdicom": "segmentation", "jinja2": "page"}  # fmt: skip
    owners = packages_distributions()
    for name in used:
        declared = extras[optional[name]] if name in optional else project["dependencies"]
        names = {one.split(">=")[0].lower() for one in declared}
        made_by = {owner.lower() for owner in owners[name.lstrip("_")]}
        assert names & made_by, f"{name} is not declared"


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
        lazy: list[ast.AST] = []
        if stub.exists():
            source = stub.read_text(encoding="utf-8").replace("from .", f"from {name}.")
            lazy = list(ast.walk(ast.parse(source)))
        for node in (*statements(path), *lazy):
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


def test_only_the_napari_package_imports_the_window_system() -> None:
    for path in (path for path in MODULES if package_of(path) != "_napari"):
        used = {name.split(".")[0] for name in imports(path)}
        assert not used & WINDOW_SYSTEM, path


def test_names_of_files_are_unique() -> None:
    """A name says what is in the file, whatever its folder."""
    names = [path.name for path in (*MODULES, *PHANTOM) if not path.name.startswith("__")]
    assert [name for name, count in Counter(names).items() if count > 1] == []


def test_private_names_stay_in_their_module() -> None:
    imported = [
        f"{path.relative_to(SRC.parent)}: {name.name}"
        for path in (*MODULES, *PHANTOM)
        for statement in statements(path)
        if isinstance(statement, ast.ImportFrom)
        and (statement.module or "").startswith(("tomochrome", "ctphantom"))
        for name in statement.names
        if name.name.startswith("_") and not name.name.startswith(("__", "_napari"))
    ]
    assert not imported


def test_kernels_call_no_compiled_functions_of_another_file() -> None:
    """Numba compiles a function again only when its own file has changed."""
    kernels = [path for path in (*MODULES, *PHANTOM) if path.stem.endswith("_kernels")]
    assert kernels
    for path in kernels:
        assert not [name for name in imports(path) if "_kernels" in name], path


def loaded_by(*modules: str, warnings: str = "error") -> dict[str, set[str]]:
    """Import modules one after another in a new process; return what each of them loaded."""
    code = (
        "import importlib, sys\nseen = set()\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    print(name, *sys.modules.keys() - seen)\n"
        "    seen = set(sys.modules)\n"
    )
    words = [sys.executable, "-W", warnings, "-c", code, *modules]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [name for name, *_ in lines] == list(modules)
    return {name: set(loaded) for name, *loaded in lines}


def test_a_panel_opens_without_what_only_its_work_needs() -> None:
    """It takes twice as long with ``scipy.ndimage``, which a worker imports afterwards."""
    pytest.importorskip("napari")
    later = {"torch", "monai", "pydicom", "SimpleITK", "nibabel", "scipy.ndimage"}
    panels = ("colorize.colorize_widget", "hints.hints_panel", "registration.register_widget")
    names = [f"tomochrome._napari.{panel}" for panel in panels]
    # warnings are napari's
    for panel, loaded in loaded_by(*names, warnings="ignore").items():
        assert not loaded & later, panel


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = {"numpy", "numba", "scipy", "torch", "monai", "SimpleITK", "pydicom", "napari"}
    for module, loaded in loaded_by("tomochrome", "tomochrome.cli").items():
        assert not loaded & heavy, module


def test_no_package_loads_a_network_library_when_it_is_imported() -> None:
    packages = [f"tomochrome.{name}" for name in PACKAGES if name != "_napari"]
    for module, loaded in loaded_by("tomochrome", *packages).items():
        assert not loaded & {"torch", "monai", "napari", "qtpy"}, module


def test_modules_of_the_tests_have_names_of_their_own() -> None:
    """Python knows them by that name alone: of two, one would be imported in place of the other."""
    tests = Path(__file__).parent
    names = [path.name for path in tests.rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))
    for path in tests.rglob("*.py"):
        assert "\nfrom conftest import" not in path.read_text(encoding="utf-8"), path
