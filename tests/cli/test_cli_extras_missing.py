"""Without an extra: one sentence that says how to install it, before any work, and no output.

Each test runs in a process of its own, in which the package cannot be found, as if it was never
installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_cases import make_series, small_ct

import tomochrome as tc

PACKAGES = {"vtk": ("vtk", "vtkmodules"), "highdicom": ("highdicom",), "jinja2": ("jinja2",)}
EXTRAS = {"vtk": "render", "highdicom": "segmentation", "jinja2": "page"}
HIDE = """
import importlib, importlib.machinery, json, sys
hidden = set(json.loads(sys.argv[1]))

class Hiding(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            return None
        return super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Hiding
"""
COMMANDS = f"""{HIDE}
import contextlib, io
from tomochrome.cli import main

told = []
for words in json.loads(sys.argv[2]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(words)
    told.append([status, out.getvalue(), err.getvalue()])
print(json.dumps(told))
"""
WRITERS = f"""{HIDE}
import numpy as np
import tomochrome as tc
from pathlib import Path
from tomochrome.color import Lighting
from tomochrome.errors import OutputError
from tomochrome.io import write_segmentation, write_surfaces
from tomochrome.io.page import CasePage

folder = sys.argv[2]
volume = tc.read(f"{{folder}}/ct.nii.gz")
chroma = tc.colorize(volume, "transfer-function")
out = f"{{folder}}/out"

def page(name):
    made = CasePage(volume, Lighting.of(volume))
    made.add(chroma, "Model")
    made.write(Path(name))

calls = {{
    "vtk": [
        lambda: tc.write(chroma.tissue_volume(), out + "/a.stl"),
        lambda: write_surfaces(chroma.tissue_volume(), out + "/a.stl"),
        lambda: write_surfaces(chroma.tissue_volume(), out + "/a.ply"),
    ],
    "highdicom": [
        lambda: tc.write(chroma.tissue_volume(), out + "/a.dcm"),
        lambda: write_segmentation(chroma, out + "/a.dcm"),
        lambda: write_segmentation(chroma, out + "/a.dcm", kind="fractional"),
    ],
    "jinja2": [
        lambda: tc.write(tc.light(volume, chroma), out + "/a.html"),
        lambda: page(out + "/a.html"),
    ],
}}[sys.argv[3]]
told = []
for call in calls:
    try:
        call()
        told.append("nothing")
    except OutputError as error:
        told.append(str(error))
print(json.dumps(told))
"""


def without(package: str, code: str, *words: str) -> Any:
    """Return what a program prints as JSON where a package is not installed."""
    hidden = json.dumps(PACKAGES.get(package, [name for p in PACKAGES.values() for name in p]))
    done = subprocess.run(
        [sys.executable, "-c", code, hidden, *words], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(tc.__file__).parents[1])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("input")
    make_series(folder / "series")
    tc.write(small_ct(), folder / "ct.nii.gz")
    return folder


def asked(package: str, out: Path) -> list[list[str]]:
    """The command lines that need a package, without the command and its input."""
    color = ["-o", f"{out}/c.nrrd"]
    return {
        "vtk": [
            [*color, "--surfaces", f"{out}/s.stl"],
            [*color, "--surfaces", f"{out}/s.ply"],
        ],
        "highdicom": [
            [*color, "--tissue-map", f"{out}/t.dcm"],
            [*color, "--tissue-map", f"{out}/t.dcm", "--segmentation", "fractional"],
            ["-o", f"{out}/d/", "--tissue-map", f"{out}/t.dcm", "--join-study"],
        ],
        "jinja2": [
            ["-o", f"{out}/c.html"],
            ["-o", f"{out}/c.html", "--compare"],
            ["-o", f"{out}/c.htm", "--look", "photograph"],
        ],
    }[package]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_missing_extra_is_one_sentence_with_the_command_that_installs_it(
    package: str, inputs: Path, tmp_path: Path
) -> None:
    model = ["--model", "transfer-function"]
    lines = [["colorize", str(inputs / "series"), *w, *model] for w in asked(package, tmp_path)]
    if package == "jinja2":
        lines.append(
            ["evaluate", "color", str(inputs / "series"), "--page", f"{tmp_path}/e.html", *model]
        )
        lines.append(["batch", str(inputs / "series"), "-o", f"{tmp_path}/b", "--format", "html"])
    for status, out, err in without(package, COMMANDS, json.dumps(lines)):
        assert (status, out) == (2, "")
        assert err.startswith("error: ") and err.count("\n") == 1, err
        assert f"needs the package {package}; install it with pip install " in err
        assert f'"napari-tomochrome[{EXTRAS[package]}]"' in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_the_same_sentence_in_python(package: str, inputs: Path, tmp_path: Path) -> None:
    tc.write(small_ct(), tmp_path / "ct.nii.gz")
    (tmp_path / "out").mkdir()
    messages = without(package, WRITERS, str(tmp_path), package)
    assert len(messages) > 1
    for message in messages:
        assert f"needs the package {package}; install it with pip install " in message
        assert f'"napari-tomochrome[{EXTRAS[package]}]"' in message
    assert list((tmp_path / "out").iterdir()) == []


def test_everything_else_works_without_all_extras(inputs: Path, tmp_path: Path) -> None:
    """What the default installation holds: pictures in 3D need no extra either."""
    model = ["--model", "transfer-function"]
    ct = str(inputs / "series")
    lines = [
        ["render", ct, "-o", f"{tmp_path}/r.png", "--size=112x112", "--quality=draft", *model],
        ["colorize", ct, "-o", f"{tmp_path}/c.tomochrome", *model],
        [
            "colorize",
            ct,
            "-o",
            f"{tmp_path}/c.png",
            "--tissue-map",
            f"{tmp_path}/t.seg.nrrd",
            *model,
        ],
        ["colorize", ct, "-o", f"{tmp_path}/d/", "--join-study", *model],
        ["palette", "-o", f"{tmp_path}/p.ctbl"],
        ["slicer", f"{tmp_path}/modules"],
    ]
    told = without("all", COMMANDS, json.dumps(lines))
    assert [status for status, _, _ in told] == [0] * len(lines), told
    names = {"r.png", "c.tomochrome", "c.png", "t.seg.nrrd", "d", "p.ctbl", "modules"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert np.asarray(tc.open_colored(tmp_path / "c.tomochrome").volume.voxels).any()
