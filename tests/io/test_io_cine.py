"""Cines: every slice from head to feet, upright, in the colors that were drawn."""

from __future__ import annotations

import av
import numpy as np
import pytest
from PIL import Image

from tomochrome.errors import Cancelled, OutputError
from tomochrome.geometry.orient import reorient
from tomochrome.io import check_output, slice_pictures, write
from tomochrome.runtime.task import Task, running
from tomochrome.volume import Provenance, Volume, default_affine


def colored(slices: int = 5) -> Volume:
    """A body with a red block at the patient's left front that grows towards the feet."""
    voxels = np.zeros((slices, 40, 50, 4), np.uint8)
    voxels[:, 5:35, 5:45] = (90, 140, 110, 255)
    for z in range(slices):  # index 0 is at the feet in LPS
        voxels[z, 7:12, 34 : 42 - z] = (220, 30, 40, 255)
    about = Provenance(extra={"model": "toy", "window": "40/400"})
    return Volume(voxels, default_affine((3.0, 1.0, 1.0)), "RGBA", provenance=about)


def red(frame: np.ndarray) -> np.ndarray:
    """Indices of red pixels."""
    pixels = frame.astype(int)
    return np.argwhere((pixels[..., 0] > 150) & (pixels[..., 1] < 90))


@pytest.mark.parametrize("flips", [(False, False, False), (True, True, True), (True, False, True)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_frames_run_from_head_to_feet_upright(order, flips) -> None:
    volume = reorient(colored(), order, flips)
    found = [np.asarray(frame) for frame in slice_pictures.frames(volume, 200)]
    assert len(found) == 5
    assert {side % 2 for frame in found for side in frame.shape[:2]} == {0}
    height, width = found[0].shape[:2]
    sizes = []
    for frame in found:
        rows, columns = red(frame).T
        assert rows.max() < height / 2  # anterior
        assert columns.min() > width / 2  # the patient's left
        sizes.append(len(rows))
    assert sizes == sorted(sizes)  # larger towards the feet


def test_a_gif_shows_what_was_drawn(tmp_path) -> None:
    write(colored(), tmp_path / "cine.gif")
    drawn = [
        np.asarray(frame) for frame in slice_pictures.frames(colored(), slice_pictures.GIF_SIDE)
    ]
    with Image.open(tmp_path / "cine.gif") as image:
        assert image.n_frames == 5
        assert image.info["loop"] == 0
        assert b"model toy" in image.info["comment"]
        assert b"not for diagnosis" in image.info["comment"]
        for number, frame in enumerate(drawn):
            image.seek(number)
            assert image.info["duration"] == slice_pictures.FRAME_MS
            shown = np.asarray(image.convert("RGB")).astype(int)
            assert np.abs(shown - frame).mean() < 0.5


def test_a_video_shows_what_was_drawn(tmp_path) -> None:
    write(colored(), tmp_path / "cine.mp4")
    drawn = [
        np.asarray(frame) for frame in slice_pictures.frames(colored(), slice_pictures.VIDEO_SIDE)
    ]
    with av.open(str(tmp_path / "cine.mp4")) as container:
        assert "not for diagnosis" in container.metadata["comment"]
        (stream,) = container.streams
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert int(stream.codec_context.colorspace) == 1  # Rec. 709
        assert 1000 / stream.average_rate == slice_pictures.FRAME_MS
        shown = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(stream)]
    assert len(shown) == len(drawn)
    for found, frame in zip(shown, drawn, strict=True):
        assert np.abs(found - frame).mean() < 2
        inside = red(frame)[len(red(frame)) // 2]
        assert np.abs(found[tuple(inside)] - (220, 30, 40)).max() < 8


def test_a_single_slice(tmp_path) -> None:
    for ending in (".gif", ".mp4"):
        write(colored(1), tmp_path / f"one{ending}")
    with Image.open(tmp_path / "one.gif") as image:
        assert image.n_frames == 1


@pytest.mark.parametrize("ending", [".gif", ".mp4"])
def test_cancelling_leaves_nothing(ending: str, tmp_path) -> None:
    (tmp_path / f"a{ending}").write_text("earlier")

    def progress(done: int, total: int, stage: str) -> None:
        if stage == "drawing frames" and done == 3:
            task.cancel()

    task = Task(progress)
    with running(task), pytest.raises(Cancelled):
        write(colored(), tmp_path / f"a{ending}", force=True)
    assert [path.name for path in tmp_path.iterdir()] == [f"a{ending}"]
    assert (tmp_path / f"a{ending}").read_text() == "earlier"


@pytest.mark.parametrize("ending", [".gif", ".mp4"])
def test_a_grey_volume_is_refused(ending: str, tmp_path) -> None:
    grey = Volume(np.zeros((3, 4, 5), np.int16), unit="HU")
    with pytest.raises(OutputError, match="needs a colored volume"):
        write(grey, tmp_path / f"a{ending}")


def test_a_missing_package_is_named_before_the_work(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tomochrome.formats.find_spec", lambda _: None)
    with pytest.raises(OutputError, match=r"\.mp4 needs the package av; install it with"):
        check_output(tmp_path / "a.mp4")
