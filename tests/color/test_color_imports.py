"""Palettes load quickly, and kernels compile wherever the package is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tomochrome


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_palettes_chroma_and_windows_need_no_compiler() -> None:
    done = run(
        "import sys, tomochrome.tissue, tomochrome.windowing, tomochrome.color.alpha\n"
        "from tomochrome.color import Chroma, palette_names\n"
        "from tomochrome.color.palettes import palette\n"
        "[palette(n).to_dict() for n in palette_names()]\n"
        "assert not {'numba', 'torch', 'scipy', 'napari'} & set(sys.modules)\n"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_kernels_run_where_nothing_can_be_cached(tmp_path: Path) -> None:
    """With a read-only package and home folder, kernels are compiled again without warnings."""
    package = tmp_path / "site" / "tomochrome"
    skip = shutil.ignore_patterns("__pycache__", "phantom", "training", "_napari")
    shutil.copytree(Path(tomochrome.__file__).parent, package, ignore=skip)
    # Files in place of folders also affect root, unlike permissions.
    for folder in [package, *(p for p in package.rglob("*") if p.is_dir())]:
        (folder / "__pycache__").write_text("no cache here")
    home = tmp_path / "home"
    home.write_text("no home")
    code = "from tomochrome.color import srgb_to_lab; print(srgb_to_lab([1.0, 1.0, 1.0]).round(3))"
    done = run(code, PYTHONPATH=str(tmp_path / "site"), HOME=str(home), XDG_CACHE_HOME=str(home),
               PYTHONDONTWRITEBYTECODE="1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("[100.")
