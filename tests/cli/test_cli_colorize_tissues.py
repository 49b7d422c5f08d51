"""``tomochrome colorize``: which tissues are in color (``--only``, ``--hide``, ``--dim``)."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
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
