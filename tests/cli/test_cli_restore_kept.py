"""What other commands make of a restored scan keeps its mask."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from cli_cases import Run, small_ct
from PIL import Image

from tomochrome.io import read, write
from tomochrome.volume import OF_RESTORED


@pytest.fixture
def restored(tmp_path):
    """Paths of a scan and of the restored one, and the voxels that differ."""
    clean = small_ct()
    mask = np.zeros(clean.shape, bool)
    mask[2], mask[4, 20:22] = True, True
    voxels = np.where(mask, clean.voxels + 9, clean.voxels).astype(np.int16)
    write(clean, tmp_path / "scan.nii.gz")
    write(replace(clean, voxels=voxels, restored=mask), tmp_path / "r.nii.gz")
    return tmp_path / "scan.nii.gz", tmp_path / "r.nii.gz", mask


def test_coloring_keeps_the_mask_and_hatches_the_sheet(restored, tmp_path, capfd):
    _, scan, mask = restored
    for name in ("c.nii.gz", "c.nrrd", "c.png", "c/"):
        out = f"{tmp_path}/{name}"
        run = Run(capfd, "colorize", scan, "-o", out, "--model", "transfer-function")
        assert run.status == 0, run.err
    np.testing.assert_array_equal(read(tmp_path / "c.nii.gz").restored, mask)
    np.testing.assert_array_equal(read(tmp_path / "c.nrrd").restored, mask)
    with Image.open(tmp_path / "c.png") as sheet:
        assert "hatched" in sheet.info["Comment"]
    assert (tmp_path / "c" / "restored.dcm").exists()


def test_maps_of_tissues_and_confidence_and_surfaces_are_marked(restored, tmp_path, capfd):
    _, scan, mask = restored
    pytest.importorskip("vtkmodules")
    names = ("t.nii.gz k.nrrd s.stl", "t.seg.nrrd k.nii.gz s.ply", "t.dcm k.nii s.stl")
    for number, (tissues, confidence, surfaces) in enumerate(map(str.split, names)):
        folder = tmp_path / str(number)
        folder.mkdir()
        run = Run(
            capfd, "colorize", scan, "-o", folder / "c.png", "--model", "transfer-function",
            "--tissue-map", folder / tissues, "--confidence-map", folder / confidence,
            "--surfaces", folder / surfaces,
        )  # fmt: skip
        assert run.status == 0, run.err
        np.testing.assert_array_equal(read(folder / confidence).restored, mask)
        if tissues != "t.dcm":
            np.testing.assert_array_equal(read(folder / tissues).restored, mask)
        else:
            segmentation = pydicom.dcmread(folder / tissues)
            for text in (segmentation.ContentDescription, segmentation.SeriesDescription):
                assert OF_RESTORED in text and "not for diagnosis" in text and len(text) <= 64
        assert OF_RESTORED.encode() in (folder / surfaces).read_bytes()[:300]


@pytest.mark.parametrize("exists", [False, True])
def test_registering_keeps_the_mask(restored, tmp_path, capfd, exists):
    fixed, moving, mask = restored
    if exists:
        (tmp_path / "out").mkdir()
    run = Run(
        capfd, "register", fixed, moving, "-o", tmp_path / "out",
        "--init", "none", "--model", "none", "--refine", "0", "--json",
    )  # fmt: skip
    assert run.status == 0, run.err
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert sorted(json.loads(run.out)["files"]) == files and "moved_restored.nii.gz" in files
    moved = read(tmp_path / "out" / "moved.nii.gz")
    assert not (mask & ~moved.restored).any()
