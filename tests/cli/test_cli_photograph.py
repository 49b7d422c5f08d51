"""The command `photograph`: outputs, figures, and refusals in one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import tomochrome as tc
from tomochrome.cli.app import main
from tomochrome.color.convert import srgb_to_lab
from tomochrome.training.config import CONFIGS
from tomochrome.volume import RESTORED

FAT, MUSCLE = (190, 160, 110), (110, 50, 40)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A network with random weights that says it colors photographs."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    from tomochrome.bundles import weights_folder
    from tomochrome.colorization.network_builder import build_network

    source = weights_folder() / "unet"
    folder = tmp_path_factory.mktemp("model") / "photo"
    for part in ("configs", "docs", "models"):
        (folder / part).mkdir(parents=True)
    (folder / "LICENSE").write_text((source / "LICENSE").read_text())
    (folder / "docs" / "README.md").write_text("A test.")
    torch.manual_seed(5)
    network = {**json.loads((CONFIGS / "unet.json").read_text())["network"],
               "features": [4, 4, 8, 8, 8, 4]}  # fmt: skip
    save_file(build_network(network).state_dict(), folder / "models" / "model.safetensors")
    import hashlib

    metadata = json.loads((source / "configs" / "metadata.json").read_text())
    digest = hashlib.sha256((folder / "models" / "model.safetensors").read_bytes()).hexdigest()
    metadata |= {"network": network, "photograph": {"body_pixels": 64}, "weights_sha256": digest}
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    return folder


@pytest.fixture
def photograph(tmp_path):
    rgb = np.full((90, 120, 3), (30, 70, 130), np.uint8)
    rgb[15:75, 20:100] = FAT
    rgb[30:60, 40:80] = MUSCLE
    path = tmp_path / "section.png"
    Image.fromarray(rgb).save(path)
    return path


def run(capsys, *argv):
    status = main(["photograph", *map(str, argv), "--device", "cpu", "--json"])
    out, err = capsys.readouterr()
    return status, json.loads(out) if status == 0 else None, err


@pytest.mark.parametrize("restored", [False, True])
def test_a_restored_photograph_stays_marked(photograph, bundle, tmp_path, capsys, restored):
    note = PngInfo()
    note.add_text("Comment", f"{RESTORED if restored else 'scanned'}; not for diagnosis")
    with Image.open(photograph) as image:
        image.save(tmp_path / "r.png", pnginfo=note)
    assert run(capsys, tmp_path / "r.png", "-o", tmp_path / "c.png", "--model", bundle)[0] == 0
    with Image.open(tmp_path / "c.png") as image:
        comment = image.info["Comment"]
    assert (f"partly {RESTORED}" in comment) == restored
    assert "model photo" in comment and "not for diagnosis" in comment


def test_one_photograph(photograph, bundle, tmp_path, capsys):
    out = tmp_path / "colored.png"
    status, data, _ = run(capsys, photograph, "-o", out, "--model", bundle)
    assert status == 0 and set(data) == {"model", "images", "mean", "warnings"}
    (row,) = data["images"]
    assert row["path"] == str(photograph) and row["output"] == str(out)
    assert {row[k] for k in ("ciede2000", "ciede2000_p95", "psnr")} == {None}
    assert data["mean"] == {"ciede2000": None, "grey_ciede2000": None, "curve_ciede2000": None}
    true, colored = (np.array(Image.open(path)) for path in (photograph, out))
    difference = srgb_to_lab(colored)[..., 0] - srgb_to_lab(true)[..., 0]
    assert np.abs(difference).max() <= 0.5
    assert np.ptp(colored[5, 5].astype(int)) <= 1 and np.ptp(colored[45, 60].astype(int)) > 2
    np.testing.assert_array_equal(colored, tc.colorize_photograph(true, bundle, device="cpu"))


def test_several_with_figures(photograph, bundle, tmp_path, capsys):
    grey = tmp_path / "grey.png"
    Image.fromarray(np.array(Image.open(photograph).convert("L"))).save(grey)
    argv = (photograph, grey, "-o", f"{tmp_path}/out/", "--model", bundle, "--evaluate")
    status, data, err = run(capsys, *argv)
    assert status == 0 and sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "grey.png", "section.png",
    ]  # fmt: skip
    first, second = data["images"]
    assert 0 < first["ciede2000"] <= first["ciede2000_p95"] and first["psnr"] > 5
    assert first["grey_ciede2000"] > 5 and first["curve_ciede2000"] > 0
    assert second["ciede2000"] is None and "grey photograph" in data["warnings"][0]
    assert data["mean"]["ciede2000"] == first["ciede2000"] and "grey.png" in err


def test_a_mask_limits_color_and_figures(photograph, bundle, tmp_path, capsys):
    mask = np.zeros((90, 120), np.uint8)
    mask[35:55, 45:75] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    argv = (photograph, "--model", bundle, "--mask", tmp_path / "mask.png", "--evaluate")
    status, data, _ = run(capsys, *argv, "-o", tmp_path / "a.png")
    assert status == 0
    colored = np.array(Image.open(tmp_path / "a.png")).astype(int)
    assert np.ptp(colored[mask == 0], axis=-1).max() <= 1
    one_color = np.uint8([[MUSCLE]])
    chroma = float(np.linalg.norm(srgb_to_lab(one_color)[0, 0, 1:]))
    assert data["images"][0]["grey_ciede2000"] < chroma


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("{photo}", "-o", "{tmp}/a.jpg"), "must end in .png"),
        (("{photo}", "-o", "{tmp}/.png"), "must end in .png"),
        (("{photo}", "{photo}", "-o", "{tmp}/a.png"), "folder that ends in /"),
        (("{photo}", "{photo}", "-o", "{tmp}/new/"), "two photographs would be written"),
        (("{tmp}/none.png", "-o", "{tmp}/a.png"), "there is no file or folder"),
        (("{text}", "-o", "{tmp}/a.png"), "cannot be read as a photograph"),
        (("{photo}", "-o", "{photo}", "--force"), "is an input"),
        (("{photo}", "-o", "{tmp}/a.png", "--mask", "{small}"), "mask has 4 x 3 pixels"),
        (("{photo}", "-o", "{tmp}/a.png", "--model", "tissue"), "not trained on photographs"),
        (("{photo}", "-o", "{text}"), "must end in .png"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(photograph, bundle, tmp_path, capsys, argv, words):
    text, small = tmp_path / "text.png.txt", tmp_path / "small.png"
    text.write_text("no picture")
    Image.fromarray(np.ones((3, 4), np.uint8)).save(small)
    places = {"photo": photograph, "tmp": tmp_path, "text": text, "small": small}
    before = sorted(tmp_path.iterdir())
    given = [part.format(**places) for part in argv]
    if "--model" not in given:
        given += ["--model", str(bundle)]
    status, _, err = run(capsys, *given)
    assert status == 2 and words in err and err.startswith("error: ") and err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_existing_outputs_are_kept(photograph, bundle, tmp_path, capsys):
    out = Path(tmp_path / "a.png")
    out.write_bytes(b"mine")
    status, _, err = run(capsys, photograph, "-o", out, "--model", bundle)
    assert status == 2 and "--force" in err and out.read_bytes() == b"mine"
    assert run(capsys, photograph, "-o", out, "--model", bundle, "--force")[0] == 0
    with Image.open(out) as image:
        assert image.size == (120, 90)
