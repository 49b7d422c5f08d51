"""Training on color photographs without CT."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.color import rgb2lab
from training_cases import small

from tomochrome.cli.app import main
from tomochrome.errors import TomochromeError
from tomochrome.training import load_config
from tomochrome.training.color_samples import BODY, PairSamples
from tomochrome.training.photographs import import_photographs
from tomochrome.training.section_pairs import pair_files

ONE_WINDOW = [[40, 400]]


def plan():
    """The small configuration `unet`, for photographs alone."""
    found = {**small("unet"), "validate_every": 0, "source": "photographs", "phantoms": None}
    return {**found, "windows": ONE_WINDOW, "network": {**found["network"], "in_channels": 1}}


def write_photographs(folder, count=5):
    """Photographs in blue gel: red above and yellow below, each a little brighter."""
    folder.mkdir()
    for k in range(count):
        picture = np.full((60, 80, 3), (20, 60, 160), np.uint8)
        picture[10:30, 10:70], picture[30:50, 10:70] = (140 + 4 * k, 60, 60), (215, 190 + k, 120)
        Image.fromarray(picture).save(folder / f"{k}.png")
    return folder


@pytest.mark.parametrize("grey", ["ntsc", "lightness"])
def test_grey_is_computed_from_photographs(tmp_path, grey):
    folder = write_photographs(tmp_path / "photos")
    (folder / "photographs.json").write_text(json.dumps({"grey": grey, "pixel_mm": 4.0}))
    assert import_photographs(folder, tmp_path / "pairs", ((40.0, 400.0),)) == 5
    counts = [len(pair_files(tmp_path / "pairs", part)) for part in ("learn", "validate", "test")]
    assert counts == [3, 1, 1]
    spec = load_config({**plan(), "pixel_mm": 4.0}).spec
    samples = PairSamples(tmp_path / "pairs", "test", spec, (48, 64), 1, augment=False)
    images, truth = samples[0]
    body = ndimage.binary_erosion(truth[2] == BODY, iterations=2)
    red, yellow = body & (truth[1] < 30), body & (truth[1] >= 30)
    assert red.sum() > 200 and yellow.sum() > 200
    for place, inside in ((10, red), (40, yellow)):
        with np.load(samples.files[0]) as stored:
            color = stored["rgb"][0, place + 5, 40]
        L, a, b = rgb2lab(color[None, None] / 255.0)[0, 0]
        wanted = color @ (0.299, 0.587, 0.114) / 255 if grey == "ntsc" else L / 100
        middle = np.median(images[0][inside]), np.median(truth[0][inside])
        assert middle == pytest.approx((wanted, a), abs=0.02 * abs(a) + 0.01)
        assert np.median(truth[1][inside]) == pytest.approx(b, abs=0.5)
    assert not truth[:2, truth[2] != BODY].any()


def test_training_on_photographs_alone(tmp_path):
    folder = write_photographs(tmp_path / "photos")
    (tmp_path / "mine.json").write_text(json.dumps(plan()))
    argv = ["train", str(tmp_path / "mine.json"), "--steps", "2", "--device", "cpu", "--json"]
    assert main([*argv, "--out", str(tmp_path / "run"), "--data", str(folder)]) == 0
    card = (tmp_path / "run" / "weights" / "unet" / "docs" / "README.md").read_text()
    assert "3 color photographs" in card


def test_too_few_photographs_do_not_block_the_next_try(tmp_path, capsys):
    folder = write_photographs(tmp_path / "photos", count=2)
    (tmp_path / "mine.json").write_text(json.dumps(plan()))
    argv = ["train", str(tmp_path / "mine.json"), "--steps", "1", "--device", "cpu"]
    argv += ["--out", str(tmp_path / "run"), "--data", str(folder)]
    assert main(argv) == 2 and "holds 2 photographs" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    (folder / "2.png").write_bytes((folder / "1.png").read_bytes())
    assert main(argv) == 0


def test_an_import_that_failed_does_not_stand_for_the_whole_in_the_next_try(tmp_path, capsys):
    """All but the last photograph had been imported."""
    folder = write_photographs(tmp_path / "photos")
    last = np.random.default_rng(1).permutation(5)[-1]
    whole = (folder / f"{last}.png").read_bytes()
    (folder / f"{last}.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    (tmp_path / "mine.json").write_text(json.dumps(plan()))
    argv = ["train", str(tmp_path / "mine.json"), "--steps", "1", "--device", "cpu"]
    argv += ["--out", str(tmp_path / "run"), "--data", str(folder)]
    assert main(argv) == 2 and "cannot be read as a photograph" in capsys.readouterr().err
    (folder / f"{last}.png").write_bytes(whole)
    assert main(argv) == 0
    parts = [pair_files(tmp_path / "run" / "pairs", p) for p in ("learn", "validate", "test")]
    assert list(map(len, parts)) == [3, 1, 1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("windows", "a single center and width"),
        ("few", "holds 2 photographs"),
        ("damaged", "cannot be read as a photograph"),
        ("settings", "'pixel_mm' is -1"),
    ],
)
def test_unusable_photographs_give_a_one_line_error(tmp_path, change, words):
    folder = write_photographs(tmp_path / "photos", 2 if change == "few" else 4)
    if change == "damaged":
        (folder / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    if change == "settings":
        (folder / "photographs.json").write_text('{"pixel_mm": -1}')
    windows = ((40.0, 400.0),) * (3 if change == "windows" else 1)
    with pytest.raises(TomochromeError, match=words) as refused:
        import_photographs(folder, tmp_path / "pairs", windows)
    assert "\n" not in str(refused.value)
