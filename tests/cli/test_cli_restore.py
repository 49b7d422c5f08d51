"""The command `restore`: outputs and their masks, JSON, and refusals in one sentence."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from cli_cases import Run, make_series, small_ct
from PIL import Image

from tomochrome.io import read, write
from tomochrome.restoration import DefectMap
from tomochrome.restoration import scan_restoration as module
from tomochrome.runtime.device import kernel_threads, thread_count
from tomochrome.volume import RESTORED, Volume

KEYS = {"input", "output", "model", "defects", "restored_percent", "seconds", "warnings"}


def damaged() -> tuple[Volume, np.ndarray]:
    """A scan with a lost slice and lost rows."""
    clean = small_ct()
    mask = np.zeros(clean.shape, bool)
    mask[2], mask[4, 20:22] = True, True
    return replace(clean, voxels=np.where(mask, -1024, clean.voxels).astype(np.int16)), mask


@pytest.fixture
def series(tmp_path, monkeypatch):
    """A file of a damaged scan whose defects are found."""
    volume, mask = damaged()
    code = np.where(mask, np.uint8(4), np.uint8(0))
    code[2] = 3

    def found(given, kinds):
        return DefectMap(
            np.where(np.isin(code, [module.KINDS.index(k) + 1 for k in kinds]), code, 0)
        )

    monkeypatch.setattr(module, "defects_by_rules", found)
    write(volume, tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def restored(capfd, *argv) -> Run:
    return Run(capfd, "restore", *argv, "--model", "classical")


@pytest.mark.parametrize("name", ["out.nii.gz", "out.nrrd", "out/"])
def test_a_scan_is_restored_and_its_mask_kept(series, tmp_path, capfd, name):
    run = restored(capfd, series, "-o", f"{tmp_path}/{name}", "--json")
    data = json.loads(run.out)
    assert run.status == 0 and set(data) == KEYS
    assert data["output"] == f"{tmp_path}/{name}" and data["model"] == "classical"
    assert [(d["kind"], d["slices"]) for d in data["defects"]] == [("missing", [2]), ("lines", [4])]
    volume, mask = damaged()
    back = read(tmp_path / name)
    changed = back.voxels != volume.voxels
    np.testing.assert_array_equal(back.restored, changed)
    assert not changed[~mask].any() and changed[mask].mean() > 0.5
    assert data["restored_percent"] == pytest.approx(100 * changed.mean(), abs=1e-3)
    assert any("restored, not measured" in text for text in data["warnings"])


def test_only_the_chosen_kinds_are_restored(series, tmp_path, capfd):
    run = restored(capfd, series, "-o", tmp_path / "a.nrrd", "--defects", "lines,ring", "--json")
    assert [d["kind"] for d in json.loads(run.out)["defects"]] == ["lines"]
    assert not read(tmp_path / "a.nrrd").restored[2].any()


@pytest.mark.parametrize("name", ["c.nrrd", "c.seg.nrrd", "c.nii.gz"])
def test_a_mask_replaces_finding_and_the_result_s_mask_can_be_written(
    series, tmp_path, capfd, name
):
    volume, mask = damaged()
    rows = mask.copy()
    rows[2] = False
    marks = Volume(rows.astype(np.uint8), volume.affine, "tissue")
    write(marks, tmp_path / "m.nii.gz")
    run = restored(
        capfd, series, "-o", tmp_path / "b.nii.gz",
        "--mask", tmp_path / "m.nii.gz", "--mask-out", tmp_path / name,
    )  # fmt: skip
    assert run.status == 0 and "lines:" in run.out and "not for diagnosis" in run.out
    back = read(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(read(tmp_path / name).voxels != 0, back.restored)
    assert not back.restored[~rows].any()


def test_a_scan_without_defects_says_so_and_writes_nothing(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(
        module, "defects_by_rules", lambda v, kinds: DefectMap(np.zeros(v.shape, np.uint8))
    )
    folder = make_series(tmp_path / "series")
    out = tmp_path / "out.nii.gz"
    run = restored(capfd, folder, "-o", out)
    assert run.status == 0 and "no defects were found; nothing was written" in run.out
    data = json.loads(restored(capfd, folder, "-o", out, "--json").out)
    assert data["output"] is None and data["defects"] == [] and data["restored_percent"] == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["series"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["-o", "{0}/a.png"], "needs colors"),
        (["-o", "{0}/a.txt"], "supported extension"),
        (["-o", "{0}/scan.nii.gz"], "is an input"),
        (["-o", "{0}/taken.nrrd"], "already exists"),
        (["-o", "{0}/masked.nrrd"], "already exists"),
        (["-o", "{0}/a.nrrd", "--mask-out", "{0}/a.png"], "cannot store a mask"),
        (["-o", "{0}/a.nrrd", "--mask-out", "{0}/a_restored.seg.nrrd"], "another output"),
        (["-o", "a.nrrd", "--mask-out", "{0}/a.nrrd"], "another output"),
        (["-o", "{0}/a.nrrd", "--mask-out", "{0}/scan.nii.gz", "--force"], "is an input"),
        (["-o", "{0}/a.nrrd", "--mask", "{0}/other.nii.gz"], "not on the voxel grid"),
        (["-o", "{0}/a.nrrd", "--mask", "{0}/all.nii.gz"], "covers the entire scan"),
        (["-o", "{0}/a.nrrd", "--mask", "{0}/none.nii.gz"], "no file or folder"),
        (["-o", "{0}/a.nrrd", "--defects", "metal,scratch"], "'scratch' is no kind"),
        (["-o", "{0}/a.nrrd", "--model", "gan"], "unknown restoration model 'gan'"),
        (["-o", "{0}/a.nrrd", "--model", "gan"], "'classical' needs no model"),
    ],
)
def test_bad_input_is_one_sentence(series, tmp_path, capfd, monkeypatch, options, text):
    monkeypatch.chdir(tmp_path)
    volume, _ = damaged()
    for name in ("taken.nrrd", "masked_restored.seg.nrrd"):
        (tmp_path / name).write_bytes(b"mine")
    ones = np.ones(volume.shape, np.uint8)
    write(Volume(ones, volume.affine, "tissue"), tmp_path / "all.nii.gz")
    write(Volume(ones[1:], volume.affine, "tissue"), tmp_path / "other.nii.gz")
    before = {path.name for path in tmp_path.iterdir()}
    model = [] if "--model" in options else ["--model", "classical"]
    run = Run(capfd, "restore", series, *(o.format(tmp_path) for o in options), *model)
    assert run.status == 2 and text in run.complaint
    assert {path.name for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["out.nii.gz", "out.nrrd"])
def test_a_mask_beside_the_output_never_replaces_the_scan(series, tmp_path, capfd, name):
    """The mask of ``out.nii.gz`` would have the name of the scan."""
    ending = {"out.nii.gz": ".nii.gz", "out.nrrd": ".seg.nrrd"}[name]
    scan = tmp_path / f"out_restored{ending}"
    series.rename(scan)
    before = scan.read_bytes()
    run = restored(capfd, scan, "-o", tmp_path / name, "--force")
    assert run.status == 2 and "is an input" in run.complaint
    assert scan.read_bytes() == before and not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["m.nii.gz", "m.seg.nrrd"])
def test_a_defect_that_is_left_has_an_empty_mask(series, tmp_path, capfd, name):
    volume, mask = damaged()
    write(Volume(mask.astype(np.uint8), volume.affine, "tissue"), tmp_path / "marks.nii.gz")
    run = restored(
        capfd, series, "-o", tmp_path / "a.nrrd", "--mask", tmp_path / "marks.nii.gz",
        "--defects", "field", "--mask-out", tmp_path / name, "--json",
    )  # fmt: skip
    data = json.loads(run.out)
    assert run.status == 0 and data["restored_percent"] == 0
    told = [text for text in data["warnings"] if "restore" in text or "defect" in text]
    assert told == ["a defect of the kind 'field' is left: 'classical' does not change it"]
    np.testing.assert_array_equal(read(tmp_path / "a.nrrd").voxels, volume.voxels)
    marks = read(tmp_path / name)
    assert marks.shape == volume.shape and not marks.voxels.any()


def test_threads_are_limited(series, tmp_path, capfd, monkeypatch):
    seen, fill = [], module.without_network
    monkeypatch.setattr(
        module, "without_network",
        lambda *given: seen.append(kernel_threads()) or fill(*given),
    )  # fmt: skip
    for threads in (1, 2):
        out = tmp_path / f"{threads}.nrrd"
        assert restored(capfd, series, "-o", out, "--threads", threads).status == 0
    assert seen == [1, min(2, thread_count())]


def test_a_photograph_is_filled_where_it_is_marked(tmp_path, capfd):
    y, x = np.mgrid[:30, :40]
    clean = np.stack([4 * y, 5 * x, 90 + y], -1).astype(np.uint8)
    mask = np.abs(y - 12) < 2
    Image.fromarray(np.where(mask[..., None], np.uint8(255), clean)).save(tmp_path / "p.png")
    Image.fromarray((255 * mask).astype(np.uint8)).save(tmp_path / "m.png")
    out = tmp_path / "o.png"
    run = Run(
        capfd, "restore", tmp_path / "p.png", "-o", out, "--mask", tmp_path / "m.png", "--json"
    )
    data = json.loads(run.out)
    assert run.status == 0 and set(data) == KEYS and data["model"] == "biharmonic"
    assert data["warnings"] == [f"{data['restored_percent']:.2g} % of the pixels were {RESTORED}"]
    with Image.open(out) as image, Image.open(tmp_path / "o_restored.png") as marks:
        assert "restored, not measured" in image.info["Comment"]
        filled, marked = np.asarray(image), np.asarray(marks) > 0
    with Image.open(tmp_path / "p.png") as image:
        np.testing.assert_array_equal(marked, (filled != np.asarray(image)).any(-1))
    assert np.abs(filled.astype(int) - clean).max() <= 3
    for argv, text in (
        (["-o", tmp_path / "q.nii.gz", "--mask", tmp_path / "m.png"], "must end in .png"),
        (["-o", out, "--mask", tmp_path / "m.png"], "already exists"),
        (["-o", tmp_path / "q.png", "--mask-out", tmp_path / "q.nii.gz"], "must end in .png"),
        (["-o", tmp_path / "q.png", "--mask-out", tmp_path / "q.png"], "another output"),
        (["-o", tmp_path / "q.png", "--mask-out", tmp_path / "q_restored.png"], "another output"),
        (["-o", tmp_path / "q.png", "--defects", "lines"], "--defects has no effect on a phot"),
        (["-o", tmp_path / "q.png", "--model", "classical"], "--model has no effect"),
        (["-o", tmp_path / "q.png", "--series", "1.2"], "--series has no effect"),
        (["-o", tmp_path / "q.png", "--raw"], "--raw has no effect"),
        (["-o", tmp_path / "q.png", "--strict"], "--strict has no effect"),
    ):
        assert text in Run(capfd, "restore", tmp_path / "p.png", *argv).complaint
    assert not list(tmp_path.glob("q*"))
    scan = (tmp_path / "p.png").rename(tmp_path / "z_restored.png")
    run = Run(
        capfd, "restore", scan, "-o", tmp_path / "z.png", "--mask", tmp_path / "m.png", "--force"
    )
    assert "is an input" in run.complaint


def test_a_photograph_that_is_restored_again_keeps_its_earlier_marks(tmp_path, capfd):
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    for name, rows in (("m.png", slice(4, 6)), ("n.png", slice(20, 21))):
        mask = np.zeros((30, 40), np.uint8)
        mask[rows] = 255
        Image.fromarray(mask).save(tmp_path / name)

    def fill(scan, mask, out):
        words = (tmp_path / scan, "-o", tmp_path / out, "--mask", tmp_path / mask, "--json")
        return json.loads(Run(capfd, "restore", *words).out)["warnings"]

    fill("p.png", "m.png", "a.png")
    assert len(fill("a.png", "n.png", "b.png")) == 1
    with Image.open(tmp_path / "b.png") as image, Image.open(tmp_path / "b_restored.png") as marks:
        changed = (np.asarray(image) != pixels).any(-1)
        np.testing.assert_array_equal(np.asarray(marks) > 0, changed)
    assert changed[4:6].any() and changed[20].any()
    (tmp_path / "a_restored.png").unlink()
    assert (
        "their mask ('a_restored.png' beside it) is missing" in fill("a.png", "n.png", "c.png")[1]
    )


@pytest.mark.parametrize("unknown", [np.nan, np.inf])
def test_a_mask_marks_nothing_where_it_has_no_number(series, tmp_path, capfd, unknown):
    volume, mask = damaged()
    marks = Volume(np.where(mask, np.float32(1), np.float32(unknown)), volume.affine, "unknown")
    write(marks, tmp_path / "m.nii.gz")
    out = tmp_path / "o.nii.gz"
    assert restored(capfd, series, "-o", out, "--mask", tmp_path / "m.nii.gz").status == 0
    assert not read(out).restored[~mask].any()


def test_the_scratch_of_a_photograph_is_found_and_filled(tmp_path, capfd):
    y, x = np.mgrid[:90, :120]
    clean = np.stack([120 + y // 2, 60 + x // 3, 40 + y // 3], -1).astype(np.uint8)
    Image.fromarray(clean).save(tmp_path / "clean.png")
    scratched = np.where((np.abs(y - x // 2 - 10) < 1)[..., None], np.uint8(250), clean)
    Image.fromarray(scratched).save(tmp_path / "p.png")
    run = Run(capfd, "restore", tmp_path / "p.png", "-o", tmp_path / "o.png", "--json")
    data = json.loads(run.out)
    assert run.status == 0 and set(data) == KEYS
    assert [d["kind"] for d in data["defects"]] == ["scratch"]
    with Image.open(tmp_path / "o.png") as image:
        assert np.abs(np.asarray(image).astype(int) - clean).max() <= 4
    run = Run(capfd, "restore", tmp_path / "clean.png", "-o", tmp_path / "c.png", "--json")
    data = json.loads(run.out)
    assert run.status == 0 and data["output"] is None and not data["defects"]
    assert not (tmp_path / "c.png").exists()
