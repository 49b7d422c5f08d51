"""Projections and filtered backprojection, against geometry and scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.transform import iradon, radon

from tomochrome.errors import Cancelled
from tomochrome.restoration import projection
from tomochrome.restoration.projection import SLICES, Projector
from tomochrome.runtime import Task, running


def disc(shape: tuple[int, int], center: tuple[float, float], radius: float) -> np.ndarray:
    """A disc with an antialiased edge."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    distance = np.hypot(y - center[0], x - center[1])
    return np.clip(radius + 0.5 - distance, 0, 1).astype(np.float32)


@pytest.mark.parametrize("shape", [(64, 64), (48, 80), (81, 50)])
def test_projections_of_a_disc_are_its_chords(shape: tuple[int, int]) -> None:
    center, radius = (20.0, 30.0), 12.0
    projector = Projector(shape, 24)
    sinogram = projector.project(disc(shape, center, radius))
    y, x = center[0] - (shape[0] - 1) / 2, center[1] - (shape[1] - 1) / 2
    s = np.arange(projector.n_detectors) - (projector.n_detectors - 1) / 2
    for angle, view in zip(projector.angles, sinogram, strict=True):
        distance = s - (x * np.cos(angle) + y * np.sin(angle))
        chord = 2 * np.sqrt(np.maximum(radius**2 - distance**2, 0))
        inside = np.abs(distance) < radius - 2
        assert view[inside] == pytest.approx(chord[inside], rel=0.03)
        assert not view[np.abs(distance) > radius + 2].any()
        assert view.sum() == pytest.approx(np.pi * radius**2, rel=0.01)


def test_several_slices_are_projected_as_each_alone() -> None:
    images = np.random.default_rng(3).normal(0, 1, (SLICES + 3, 40, 33)).astype(np.float32)
    images[:, :7] = 0
    projector = Projector((40, 33), 50)
    sinograms = projector.project(images)
    each = np.stack([projector.project(image) for image in images])
    np.testing.assert_allclose(sinograms, each, atol=1e-4)
    back = np.stack([projector.reconstruct(sinogram) for sinogram in each])
    np.testing.assert_allclose(projector.reconstruct(sinograms), back, atol=1e-4)


def test_only_the_needed_rays_are_projected() -> None:
    rng = np.random.default_rng(4)
    images = rng.normal(0, 1, (2, 40, 33)).astype(np.float32)
    projector = Projector((40, 33), 20)
    needed = rng.random((projector.n_views, projector.n_detectors)) < 0.2
    needed[3] = False
    expected = np.where(needed, projector.project(images), 0)
    np.testing.assert_array_equal(projector.project(images, needed), expected)


def test_projections_are_those_of_scikit_image() -> None:
    image = ndimage.gaussian_filter(np.random.default_rng(1).random((61, 61)), 3)
    image *= disc((61, 61), (30, 30), 27)
    projector = Projector((61, 61), 30)
    theirs = radon(image, np.degrees(projector.angles), circle=True)
    ours = projector.project(image)
    first = (projector.n_detectors - 61) // 2
    ours = ours[:, first : first + 61].T
    # their rows count upwards: their view at an angle is ours at its negative
    mirrored = np.column_stack([ours[:, 0], ours[::-1, :0:-1]])
    assert mirrored == pytest.approx(theirs, abs=0.02 * theirs.max())


@pytest.mark.parametrize("shape", [(96, 96), (70, 110)])
def test_reconstruction_is_the_inverse(shape: tuple[int, int]) -> None:
    image = disc(shape, (40, 45), 25) + 0.5 * disc(shape, (30, 50), 8)
    projector = Projector(shape, 180)
    again = projector.reconstruct(projector.project(image))
    smooth = ndimage.gaussian_filter(np.abs(again - image), 1)
    assert np.abs((again - image)[35:45, 30:38]).max() < 0.02
    assert smooth.max() < 0.25 and smooth.mean() < 0.01


def test_reconstruction_is_as_good_as_that_of_scikit_image() -> None:
    image = disc((128, 128), (64, 64), 50) + disc((128, 128), (50, 70), 10)
    projector = Projector((128, 128), 200)
    ours = projector.reconstruct(projector.project(image))
    degrees = np.degrees(projector.angles)
    theirs = iradon(radon(image, degrees, circle=True), degrees, circle=True, filter_name="ramp")
    inside = disc((128, 128), (64, 64), 60) > 0
    errors = [np.sqrt(np.square(r - image)[inside].mean()) for r in (ours, theirs)]
    assert errors[0] < 1.1 * errors[1]


def test_a_kernel_blurs() -> None:
    image = disc((64, 64), (30, 30), 12)
    sinogram = Projector((64, 64), 120).project(image)
    sharp, soft = (Projector((64, 64), 120, blur).reconstruct(sinogram) for blur in (0.0, 1.5))
    assert soft == pytest.approx(ndimage.gaussian_filter(sharp, 1.5), abs=0.03)


@pytest.mark.parametrize(
    ("work", "name"), [("project", "project_views"), ("reconstruct", "backproject_rows")]
)
def test_work_on_many_views_can_be_cancelled(
    work: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, called = Task(), []

    def kernel(*_: object) -> None:
        called.append(work)
        task.cancel()

    monkeypatch.setattr(projection, name, kernel)
    projector = Projector((300, 300), 900)
    image = np.zeros(projector.shape if work == "project" else (900, projector.n_detectors))
    with running(task), pytest.raises(Cancelled):
        getattr(projector, work)(image)
    assert called == [work]
