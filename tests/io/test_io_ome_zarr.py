"""OME-Zarr: the same voxels at every resolution, placed in mm."""

from __future__ import annotations

import numpy as np
import pytest
import zarr

from tomochrome.errors import Cancelled, OutputError
from tomochrome.io import check_output, write
from tomochrome.runtime.task import Task, running
from tomochrome.volume import Provenance, Volume, default_affine


def colored() -> Volume:
    voxels = np.random.default_rng(0).integers(0, 256, (40, 300, 600, 4)).astype(np.uint8)
    about = Provenance(extra={"model": "toy"})
    return Volume(voxels, default_affine((3.0, 1.0, 0.5)), "RGBA", provenance=about)


def test_colors_are_channels_at_several_resolutions(tmp_path) -> None:
    volume = colored()
    write(volume, tmp_path / "a.zarr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    (image,) = group.attrs["multiscales"]
    assert [axis["name"] for axis in image["axes"]] == ["c", "z", "y", "x"]
    assert {axis.get("unit") for axis in image["axes"][1:]} == {"millimeter"}
    steps = [(1, 1, 1), (1, 1, 2), (1, 2, 4)]
    assert len(image["datasets"]) == len(steps)
    for dataset, (z, y, x) in zip(image["datasets"], steps, strict=True):
        stored = group[dataset["path"]]
        expected = np.moveaxis(np.asarray(volume.voxels)[::z, ::y, ::x], 3, 0)
        np.testing.assert_array_equal(stored[...], expected)
        assert stored.chunks[0] == 1
        scale, translation = dataset["coordinateTransformations"]
        assert scale["scale"] == [1, 3.0 * z, 1.0 * y, 0.5 * x]
        assert translation["translation"] == [0, *volume.affine[2::-1, 3]]
    assert [channel["color"] for channel in group.attrs["omero"]["channels"][:3]] == [
        "FF0000",
        "00FF00",
        "0000FF",
    ]
    about = group.attrs["tomochrome"]
    np.testing.assert_array_equal(about["affine_zyx_to_lps_mm"], volume.affine)
    assert (about["note"], about["model"]) == ("not for diagnosis", "toy")


def test_hounsfield_units_of_an_oblique_scan(tmp_path) -> None:
    affine = default_affine((2.0, 1.0, 1.0)).copy()
    turn = np.deg2rad(20)
    rotation = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    affine[:3, :3] = np.array(rotation) @ affine[:3, :3]
    voxels = np.arange(3 * 4 * 5).reshape(3, 4, 5).astype(np.int16) - 1000
    write(Volume(voxels, affine, "HU"), tmp_path / "a.zarr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    np.testing.assert_array_equal(group["0"][...], voxels)
    assert group["0"].dtype == np.int16
    (dataset,) = group.attrs["multiscales"][0]["datasets"]
    assert [t["type"] for t in dataset["coordinateTransformations"]] == ["scale"]
    np.testing.assert_allclose(group.attrs["tomochrome"]["affine_zyx_to_lps_mm"], affine)
    assert "omero" not in group.attrs


def test_only_a_zarr_group_is_replaced(tmp_path) -> None:
    small = Volume(np.ones((2, 3, 4), np.int16), unit="HU")
    write(small, tmp_path / "a.zarr")
    with pytest.raises(OutputError, match="already exists"):
        write(small, tmp_path / "a.zarr")
    write(small.with_voxels(np.zeros((2, 3, 4), np.int16)), tmp_path / "a.zarr", force=True)
    assert not zarr.open_group(tmp_path / "a.zarr", mode="r")["0"][...].any()
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "b.zarr" / "thesis.txt").write_text("precious")
    with pytest.raises(OutputError, match="not a Zarr group"):
        check_output(tmp_path / "b.zarr", force=True)
    assert (tmp_path / "b.zarr" / "thesis.txt").read_text() == "precious"


def test_cancelling_leaves_nothing(tmp_path) -> None:
    task = Task(lambda done, _total, _stage: task.cancel() if done > 30 else None)
    with running(task), pytest.raises(Cancelled):
        write(colored(), tmp_path / "a.zarr")
    assert not list(tmp_path.iterdir())
