"""Coloring of volumes: geometry, errors, cancellation, progress, reproducibility."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from colorize_cases import SIMPLE, draw_patient, likelihood

from tomochrome.color.chroma import Chroma
from tomochrome.colorization import colorize
from tomochrome.colorization.scan import as_int16
from tomochrome.errors import (
    Cancelled,
    DeviceError,
    GeometryError,
    InputError,
    NotCTError,
    OptionError,
)
from tomochrome.runtime import Task, running
from tomochrome.runtime.device import kernel_threads
from tomochrome.tissue import Tissue
from tomochrome.volume import Provenance, Volume, default_affine

Maker = Callable[..., Path]
Drawn = tuple[Volume, dict[str, np.ndarray]]
EVEN = dict.fromkeys(SIMPLE, 0.0)
SPACING = (3.0, 2.5, 2.5)


@pytest.fixture(params=["network", "curve"])
def bundle(request: pytest.FixtureRequest, network_bundle: Maker, transfer_bundle: Maker) -> Path:
    return network_bundle(logits=EVEN) if request.param == "network" else transfer_bundle()


def right(chroma: Chroma, where: np.ndarray, tissue: Tissue) -> float:
    return float((chroma.tissue[where] == tissue).mean())


def test_tissues_inside_and_nothing_outside(bundle: Path, drawn: Drawn) -> None:
    volume, masks = drawn
    chroma = colorize(volume, bundle, device="cpu")
    assert (chroma.code[~masks["body"]] == 0).all()
    assert (chroma.code[masks["body"]] > 0).mean() > 0.99
    for name, tissue in (
        ("fat", Tissue.FAT),
        ("muscle", Tissue.MUSCLE),
        ("lung", Tissue.LUNG),
        ("gas", Tissue.AIR),
        ("bone", Tissue.CORTICAL_BONE),
        ("metal", Tissue.FOREIGN_BODY),
    ):
        assert right(chroma, masks[name], tissue) > 0.97, name


@pytest.mark.parametrize("turned", [False, True])
def test_what_was_not_measured_is_never_colored(bundle: Path, drawn: Drawn, turned: bool) -> None:
    volume, masks = drawn
    outside = np.zeros(volume.shape, dtype=np.bool_)
    outside[2:4] = True  # a hole in the series, and a corner inside the body
    outside[:, volume.shape[1] // 2 :, volume.shape[2] // 2 :] = True
    assert masks["body"][outside].any()
    marked = replace(volume, outside=outside)
    if turned:  # stored with permuted axes, like a sagittal series
        affine = volume.affine[:, [2, 0, 1, 3]]
        outside = np.ascontiguousarray(outside.transpose(2, 0, 1))
        marked = replace(
            volume, voxels=volume.voxels.transpose(2, 0, 1), affine=affine, outside=outside
        )
    chroma = colorize(marked, bundle, device="cpu")
    assert (chroma.code[outside] == 0).all()
    assert (chroma.confidence[outside] == 0).all()
    assert (chroma.code[~outside] > 0).any()


def test_share_of_colored_voxels_outside_the_body_is_zero(bundle: Path, drawn: Drawn) -> None:
    volume, masks = drawn
    chroma = colorize(volume, bundle, device="cpu")
    strength = np.linalg.norm(chroma.ab(), axis=-1)
    assert strength[~masks["body"]].max() == 0
    assert strength[masks["gas"]].mean() < 0.5
    assert strength[masks["muscle"]].mean() > 5


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("flips", [(False, False, False), (True, False, True)])
def test_result_lies_on_the_stored_grid(
    bundle: Path, drawn: Drawn, axes: tuple[int, int, int], flips: tuple[bool, bool, bool]
) -> None:
    """The same patient stored with other axes gets the same colors at the same positions."""
    volume, _ = drawn
    straight = colorize(volume, bundle, device="cpu")
    turn = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    affine = volume.affine.copy()
    for axis, flip in enumerate(flips):
        if flip:
            affine[:3, 3] += affine[:3, axis] * (volume.shape[axis] - 1)
            affine[:3, axis] *= -1
    affine = affine[:, [*axes, 3]]
    stored = Volume(volume.voxels[turn].transpose(axes), affine)
    chroma = colorize(stored, bundle, device="cpu")
    assert chroma.shape == stored.shape
    np.testing.assert_array_equal(chroma.affine, stored.affine)
    np.testing.assert_array_equal(chroma.code, straight.code[turn].transpose(axes))
    np.testing.assert_array_equal(chroma.confidence, straight.confidence[turn].transpose(axes))


def test_twice_is_the_same(network_bundle: Maker, drawn: Drawn) -> None:
    bundle = network_bundle(seed=3)
    volume, _ = drawn
    one, two = (colorize(volume, bundle, device="cpu") for _ in range(2))
    np.testing.assert_array_equal(one.code, two.code)
    np.testing.assert_array_equal(one.confidence, two.confidence)


def test_batches_and_threads_hardly_matter(network_bundle: Maker, drawn: Drawn) -> None:
    bundle = network_bundle(seed=3)
    volume, _ = drawn
    one = colorize(volume, bundle, device="cpu", batch=1, threads=1)
    all_ = colorize(volume, bundle, device="cpu", batch=64)
    assert (one.code == all_.code).mean() > 0.99


def test_threads_are_honored_and_put_back(network_bundle: Maker, drawn: Drawn) -> None:
    import torch

    before = kernel_threads(), torch.get_num_threads()
    seen = []

    def progress(done: int, total: int, stage: str) -> None:
        seen.append((kernel_threads(), torch.get_num_threads()))

    with running(Task(progress)):
        colorize(drawn[0], network_bundle(), device="cpu", threads=1)
    assert seen[-1] == (1, 1)
    assert (kernel_threads(), torch.get_num_threads()) == before


def test_progress_grows_to_the_end(bundle: Path, drawn: Drawn) -> None:
    seen: list[tuple[int, int]] = []
    with running(Task(lambda d, t, _: seen.append((d, t)))):
        colorize(drawn[0], bundle, device="cpu")
    assert seen[-1] == (len(drawn[0].voxels),) * 2
    assert all(a <= b for a, b in pairwise(d for d, _ in seen))


def test_cancelled_before_and_within(bundle: Path, drawn: Drawn) -> None:
    token = Task()
    token.cancel()
    with running(token), pytest.raises(Cancelled):
        colorize(drawn[0], bundle, device="cpu")


def test_a_cancel_is_noticed_at_the_next_slab(
    network_bundle: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slab is 8 slices of 512 x 512, some tenths of a second; in this test it is one slice."""
    monkeypatch.setattr("tomochrome.colorization.scan.SLAB_VOXELS", 128 * 128)
    hu, _ = draw_patient((1, 128, 128), 2.8)
    volume = Volume(np.repeat(hu, 20, axis=0), default_affine((1.5, 2.8, 2.8)))
    told = []

    def progress(done: int, total: int, stage: str) -> None:
        told.append(done)
        if done == 3:
            token.cancel()

    token = Task(progress)
    with running(token), pytest.raises(Cancelled):
        colorize(volume, network_bundle(), device="cpu")
    assert told[-1] == 3


def test_provenance_names_model_weights_device_and_purpose(bundle: Path, drawn: Drawn) -> None:
    volume, _ = drawn
    chroma = colorize(volume, bundle, device="cpu")
    line = chroma.provenance.history[-1]
    for part in (chroma.model, "sha256", "device cpu", "not for diagnosis"):
        assert part in line
    assert chroma.model == bundle.name


@pytest.mark.parametrize("unit", ["unknown", "fraction", "tissue"])
def test_refuses_what_is_not_hounsfield(bundle: Path, unit: str) -> None:
    volume = Volume(
        np.zeros((2, 9, 9), np.int16), unit=unit, provenance=Provenance(source="scan.nii.gz")
    )
    with pytest.raises(NotCTError, match=r"scan\.nii\.gz.*not CT in Hounsfield units") as caught:
        colorize(volume, bundle)
    assert "\n" not in str(caught.value)
    chroma = colorize(volume, bundle, device="cpu", force=True)
    assert any("treated as such on request" in w.text for w in chroma.provenance.warnings)


def test_refuses_colors_masks_and_arrays(bundle: Path) -> None:
    for voxels, words in (
        (np.zeros((2, 4, 4, 4), np.uint8), "contains colors"),
        (np.zeros((2, 4, 4), bool), "contains a mask"),
    ):
        with pytest.raises(NotCTError, match=words):
            colorize(Volume(voxels), bundle, force=True)
    with pytest.raises(InputError, match="the scan to color must be a Volume"):
        colorize(np.zeros((2, 4, 4), np.int16), bundle)  # type: ignore[arg-type]


def test_refuses_impossible_options(bundle: Path, drawn: Drawn) -> None:
    with pytest.raises(OptionError, match="at least 1"):
        colorize(drawn[0], bundle, batch=0)
    with pytest.raises(OptionError, match="at least 1"):
        colorize(drawn[0], bundle, threads=0)
    for option in ("batch", "threads"):
        for value in (1.5, "2", float("nan")):
            with pytest.raises(OptionError, match="a whole number of at least 1, not"):
                colorize(drawn[0], bundle, **{option: value})
    with pytest.raises(GeometryError, match="wide"):
        colorize(Volume(drawn[0].voxels, default_affine((1, 90, 90))), bundle)


def test_unknown_and_absent_devices(network_bundle: Maker, drawn: Drawn) -> None:
    import torch

    bundle = network_bundle()
    with pytest.raises(OptionError, match="unknown device"):
        colorize(drawn[0], bundle, device="abacus")
    for name, there in (
        ("cuda", torch.cuda.is_available()),
        ("mps", torch.backends.mps.is_available()),
    ):
        if not there:
            with pytest.raises(DeviceError, match=name):
                colorize(drawn[0], bundle, device=name)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", ">i2", "f8", "i4", "u2"])
def test_any_number_type(transfer_bundle: Maker, drawn: Drawn, dtype: str) -> None:
    volume, _ = drawn
    bundle = transfer_bundle()
    hu = np.maximum(volume.voxels, 0) if dtype == "u2" else volume.voxels
    expected = colorize(volume.with_voxels(hu), bundle)
    got = colorize(volume.with_voxels(hu.astype(dtype)), bundle)
    np.testing.assert_array_equal(got.code, expected.code)


def test_read_only_voxels_need_no_new_kernels(bundle: Path, drawn: Drawn) -> None:
    from tomochrome.colorization import slab_kernels

    volume, _ = drawn
    colorize(volume, bundle, device="cpu")
    compiled = [k.__wrapped__ for k in (slab_kernels.fuse_slab, slab_kernels.transfer_slab)]
    before = [len(k.signatures) for k in compiled]
    frozen = volume.voxels.copy()
    frozen.setflags(write=False)
    colorize(volume.with_voxels(frozen), bundle, device="cpu")
    assert [len(k.signatures) for k in compiled] == before
    assert not frozen.flags.writeable


def test_values_that_are_no_numbers_count_as_air(bundle: Path, drawn: Drawn) -> None:
    volume, masks = drawn
    hu = volume.voxels.astype(np.float32)
    hu[:, :8] = np.nan
    hu[0, 60, 70] = np.inf
    chroma = colorize(volume.with_voxels(hu), bundle, device="cpu")
    assert (chroma.code[:, :8] == 0).all()
    assert any("finite" in w.text for w in chroma.provenance.warnings)
    assert right(chroma, masks["muscle"], Tissue.MUSCLE) > 0.97


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 5), (1, 120, 140), (30, 2, 3), (2, 1, 90)])
def test_tiny_and_flat_volumes(bundle: Path, shape: tuple[int, int, int]) -> None:
    chroma = colorize(Volume(np.full(shape, 55, np.int16), default_affine(SPACING)), bundle)
    assert right(chroma, np.ones(shape, bool), Tissue.MUSCLE) == 1


@pytest.mark.parametrize("spacing", [(40.0, 2.5, 2.5), (0.05, 2.5, 2.5), (3.0, 2.5, 7.0)])
def test_anisotropic_volumes(bundle: Path, spacing: tuple[float, float, float]) -> None:
    hu, masks = draw_patient((6, 120, 140))
    chroma = colorize(Volume(hu, default_affine(spacing)), bundle, device="cpu")
    assert right(chroma, masks["muscle"], Tissue.MUSCLE) > 0.95
    told = [w.text for w in chroma.provenance.warnings if "mm apart" in w.text]
    assert bool(told) == (spacing[0] > 8)


def test_only_slices_of_which_there_are_several_are_apart(bundle: Path) -> None:
    affine = default_affine((12.0, 2.5, 2.5))
    affine[1, 0] = 5  # 13 mm along the axis, 12 mm from plane to plane
    for count, expected in ((1, []), (2, ["slices are 12.0 mm apart"])):
        volume = Volume(np.full((count, 20, 20), 55, np.int16), affine)
        warnings = colorize(volume, bundle).provenance.warnings
        assert [w.text.partition(":")[0] for w in warnings if w.code == "geometry"] == expected


def test_all_air_says_that_there_is_no_body(bundle: Path) -> None:
    chroma = colorize(Volume(np.full((3, 20, 20), -1000, np.int16)), bundle, device="cpu")
    assert (chroma.code == 0).all()
    assert any("no body" in w.text for w in chroma.provenance.warnings)


def test_noise_does_not_speckle(network_bundle: Maker) -> None:
    """The tables are applied to denoised HU, so that noise does not change the tissue."""
    hu, masks = draw_patient((3, 200, 240), 1.5, noise=30.0)
    volume = Volume(hu, default_affine((3.0, 1.5, 1.5)))
    ranges = {**SIMPLE, "MUSCLE": (-20, 100), "LIVER": (100, 200)}
    bundle = network_bundle(logits={**EVEN, "LIVER": 0.0}, table=likelihood(**ranges))
    chroma = colorize(volume, bundle, device="cpu")
    raw = (hu[masks["muscle"]] < 100).mean()
    assert right(chroma, masks["muscle"], Tissue.MUSCLE) > 0.985 > raw


def test_two_at_once_from_two_threads(bundle: Path, drawn: Drawn) -> None:
    results: list[Chroma] = []
    threads = [
        threading.Thread(target=lambda: results.append(colorize(drawn[0], bundle, device="cpu")))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(results[0].code, results[1].code)


def test_int16_is_not_copied() -> None:
    hu = np.zeros((2, 3, 4), np.int16)
    assert np.shares_memory(as_int16(hu)[0], hu)


def test_a_small_scan_reports_more_than_finding_the_body(
    network_bundle: Maker, drawn: Drawn
) -> None:
    """It is predicted and filled in at once; the bar stayed at "Finding the body 0 %"."""
    seen: list[tuple[int, int, str]] = []
    scan = replace(drawn[0], voxels=drawn[0].voxels[:6])
    with running(Task(lambda *report: seen.append(report))):
        colorize(scan, network_bundle(logits=EVEN), device="cpu")
    assert {total for _, total, stage in seen if stage != "coloring"} == {0}  # not "0 %"
    assert [stage for _, _, stage in seen][:3] == [
        "finding the body",
        "loading the model",
        "coloring",
    ]
    assert (3, 6, "coloring") in seen  # predicted
    assert seen[-1] == (6, 6, "coloring")
