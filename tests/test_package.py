"""The package as it is installed: what it exports, ships, and costs to open."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest
from npe2 import PluginManager, PluginManifest

import tomochrome
from tomochrome.bundles import weights_folder

ROOT = Path(__file__).resolve().parents[1]


def test_the_version_is_the_distribution_s() -> None:
    assert tomochrome.__version__ == version("napari-tomochrome")


@pytest.mark.parametrize("name", tomochrome.__all__)
def test_every_public_name_leads_somewhere(name: str) -> None:
    assert getattr(tomochrome, name) is not None
    assert name in dir(tomochrome)


@pytest.mark.parametrize("first", ["pass", "import tomochrome.colorization", "tc.models()"])
def test_colorize_can_be_called_whatever_was_imported_before(first: str) -> None:
    code = f"import tomochrome as tc\n{first}\ntc.colorize(None, 'nobody')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ModelError: unknown model 'nobody'" in done.stderr, done.stderr


def test_colorize_is_a_function_and_no_module_has_its_name() -> None:
    code = (
        "import inspect, pkgutil, sys, tomochrome as tc\n"
        "import tomochrome.colorization, tomochrome.training\n"
        "assert inspect.isfunction(tc.colorize), tc.colorize\n"
        "names = {module.name for module in pkgutil.iter_modules(tc.__path__)}\n"
        "print(sorted(names & set(tc.__all__)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_name_is_a_function_at_first_and_a_module_later() -> None:
    """`tomochrome.training.finish` was: a lazy name that its own module took the place of."""
    code = (
        "import importlib, inspect, pkgutil, tomochrome\n"
        "found = pkgutil.walk_packages(tomochrome.__path__, 'tomochrome.')\n"
        "names = [m.name for m in found if m.ispkg and '_napari' not in m.name]\n"
        "for name in ['tomochrome', *names]:\n"
        "    package = importlib.import_module(name)\n"
        "    for public in getattr(package, '__all__', []):\n"
        "        for _ in range(2):\n"
        "            scope = {}\n"
        "            exec(f'from {name} import {public}', scope)\n"
        "            if inspect.ismodule(scope[public]):\n"
        "                print(name, public)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="attribute nothing"):
        _ = tomochrome.nothing


def test_napari_finds_the_manifest() -> None:
    manager = PluginManager()
    manager.discover()
    manifest = manager.get_manifest("napari-tomochrome")
    assert manifest.display_name == "Tomochrome"


def test_the_manifest_is_the_one_at_the_top_of_the_repository() -> None:
    (entry,) = entry_points(group="napari.manifest", name="napari-tomochrome")
    found = PluginManifest._from_entrypoint(entry, entry.dist)
    assert found.contributions == PluginManifest.from_file(ROOT / "napari.yaml").contributions


def test_the_weights_are_found() -> None:
    assert (weights_folder() / "transfer-function" / "configs" / "metadata.json").is_file()


@pytest.mark.parametrize(
    "code",
    [
        "import tomochrome",
        "from tomochrome.cli import main; assert main(['--help']) == 0",
    ],
    ids=["import", "help"],
)
def test_it_opens_with_python_s_own_modules_and_ours(code: str) -> None:
    """And with the loader of names. Others take seconds; `benchmarks/opening.py` measures them."""
    run = (
        f"import sys\nbefore = set(sys.modules)\n{code}\n"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=True)
    loaded = done.stderr.split()
    assert set(loaded) - set(sys.stdlib_module_names) == {"tomochrome", "lazy_loader"}


@pytest.mark.slow
def test_a_built_wheel_carries_manifest_and_weights(tmp_path: Path) -> None:
    """Build without a network; `make wheel` goes on to install it in an empty environment."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    subprocess.run([*build, "--outdir", tmp_path, ROOT], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    unpacked = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    shipped = unpacked / "tomochrome"
    assert (shipped / "napari.yaml").read_bytes() == (ROOT / "napari.yaml").read_bytes()
    for file in (ROOT / "weights").rglob("*.*"):
        copy = shipped / "weights" / file.relative_to(ROOT / "weights")
        assert copy.read_bytes() == file.read_bytes()
    assert (shipped / "py.typed").is_file()
    phantom = ROOT / "src" / "ctphantom"
    for file in (path for path in phantom.iterdir() if path.is_file()):
        assert (unpacked / "ctphantom" / file.name).read_bytes() == file.read_bytes()
    assert not (unpacked / "tests").exists()
    code = "from tomochrome.bundles import weights_folder as f; print(f())"
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    found = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment
    )
    assert Path(found.stdout.strip()) == shipped / "weights"
    code = "from tomochrome.training.export import read_license as f; print(f(), end='')"
    license_ = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, env=environment, cwd=tmp_path
    )
    assert license_.stdout == (ROOT / "LICENSE").read_bytes()
