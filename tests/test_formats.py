"""One table of formats: what help, refusals and napari's save dialog say is what is written."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tomochrome.cli import main
from tomochrome.errors import OutputError
from tomochrome.formats import DICOM, FORMATS, NIFTI, Format, format_of
from tomochrome.io import write
from tomochrome.volume import Volume, default_affine

ENDINGS = [(known, ending) for known in FORMATS for ending in known.endings]


@pytest.mark.parametrize(("known", "ending"), ENDINGS)
def test_every_format_of_the_table_is_written(known: Format, ending: str, tmp_path) -> None:
    rgba = Volume(np.full((3, 8, 9, 4), 255, np.uint8), default_affine((2.0, 1.0, 1.0)), "RGBA")
    path = f"{tmp_path}/out{ending}"
    write(rgba, path)
    assert format_of(path) is known
    assert [p.name for p in tmp_path.iterdir()] == [f"out{ending}".rstrip("/")]


@pytest.mark.parametrize("command", ["colorize", "transform", "checkerboard"])
def test_help_names_every_format(command: str, capsys) -> None:
    main([command, "--help"])
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    for known in FORMATS:
        assert (f" {known.ending} " if not known.is_folder else "a folder ending in /") in text
    if command == "colorize":
        assert "DICOM Secondary Capture series" in text


@pytest.mark.parametrize("name", ["a.avi", "a.webm", "a.n5", "a", ".png", "a.jpg"])
def test_a_format_that_is_not_written_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(OutputError) as refused:
        format_of(name)
    for known in FORMATS:
        assert known.ending in str(refused.value)
    assert name in str(refused.value)


@pytest.mark.parametrize(
    ("known", "path", "whole"),
    [
        (NIFTI, "a", "a.nii.gz"),
        (NIFTI, "Thorax 1.5 mm", "Thorax 1.5 mm.nii.gz"),
        (NIFTI, "a.nii", "a.nii"),
        (NIFTI, "a.NII.GZ", "a.NII.GZ"),
        (NIFTI, "a.gz", "a.nii.gz"),
        (NIFTI, "a.png", "a.png.nii.gz"),
        (DICOM, "series", "series/"),
        (DICOM, "series//", "series/"),
    ],
)
def test_a_name_is_completed(known: Format, path: str, whole: str) -> None:
    assert known.complete(path) == whole
    assert format_of(whole) is known
