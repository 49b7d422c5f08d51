"""The look of a photograph: lightness of the tissue, texture of the CT, and always marked."""

from __future__ import annotations

import numpy as np
import pytest

from tomochrome.color import Chroma
from tomochrome.color.codes import FreeColors, Mixtures
from tomochrome.color.convert import srgb_to_lab
from tomochrome.color.palettes import palette, palette_names
from tomochrome.color.photograph_look import NOT_FROM_SCANNER, photograph_look, photograph_palette
from tomochrome.errors import InputError, OptionError
from tomochrome.io.slice_pictures import caption
from tomochrome.tissue import N_TISSUES, Tissue
from tomochrome.volume import Volume

ROWS = {Tissue.FAT: -100, Tissue.MUSCLE: 55, Tissue.LUNG: -850, Tissue.BRAIN: 35, Tissue.AIR: -1000}


def scan(noise: float = 30.0) -> tuple[Volume, Chroma]:
    """Rows of tissues, with noise that becomes texture."""
    rng = np.random.default_rng(2)
    code = np.repeat(np.array(list(ROWS), np.uint16), 40)[None, :, None].repeat(60, 2)
    hu = np.array([ROWS.get(tissue, 0) for tissue in Tissue])[code]
    hu = np.rint(hu + rng.normal(0, noise, code.shape)).astype(np.int16)
    volume = Volume(hu)
    table = Mixtures(np.eye(N_TISSUES, dtype=np.float32))
    return volume, Chroma(code, np.full(code.shape, 255, np.uint8), table, volume.affine, "known")


def test_lightness_is_that_of_the_tissue_to_the_eye() -> None:
    volume, chroma = scan()
    image = photograph_look(volume, chroma)
    L = srgb_to_lab(image.voxels[..., :3])[..., 0]
    mean = {tissue: L[chroma.code == tissue].mean() for tissue in ROWS}
    colors = photograph_palette(palette())
    for tissue in (Tissue.FAT, Tissue.MUSCLE, Tissue.BRAIN, Tissue.LUNG):
        assert mean[tissue] == pytest.approx(colors.lab[tissue, 0], abs=1.0)
    assert mean[Tissue.FAT] > mean[Tissue.BRAIN] > mean[Tissue.LUNG] > mean[Tissue.MUSCLE]
    assert (image.voxels[chroma.code == Tissue.AIR][:, 3] == 0).all()


def test_texture_is_that_of_the_scan() -> None:
    volume, chroma = scan()
    L = srgb_to_lab(photograph_look(volume, chroma).voxels[..., :3])[..., 0]
    muscle = chroma.code == Tissue.MUSCLE
    assert np.corrcoef(L[muscle], np.asarray(volume.voxels)[muscle])[0, 1] > 0.95
    assert 4 < L[muscle].std() < 11


def test_gas_in_the_body_is_black() -> None:
    volume, chroma = scan()
    hu = volume.voxels.copy()
    hu[:, 50:60] = -1000  # in muscle
    image = photograph_look(volume.with_voxels(hu), chroma)
    assert image.voxels[:, 52:58, :, :3].max() == 0


def test_the_picture_is_marked() -> None:
    volume, chroma = scan()
    image = photograph_look(volume, chroma)
    assert NOT_FROM_SCANNER in caption(image)
    assert "window" not in caption(image)
    assert NOT_FROM_SCANNER in image.provenance.extra["description"]
    assert image.provenance.extra["look"] == "photograph"


def test_opacity_curves_and_hidden_tissues_work_as_in_other_pictures() -> None:
    volume, chroma = scan()
    image = photograph_look(volume, chroma, alpha="muscle", tissues={"fat": "grey"})
    fat, muscle = chroma.code == Tissue.FAT, chroma.code == Tissue.MUSCLE
    assert image.voxels[fat][:, 3].mean() < 10 < image.voxels[muscle][:, 3].mean()
    rgb = image.voxels[fat][:, :3].astype(int)
    assert (rgb.max(axis=1) - rgb.min(axis=1)).max() <= 1


@pytest.mark.parametrize("name", palette_names())
def test_every_palette_has_the_look(name: str) -> None:
    base, look = palette(name), photograph_palette(palette(name))
    assert look is photograph_palette(base)
    assert look.lab[Tissue.FAT, 0] > 75
    if name != "natural":
        assert np.array_equal(look.ab, base.ab)


def test_what_has_no_tissues_has_no_such_look() -> None:
    volume, chroma = scan()
    free = Chroma(
        np.minimum(chroma.code, 1), chroma.confidence,
        FreeColors(np.array([[0, 0], [9, 9]], np.float32)), volume.affine, "free",
    )  # fmt: skip
    with pytest.raises(OptionError, match="'free' predicts colors, not tissues"):
        photograph_look(volume, free)
    with pytest.raises(InputError):
        photograph_look(photograph_look(volume, chroma), chroma)
