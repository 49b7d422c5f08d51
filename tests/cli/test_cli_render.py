"""``tomochrome render``: pictures, films, messages and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_cases import Run, make_series
from PIL import Image, ImageSequence

import tomochrome as tc
from tomochrome.cli import main
from tomochrome.cli.session import ProgressLine, Session
from tomochrome.colorization import predict
from tomochrome.errors import Cancelled
from tomochrome.geometry.planes import slice_positions
from tomochrome.rendering import render_files
from tomochrome.tissue import Tissue

Capture = pytest.CaptureFixture[str]
FAST = ("--model", "transfer-function", "--quality", "draft", "--size", "200x161")
NOTE = "lightness not from the scanner"


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_series(tmp_path_factory.mktemp("input") / "series")


def test_json_of_a_picture(series: Path, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "skin.png"
    run = Run(capfd, "render", series, "-o", out, *FAST, "--preset=skin", "--view=-30/10", "--json")
    assert run.status == 0, run.err
    data = json.loads(run.out)
    assert set(data) == {
        *("input", "output", "model", "device", "preset", "look", "view", "size", "frames"),
        *("seconds", "warnings"),
    }
    assert data["view"] == [-30.0, 10.0]
    assert (data["preset"], data["look"], data["frames"]) == ("skin", "standard", 1)
    assert set(data["seconds"]) == {"read", "predict", "prepare", "draw", "total"}
    with Image.open(out) as picture:
        assert picture.size == (200, 161)
        assert NOTE in picture.text["Comment"]
        assert "not for diagnosis" in picture.text["Comment"]
        assert np.asarray(picture).std() > 15


def test_a_scan_saved_with_its_colors_keeps_them(
    series: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, out = tmp_path / "case.tomochrome", tmp_path / "a.png"
    run = Run(capfd, "colorize", series, "-o", saved, "--model", "transfer-function")
    assert run.status == 0, run.err
    colored = []
    colorize = predict.colorize
    monkeypatch.setattr(
        predict, "colorize", lambda *a, **k: colored.append(a[1]) or colorize(*a, **k)
    )
    run = Run(capfd, "render", saved, "-o", out, *FAST[2:], "--preset=skin", "--json")
    assert run.status == 0, run.err
    assert (json.loads(run.out)["model"], colored) == ("transfer-function", [])
    for series_name in ("1.2.3", "#2"):
        run = Run(capfd, "render", saved, "-o", tmp_path / "b.png", *FAST, "--series", series_name)
        assert run.status == 2 and f"'{saved}'" in run.complaint
    run = Run(capfd, "render", saved, "-o", tmp_path / "b.png", *FAST, "--preset=skin")
    assert run.status == 0, run.err
    assert colored == ["transfer-function"]
    pictures = [np.asarray(Image.open(path)) for path in (out, tmp_path / "b.png")]
    np.testing.assert_array_equal(*pictures)


def test_settings_that_are_not_given_are_those_saved(
    series: Path, tmp_path: Path, capfd: Capture
) -> None:
    def drawn(name: str, scan: Path, *more: str) -> np.ndarray:
        out = tmp_path / f"{name}.png"
        run = Run(capfd, "render", scan, "-o", out, *FAST[2:], *more)
        assert run.status == 0, run.err
        return np.asarray(Image.open(out))

    plain, bone = tmp_path / "plain.tomochrome", tmp_path / "bone.tomochrome"
    model = ["--model", "transfer-function"]
    light = ["--palette", "vivid", "--saturation", "0.4", "--min-confidence", "0.2"]
    for case, options in ((plain, []), (bone, [*light, "--only", "cortical-bone"])):
        run = Run(capfd, "colorize", series, "-o", case, *model, *options)
        assert run.status == 0, run.err
    as_saved = drawn("a", bone)
    np.testing.assert_array_equal(as_saved, drawn("b", plain, *light, "--only=cortical-bone"))
    assert not np.array_equal(as_saved, drawn("c", plain, "--only=cortical-bone"))
    chosen = drawn("d", bone, "--preset=skin", "--palette=natural")
    same = drawn("e", plain, *light[2:], "--preset=skin")
    np.testing.assert_array_equal(chosen, same)


@pytest.mark.parametrize("ending", [".gif", ".mp4"])
def test_a_film_turns(series: Path, tmp_path: Path, capfd: Capture, ending: str) -> None:
    if ending == ".mp4":
        av = pytest.importorskip("av")
    out = tmp_path / f"turn{ending}"
    run = Run(capfd, "render", series, "-o", out, *FAST, "--preset=bone", "--frames=3")
    assert run.status == 0, run.err
    assert "3 frames, 200 x 160 pixels, preset 'bone'" in run.out  # of 161: video needs even sides
    if ending == ".mp4":
        with av.open(str(out)) as film:
            assert NOTE in film.metadata["comment"]
            frames = [f.to_ndarray(format="rgb24") for f in film.decode(video=0)]
    else:
        with Image.open(out) as film:
            assert NOTE in film.info["comment"].decode()
            frames = [np.asarray(f.convert("RGB")) for f in ImageSequence.Iterator(film)]
    assert len(frames) == 3
    assert frames[0].shape == (160, 200, 3)
    assert not np.array_equal(frames[0], frames[1])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--preset=brain",), "the scan shows nothing of 'brain'"),
        (("--preset=all",), "unknown preset 'all': choose one of auto, skin"),
        (("--view=up",), "the view must be front"),
        (("--only=hair",), "unknown tissue 'hair'"),
        (("--only=fat", "--preset=skin"), "--only shows tissues instead of a preset"),
        (("--cut=5",), "the cut must be x=MM"),
        (("--frames=1",), "a film has 2 to 720 frames"),
        (("--frames=5",), "a number of frames is for films: give an output in .mp4 or .gif"),
        (("--only=air",), "air cannot be drawn in 3D"),
        (("--preset=skin", "--cut=y=-9999"), "the cut y=-9999 does not meet what is shown"),
        (("--size=10x10",), "the size must be from 64 to 4096 pixels"),
        (("--size=10",), "must be WIDTHxHEIGHT"),
        (("--size=30x",), "must be WIDTHxHEIGHT"),
        (("--palette=none",), "unknown palette"),
        (("--model=nobody",), "unknown model 'nobody'"),
    ],
)
def test_refusals_in_one_sentence(series, tmp_path, capfd, words, message) -> None:
    out = tmp_path / "out.png"
    run = Run(capfd, "render", series, "-o", out, *FAST, *words)
    assert run.status == 2
    assert message in run.complaint
    assert list(tmp_path.iterdir()) == []


def test_outputs_are_whole_or_not_there(
    series: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "turn.gif"
    out.write_bytes(b"mine")
    words = ("render", series, "-o", out, *FAST, "--preset=skin", "--frames=3")
    assert "already exists" in Run(capfd, *words).complaint
    assert "cannot hold a 3D picture" in Run(capfd, *words[:3], tmp_path / "a.nii.gz").complaint

    def cancelled(*_: object) -> None:
        raise Cancelled("cancelled by the user")

    monkeypatch.setattr(render_files, "report", cancelled)  # after the first frame
    run = Run(capfd, *words, "--force")
    assert run.status == 130
    assert out.read_bytes() == b"mine"
    assert [path.name for path in tmp_path.iterdir()] == ["turn.gif"]


@pytest.mark.parametrize("ending", [".gif", ".mp4"])
@pytest.mark.parametrize("there", [False, True], ids=["new", "existing"])
def test_a_turntable_is_cancelled_in_the_middle(
    series: Path, tmp_path: Path, capfd: Capture, ending: str, there: bool
) -> None:
    """A film of 60 frames in a real run: progress for each frame, until the user has enough."""
    if ending == ".mp4":
        pytest.importorskip("av")
    out, frames = tmp_path / f"turn{ending}", []
    if there:
        out.write_bytes(b"mine")

    class Watched(ProgressLine):
        def __call__(self, done: int, total: int, stage: str) -> None:
            if stage == "drawing frames":
                frames.append((done, total))
            if frames and done == 24:
                session.task.cancel()

    session = Session(Watched())
    size = ("--quality=draft", "--size=112x112", "--model=transfer-function")
    words = ("render", series, "-o", out, *size, "--preset=skin", "--frames=60", "--force")
    capfd.readouterr()
    assert main([str(word) for word in words], session) == 130
    assert capfd.readouterr() == ("", "error: cancelled\n")
    assert frames == [(done, 60) for done in range(1, 25)]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == (
        {out.name: b"mine"} if there else {}
    )


def test_colorize_has_the_look_for_pictures_only(
    series: Path, tmp_path: Path, capfd: Capture
) -> None:
    words = ("colorize", series, *FAST[:2], "--look=photograph", "-o")
    run = Run(capfd, *words, tmp_path / "sheet.png")
    assert run.status == 0, run.err
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert NOTE in sheet.text["Comment"]
    for name in ("color.nii.gz", "dicom/", "color.nrrd"):
        message = Run(capfd, *words, f"{tmp_path}/{name}").complaint
        assert "is for pictures only: lightness is not that of the voxels" in message
    assert "look of a photograph, model" in run.out and "window" not in run.out
    page = tmp_path / "case.html"
    run = Run(capfd, *words, page, "--window", "lung")  # of the grey
    assert run.status == 0, run.err
    text = page.read_text()
    assert f"Look of a photograph: {NOTE}. Not for diagnosis" in text
    message = Run(capfd, *words, page, "--force", "--compare", "unet").complaint
    assert "models are compared in the lightness of the scanner" in message


def test_colorize_draws_slabs(series: Path, tmp_path: Path, capfd: Capture) -> None:
    words = ("colorize", series, *FAST[:2], "-o")
    out = tmp_path / "sheet.png"
    run = Run(capfd, *words, out, "--slab", 12, "--slab-mode", "maximum")
    assert run.status == 0, run.err
    with Image.open(out) as slabs:
        assert "slabs: maximum over 12 mm" in slabs.text["Comment"]
        drawn = np.asarray(slabs.convert("L"), int)
    assert Run(capfd, *words, out, "--force").status == 0
    with Image.open(out) as slices:
        single = np.asarray(slices.convert("L"), int)
        assert "slabs" not in slices.text["Comment"]
    assert drawn.shape == single.shape
    assert drawn.mean() > single.mean() + 1  # maxima are lighter
    for name in ("color.nii.gz", "case.html"):
        message = Run(capfd, *words, tmp_path / name, "--slab=5").complaint
        assert "--slab is for pictures only" in message
    for wrong in ("-1", "nan", "thin"):
        message = Run(capfd, *words, out, "--force", f"--slab={wrong}").complaint
        assert "must be a length in mm" in message
    message = Run(capfd, *words, out, "--force", "--slab=501").complaint
    assert "a slab is from 0 to 500 mm thick" in message
    message = Run(capfd, *words, out, "--force", "--slab=5", "--look=photograph").complaint
    assert "omit --look or --slab" in message


def test_colorize_draws_one_slice(series: Path, tmp_path: Path, capfd: Capture) -> None:
    words = ("colorize", series, *FAST[:2], "-o")
    y = np.median(slice_positions(tc.read(series), 1))
    out = tmp_path / "slice.png"
    run = Run(capfd, *words, out, "--slice", f"y={y:.1f}", "--slab=12", "--slab-mode=maximum")
    assert run.status == 0, run.err
    with Image.open(out) as slab:
        assert "slabs: maximum over 12 mm" in slab.text["Comment"]
        drawn = np.asarray(slab.convert("L"), int)
    assert Run(capfd, *words, out, "--force", "--slice", f"y={y:.1f}").status == 0
    with Image.open(out) as single:
        assert single.size == drawn.shape[::-1]  # one coronal slice as well
        assert drawn.mean() > np.asarray(single.convert("L"), int).mean() + 1
    message = Run(capfd, *words, out, "--force", "--slice=y=9999").complaint
    assert "there is no coronal slice at y=9999: the scan reaches from" in message
    message = Run(capfd, *words, out, "--force", "--slice=12").complaint
    assert "--slice must be x=MM, y=MM or z=MM in LPS mm, not '12'" in message
    message = Run(capfd, *words, tmp_path / "a.nii.gz", "--slice=z=0").complaint
    assert "--slice is for pictures: give an output in .png" in message


def test_strokes_change_what_is_drawn(series: Path, tmp_path: Path, capfd: Capture) -> None:
    volume = tc.read(series)
    strokes = np.zeros(volume.shape, np.uint8)
    body = np.argwhere(np.asarray(volume.voxels) > 0)
    z, y, x = body[len(body) // 2]
    strokes[z, y, x] = Tissue.LIVER
    path = tmp_path / "strokes.nii.gz"
    tc.write(volume.with_voxels(strokes, unit="tissue"), path)
    words = ("render", series, *FAST[2:], "--only=liver")
    drawn = {}
    for name, hints in (("none", ()), ("strokes", (f"--hints={path}",))):
        out = tmp_path / f"{name}.png"
        run = Run(capfd, *words, "-o", out, "--model=transfer-function", *hints)
        drawn[name] = None if run.status else np.asarray(Image.open(out))
    assert drawn["strokes"] is not None
    assert drawn["none"] is None or (drawn["none"] != drawn["strokes"]).any()
    message = Run(
        capfd, *words, "-o", tmp_path / "a.png", f"--hints={path}", "--hint=9=#ff0000"
    ).complaint
    assert "tissues" in message
    assert "give their label map" in Run(capfd, *words, "-o", "a.png", "--hint=9=liver").complaint
