"""Selected tissues in 3D: what is singled out is seen, what is dimmed or grey is seen through."""

from __future__ import annotations

import numpy as np
import pytest

from tomochrome.color import ALPHA_PRESETS, Chroma, Lighting, LitVolume, TissueSelection
from tomochrome.tissue import N_TISSUES, Tissue
from tomochrome.volume import Volume, default_affine

N = 48
AFFINE = default_affine((2.0, 2.0, 2.0))
_GRID = np.stack(np.meshgrid(*[np.arange(N) - N / 2 + 0.5] * 3, indexing="ij"))
RADIUS = np.sqrt((_GRID**2).sum(axis=0))
#: outer radius in voxels, HU
SHELLS = {
    Tissue.SKIN: (22, 40.0),
    Tissue.FAT: (20, -100.0),
    Tissue.CORTICAL_BONE: (17, 900.0),
    Tissue.BRAIN: (14, 35.0),
    Tissue.FLUID: (5, 8.0),
}


def head(part: slice = slice(None)) -> tuple[Volume, Chroma]:
    """A brain with a ventricle in a skull, under fat and skin: balls in each other, in air."""
    hu = np.full(RADIUS.shape, -1000.0, np.float32)
    code = np.zeros(RADIUS.shape, np.uint16)
    for tissue, (radius, value) in SHELLS.items():
        hu[radius > RADIUS] = value
        code[radius > RADIUS] = tissue
    hu, code = (np.ascontiguousarray(voxels[part, :, part]) for voxels in (hu, code))
    mixtures = np.eye(N_TISSUES, dtype=np.float32)
    confidence = np.full(code.shape, 255, np.uint8)
    return Volume(hu, AFFINE), Chroma(code, confidence, mixtures, AFFINE, "test")


def seen_along_rays(rgba: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Blend along axis 1, the front first; return the color (0 to 255) and the opacity."""
    color = np.zeros((*rgba[:, 0].shape[:2], 3))
    clear = np.ones(color.shape[:2])
    for plane in np.moveaxis(rgba.astype(float), 1, 0):
        alpha = plane[..., 3] / 255
        color += (clear * alpha)[..., None] * plane[..., :3]
        clear *= 1 - alpha
    return color, 1 - clear


HEAD = head()
#: What surrounds the rays through the middle of the head, and shades them.
BEAM = head(slice(N // 2 - 8, N // 2 + 8))


def lit(**settings) -> np.ndarray:
    return LitVolume(*HEAD, Lighting(**settings)).lit_in_3d()


def opacity_before(rgba: np.ndarray, code: np.ndarray, tissue: Tissue) -> float:
    """The opacity of what lies before a tissue, along the ray through the middle."""
    z, _, x = np.array(code.shape) // 2
    first = int(np.argmax(code[z, :, x] == tissue))
    return float(1 - np.prod(1 - rgba[z, : first - 2, x, 3] / 255))


@pytest.mark.parametrize("others", ["dim", "grey", "hide"])
@pytest.mark.parametrize("alpha", ALPHA_PRESETS)
@pytest.mark.parametrize("tissue", [Tissue.BRAIN, Tissue.FLUID, Tissue.FAT, Tissue.CORTICAL_BONE])
def test_a_tissue_singled_out_is_seen_under_every_curve(tissue, alpha, others):
    settings = Lighting(alpha=alpha, tissues=TissueSelection.only([tissue], others))
    rgba, code = LitVolume(*BEAM, settings).lit_in_3d(), BEAM[1].code
    assert opacity_before(rgba, code, tissue) < 0.4
    through, opacity = seen_along_rays(np.where((code == tissue)[..., None], rgba, 0))
    middle = (slice(6, 10),) * 2
    assert opacity[middle].min() > 0.9
    assert through[middle].max() > 40


def test_what_is_not_singled_out_is_faint_faded_grey_or_gone_as_its_name_says():
    colors = {}
    skull = (RADIUS > 14.5) & (RADIUS < 16.5)
    for others in ("dim", "grey", "hide"):
        rgba = lit(alpha="body", tissues=TissueSelection.only([Tissue.BRAIN], others))
        skin = (RADIUS > 20.5) & (RADIUS < 21.5)
        colors[others] = np.ptp(rgba[skin][:, :3].astype(int), axis=-1).max()
        if others == "hide":
            assert not rgba[skin | skull][:, 3].any()
        else:
            assert 0 < rgba[skin][:, 3].mean() < 40
        assert not rgba[RADIUS > 25][:, 3].any()  # never the air
    assert colors["grey"] == 0 < colors["dim"]


@pytest.mark.parametrize("mode", ["dim", "grey", "hide"])
def test_one_tissue_turned_down_leaves_the_others_as_they_are(mode):
    rgba = lit(alpha="body", tissues={"skin": mode})
    skin, fat = (RADIUS > 20.5) & (RADIUS < 21.5), (RADIUS > 17.5) & (RADIUS < 19.5)
    assert rgba[fat][:, 3].min() == 255
    assert rgba[skin][:, 3].max() < 60
    assert (rgba[skin][:, 3].max() == 0) == (mode == "hide")


def test_slices_are_dimmed_or_grey_but_never_transparent():
    volume, chroma = HEAD
    whole = LitVolume(volume, chroma)[N // 2]
    for others in ("dim", "grey", "hide"):
        tissues = TissueSelection.only([Tissue.BRAIN], others)
        now = LitVolume(volume, chroma, LitVolume(volume, chroma).settings.replace(tissues=tissues))
        np.testing.assert_array_equal(now[N // 2][..., 3], whole[..., 3])
