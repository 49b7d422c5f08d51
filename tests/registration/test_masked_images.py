"""Voxels that were not measured affect neither downsampled images nor the network's input."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tomochrome.registration.align import completed
from tomochrome.registration.refine import masked_shrink
from tomochrome.registration.velocity import Shape, shrink

SHAPE = (16, 20, 24)
HALF: Shape = (8, 10, 12)


def smooth_images(seed: int) -> torch.Tensor:
    coarse = torch.rand(2, 1, 4, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, SHAPE, mode="trilinear", align_corners=True)


def half_measured() -> torch.Tensor:
    masks = torch.ones(2, 1, *SHAPE)
    masks[1, :, 8:] = 0.0
    return masks


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(-5.0, 5.0))
def test_what_lies_where_nothing_was_measured_does_not_matter(seed: int, fill: float) -> None:
    images, masks = smooth_images(seed), half_measured()
    other = torch.where(masks > 0, images, torch.full_like(images, fill))
    for shape in (SHAPE, HALF):
        (one, share), (two, _) = (masked_shrink(i, masks, shape) for i in (images, other))
        near = torch.nn.functional.max_pool3d((share > 0.02).float(), 7, 1, 3) > 0
        torch.testing.assert_close(one[near], two[near], atol=1e-5, rtol=0)


def test_everything_measured_is_plain_shrinking() -> None:
    images = smooth_images(1)
    values, share = masked_shrink(images, torch.ones_like(images), HALF)
    torch.testing.assert_close(values, shrink(images, HALF))
    torch.testing.assert_close(share, torch.ones_like(share))


def test_the_last_voxels_are_as_bright_as_those_before() -> None:
    images = torch.full((2, 1, *SHAPE), 0.7)
    images[1, :, 8:] = 0.0
    values, share = masked_shrink(images, half_measured(), HALF)
    assert float((values[1, 0, :7] - 0.7).abs().max()) < 1e-5
    assert 0.0 < float(share[1, 0, 4].max()) < 1.0
    assert float(share[1, 0, 6:].max()) < 0.02
    assert (
        float(shrink(images, HALF)[1, 0, 3:5].min()) < 0.5
    )  # which are mixed by downsampling without masks


def test_a_network_sees_the_other_image_where_one_was_not_measured() -> None:
    images, masks = smooth_images(2), half_measured()
    masks[:, :, :, :3] = 0.0  # in neither mask
    shown = completed(images, masks)
    assert torch.equal(shown[0][:, :, 3:], images[0][:, :, 3:])
    assert torch.equal(shown[1, :, :8, 3:], images[1, :, :8, 3:])
    assert torch.equal(shown[1, :, 8:], shown[0, :, 8:])
    assert torch.equal(shown[0][:, :, :3], shown[1][:, :, :3])
    assert completed(images, None) is images
    swapped = completed(images.flip(0), masks.flip(0))
    assert torch.equal(swapped, shown.flip(0))
