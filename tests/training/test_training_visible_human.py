"""Import of Visible Human files, made from a phantom in the original formats."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from tomochrome.color.convert import srgb_to_lab
from tomochrome.errors import InputError
from tomochrome.io.section_photograph import clean_section
from tomochrome.phantom import make_patient
from tomochrome.training import section_pairs, visible_human
from tomochrome.training.section_pairs import (
    BLOCK,
    GAP,
    import_visible_human,
    pair_files,
    read_pair,
    split_blocks,
)
from tomochrome.training.visible_human import (
    find_sections,
    find_slices,
    read_ct,
    read_photographs,
    read_section,
    read_slice,
)

WIDTH, HEIGHT, CT_SIZE, CT_MM = 768, 768, 128, 2.0
SLICES = 22
HEADER = b"GE" + bytes(3414)
MOVED = (4, -3)  # mm that the photographs lie off the CT, to the front and to the left
CAST = np.array([0.8, 1.0, 0.85])  # of the light


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for name, value in {"WIDTH": WIDTH, "HEIGHT": HEIGHT, "CT_SIZE": CT_SIZE}.items():
        monkeypatch.setattr(visible_human, name, value)


@pytest.fixture(scope="module")
def patient():
    return make_patient(4, "head", (1.0, 2.0, 2.0), shape=(SLICES, CT_SIZE, CT_SIZE), couch=False)


def section(photograph):
    """A photograph (y, x, 3) of 2 mm, as a section: in its block, with the grey scale."""
    out = np.repeat(np.repeat(photograph[::-1], 6, 0), 6, 1)
    out = np.roll(out, [round(mm / 0.33) for mm in MOVED], (0, 1))
    frame = np.zeros((HEIGHT, WIDTH), bool)
    frame[20:-70, 20:-20] = True
    out[~frame] = 5
    for k, level in enumerate(np.linspace(15, 250, 20)):
        out[-60:-30, 200 + 16 * k : 216 + 16 * k] = level
    linear = (out / 255.0) ** 2.2 * CAST
    return np.rint(255 * linear ** (1 / 2.2)).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(patient, tmp_path_factory):
    """Sections and CT slices of a man's head, the first of them at 1001 mm."""
    place = tmp_path_factory.mktemp("vhp")
    (place / "sections").mkdir()
    (place / "ct").mkdir()
    pictures = patient.cryosection()[::-1]
    for k, (hu, rgb) in enumerate(zip(patient.ct.voxels[::-1], pictures, strict=True)):
        photographed = section(rgb)
        if k % 3:
            raw = np.moveaxis(photographed, -1, 0).tobytes()
            (place / "sections" / f"a_vm{1001 + k}.raw").write_bytes(raw)
        else:
            Image.fromarray(photographed).save(place / "sections" / f"a_vm{1001 + k}.png")
        stored = (hu + 1024).astype(">i2").tobytes()
        (place / "ct" / f"c_vm{1001 + k}.fre").write_bytes(HEADER + stored)
    (place / section_pairs.SETTINGS).write_text(f'{{"ct_pixel_mm": {CT_MM}}}')
    return place


def test_sections_and_slices_are_sorted(folder):
    sections, slices = find_sections(folder), find_slices(folder)
    assert len(sections) == len(slices) == SLICES
    assert [item.depth_mm for item in sections] == list(range(1001, 1001 + SLICES))
    assert {item.path.suffix for item in sections} == {".raw", ".png"}


def test_three_sections_a_millimeter(tmp_path):
    for name in ("avf1002b.raw", "avf1002a.png", "avf1001c.raw", "avf1002a.txt", "cvf1002.png"):
        (tmp_path / name).touch()
    assert [(s.path.name, round(s.depth_mm, 2)) for s in find_sections(tmp_path)] == [
        ("avf1001c.raw", 1001.67), ("avf1002a.png", 1002.0), ("avf1002b.raw", 1002.33),
    ]  # fmt: skip


def test_the_ct_is_upright_and_in_hu(folder, patient):
    volume = read_ct(find_slices(folder), CT_MM)
    np.testing.assert_array_equal(volume.voxels, patient.ct.voxels)
    assert volume.unit == "HU" and volume.spacing == (1.0, CT_MM, CT_MM)
    np.testing.assert_allclose(volume.affine[:3, :3] @ (1, 0, 0), (0, 0, 1))  # to the head


def test_a_missing_slice_is_interpolated(folder):
    slices = find_slices(folder)
    whole, without = read_ct(slices, CT_MM), read_ct(slices[:5] + slices[6:], CT_MM)
    assert without.shape == whole.shape
    at = SLICES - 1 - 5
    mean = (whole.voxels[at - 1].astype(float) + whole.voxels[at + 1]) / 2
    assert np.abs(without.voxels[at] - mean).max() <= 1


def test_white_balance_and_gel_removal(folder, patient):
    k = 12
    rgb, tissue = clean_section(read_section(find_sections(folder)[k].path))
    scale = rgb[-50:-40, 220:480].reshape(-1, 3).astype(int)
    assert np.ptp(scale[(scale.max(1) < 240) & (scale.min(1) > 30)], axis=1).max() <= 5
    truth = np.repeat(np.repeat(patient.cryosection()[::-1][k][::-1], 6, 0), 6, 1)
    truth = np.roll(truth, [round(mm / 0.33) for mm in MOVED], (0, 1))
    body = srgb_to_lab(truth)[..., 2] > 0
    assert 2 * (body & tissue).sum() / (body.sum() + tissue.sum()) > 0.96
    error = np.linalg.norm((srgb_to_lab(rgb) - srgb_to_lab(truth))[..., 1:], axis=-1)
    assert error[tissue & body].mean() < 3.0
    assert not tissue[-70:].any()


def test_pairs_are_aligned_and_split(folder, patient, tmp_path):
    notices = import_visible_human(folder, tmp_path / "pairs", refine=0)
    assert [notice.code for notice in notices] == ["content"]
    files = [path for part in ("learn", "validate", "test")
             for path in pair_files(tmp_path / "pairs", part)]  # fmt: skip
    assert len(files) == (SLICES + GAP) // (BLOCK + GAP) == 1
    pair = read_pair(files[0])
    assert pair.spacing == (1.0, CT_MM, CT_MM)
    assert pair.hu.shape == (BLOCK, CT_SIZE, CT_SIZE)
    rows = slice(SLICES - BLOCK, SLICES)  # the first block is at the head
    np.testing.assert_array_equal(pair.hu, patient.ct.voxels[rows])
    truth = srgb_to_lab(patient.cryosection()[rows])
    bodies = truth[..., 2] > 0
    assert 2 * (bodies & pair.tissue).sum() / (bodies.sum() + pair.tissue.sum()) > 0.9
    error = np.linalg.norm((srgb_to_lab(pair.rgb) - truth)[..., 1:], axis=-1)
    assert np.median(error[pair.tissue & bodies]) < 5.0


@pytest.mark.parametrize("count", [BLOCK, 100, 900])
def test_blocks_do_not_touch(count):
    blocks = split_blocks(count, 1)
    used = [k for block, _ in blocks for k in block]
    assert len(used) == len(set(used)) and max(used) < count
    assert all(b.start - a.stop == GAP for (a, _), (b, _) in pairwise(blocks))
    if count == 900:
        share = {part: sum(p == part for _, p in blocks) / len(blocks) for _, part in blocks}
        assert share == pytest.approx({"learn": 0.7, "validate": 0.2, "test": 0.1}, abs=0.02)
    assert split_blocks(count, 1) == blocks


def broken(folder, name, data):
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a_vm1001.raw", b"abc", "has 3 bytes, but a section of the Visible Human has"),
        ("a_vm1001.png", b"abc", "cannot be read as a photograph"),
        ("c_vm1001.fre", b"abc", "has 3 bytes, but a CT slice"),
        ("cvm1001f.png", b"\x89PNG", "cannot be read as a CT slice"),
    ],
)
def test_damaged_files_give_a_one_line_error(name, data, words, tmp_path):
    path = broken(tmp_path, name, data)
    with pytest.raises(InputError, match=words) as refused:
        (read_section if "a_vm" in name else read_slice)(path)
    assert str(path) in str(refused.value)


def test_unusable_folders_give_a_one_line_error(folder, tmp_path):
    with pytest.raises(InputError, match="has no color sections"):
        import_visible_human(tmp_path, tmp_path / "out")
    (tmp_path / "c_vm1001.fre").touch()
    (tmp_path / "c_vm1002.fro").touch()
    with pytest.raises(InputError, match="which are two scans"):
        import_visible_human(tmp_path, tmp_path / "out")
    with pytest.raises(InputError, match="no color sections of the Visible Human to import"):
        read_photographs([])
    with pytest.raises(InputError, match="at least two CT slices"):
        read_ct(find_slices(folder)[:1])
    noise = np.random.default_rng(0).integers(3000, 4000, (2, CT_SIZE, CT_SIZE)).astype(">i2")
    other = tmp_path / "other"
    other.mkdir()
    for k, plane in enumerate(noise):
        (other / f"c_vm100{k}.fre").write_bytes(plane.tobytes())
    with pytest.raises(InputError, match="cannot be air; they are not CT"):
        read_ct(find_slices(other))
    damaged = broken(tmp_path, "learn-1.npz", b"PK")
    with pytest.raises(InputError, match="cannot be read as a pair"):
        read_pair(damaged)
    assert not (tmp_path / "out").exists()
