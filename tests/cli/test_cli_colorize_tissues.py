"""``tomochrome colorize``: which tissues are in color (``--only``, ``--hide``, ``--dim``)."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from cli_cases import Run, make_series

from tomochrome.tissue import TISSUE_NAMES

Capture = pytest.CaptureFixture[str]
MODEL = ("--model", "transfer-function")


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_series(tmp_path_factory.mktemp("input") / "series")


def test_tissues_can_be_shown_alone_hidden_and_dimmed(
    series: Path, tmp_path: Path, capfd: Capture
) -> None:
    chroma = {}
    for name, extra in {
        "all": (),
        "only": ("--only", "muscle, skin"),
        "faint": ("--only=muscle", "--others=dim"),
        "without": ("--hide=fat", "--dim=muscle"),
    }.items():
        out = tmp_path / f"{name}.nii.gz"
        tissue = ("--tissue-map", tmp_path / "tissue.nii.gz", "--force")
        run = Run(capfd, "colorize", series, "-o", out, *MODEL, *tissue, *extra)
        assert run.status == 0, run.err
        rgb = np.asarray(nib.load(out).dataobj)
        chroma[name] = np.ptp(np.stack([rgb[c].astype(int) for c in "RGB"]), axis=0)
    tissues = np.asarray(nib.load(tmp_path / "tissue.nii.gz").dataobj)
    fat, muscle = (tissues == TISSUE_NAMES.index(name) for name in ("fat", "muscle"))
    assert chroma["all"][fat].any()
    assert chroma["all"][muscle].any()
    assert not chroma["only"][fat].any()
    assert not chroma["without"][fat].any()
    assert 0 < chroma["faint"][fat].sum() < 0.6 * chroma["all"][fat].sum()
    assert 0 < chroma["without"][muscle].sum() < 0.6 * chroma["all"][muscle].sum()
    for name in ("only", "faint"):
        np.testing.assert_array_equal(chroma[name][muscle], chroma["all"][muscle])


def test_an_unknown_tissue_is_refused_before_the_work(
    series: Path, tmp_path: Path, capfd: Capture
) -> None:
    run = Run(capfd, "colorize", series, "-o", tmp_path / "x.png", *MODEL, "--only", "gizzard")
    assert run.status == 2
    assert "unknown tissue 'gizzard'" in run.err
    assert run.err.count("\n") == 1
    run = Run(capfd, "colorize", series, "-o", tmp_path / "x.png", *MODEL, "--others", "dim")
    assert run.status == 2
    assert "give --only" in run.complaint


def test_tissues_for_other_programs(series: Path, tmp_path: Path, capfd: Capture) -> None:
    color = tmp_path / "color"
    for number, tissue in enumerate(("t.nii.gz", "t.seg.nrrd", "t.dcm")):
        words = ("--tissue-map", tmp_path / tissue, "--surfaces", tmp_path / f"{number}.stl")
        joined = ("--join-study",) if number == 2 else ()
        more = (*MODEL, "--only", "fat,muscle", *words, *joined, "--force")
        run = Run(capfd, "colorize", series, "-o", f"{color}/", *more)
        assert run.status == 0, run.err
    written = {path.name for path in tmp_path.iterdir()}
    assert {"t.nii.gz", "t.json", "t.seg.nrrd", "t.dcm", "0.stl", "2.stl"} <= written
    source = pydicom.dcmread(min(series.iterdir()))
    for path in (tmp_path / "t.dcm", min(color.iterdir())):
        assert pydicom.dcmread(path).StudyInstanceUID == source.StudyInstanceUID


def test_surfaces_of_tissues_that_the_scan_does_not_show(
    series: Path, tmp_path: Path, capfd: Capture
) -> None:
    words = ("colorize", series, *MODEL, "-o", tmp_path / "a.nii.gz")
    surfaces = ("--surfaces", tmp_path / "a.stl")
    run = Run(capfd, *words, *surfaces, "--only=eye")
    assert "has none of the chosen tissues (eye); there is nothing to write" in run.complaint
    assert list(tmp_path.iterdir()) == []
    for only, absent in (("fat,eye,brain", "brain, eye"), ("fat,muscle", "")):
        run = Run(capfd, *words, *surfaces, "--force", "--only", only)
        assert run.status == 0, run.err
        assert (tmp_path / "a.stl").stat().st_size > 1000
        assert (f"no surface of {absent}: not in the tissue map" in run.err) == bool(absent)
        assert bool(absent) == ("no surface" in run.err)
    run = Run(capfd, *words, *surfaces, "--force", "--hide", "fat")
    assert run.status == 0 and "no surface" not in run.err


def test_outputs_of_tissues_that_do_not_fit_are_refused(
    series: Path, tmp_path: Path, capfd: Capture
) -> None:
    for words, told in (
        (("-o", tmp_path / "a.stl"), "holds tissues, not colors"),
        (("-o", tmp_path / "a.nii.gz", "--surfaces", tmp_path / "a.obj"), "use the extension .stl"),
        (("-o", tmp_path / "a.nii.gz", "--join-study"), "--join-study is for DICOM outputs"),
    ):
        run = Run(capfd, "colorize", series, *words, *MODEL)
        assert run.status == 2
        assert told in run.complaint
    assert list(tmp_path.iterdir()) == []


def test_a_palette_is_written_as_a_color_table(tmp_path: Path, capfd: Capture) -> None:
    for name in ("a.ctbl", "a.json"):
        assert Run(capfd, "palette", "vivid", "-o", tmp_path / name).status == 0
        assert "vivid" in (tmp_path / name).read_text()
    assert "must end in" in Run(capfd, "palette", "-o", tmp_path / "a.txt").complaint
    assert "already exists" in Run(capfd, "palette", "-o", tmp_path / "a.ctbl").complaint
