"""The mask of restored voxels survives every writer, judged by other readers, and comes back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK
from io_cases import ORIENTATIONS, ct
from PIL import Image

from tomochrome.color import Chroma, Lighting
from tomochrome.formats import (
    COLORED_SCAN,
    FORMATS,
    GIF,
    PAGE,
    PLY,
    SEGMENTATION,
    SHEET,
    STL,
    TISSUE_FORMATS,
    VIDEO,
    ZARR,
    Format,
)
from tomochrome.geometry import closest_axial
from tomochrome.io import ColoredScan, find, read, save_colored, write
from tomochrome.io.restored_mask import mask_path
from tomochrome.io.writing import companions
from tomochrome.tissue import Tissue
from tomochrome.volume import OF_RESTORED, RESTORED, Provenance, Volume


def damaged(orientation="axial", shape=(7, 24, 20)) -> tuple[Volume, Volume]:
    """A scan, and the same with some restored voxels."""
    volume = ct(shape, orientation)
    rng = np.random.default_rng(3)
    mask = rng.random(shape) < 0.05
    mask[3] |= rng.random(shape[1:]) < 0.5
    mask[5] = False
    voxels = np.where(mask, volume.voxels + 7, volume.voxels).astype(np.int16)
    return volume, replace(volume, voxels=voxels, restored=mask)


def colored(volume: Volume) -> Volume:
    rgba = np.full((*volume.shape, 4), 120, np.uint8)
    rgba[..., 3] = 255
    origin = Provenance(extra={"model": "tissue", "opacity": "body"})
    return replace(volume, voxels=rgba, unit="RGBA", provenance=origin)


def notices(volume: Volume) -> list[str]:
    return [n.text for n in volume.provenance.warnings if n.code == "restored"]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("name", ["r.nii.gz", "r.nii", "r.nrrd", "r/"])
def test_every_changed_voxel_is_marked_when_it_is_read_again(tmp_path, name, orientation):
    original, restored = damaged(orientation)
    write(restored, f"{tmp_path}/{name}")
    original, back = closest_axial(original), closest_axial(read(tmp_path / name))
    changed = np.asarray(back.voxels) != original.voxels
    assert changed.any()
    np.testing.assert_array_equal(back.restored, changed)
    assert len(notices(back)) == 1


def test_every_changed_voxel_is_marked_for_nibabel(tmp_path):
    original, restored = damaged("oblique")
    write(original, tmp_path / "a.nii.gz")
    write(restored, tmp_path / "b.nii.gz")
    a, b = (nib.load(tmp_path / name) for name in ("a.nii.gz", "b.nii.gz"))
    mask = nib.load(tmp_path / "b_restored.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(mask.dataobj) == 1, a.get_fdata() != b.get_fdata())
    np.testing.assert_array_equal(mask.affine, b.affine)
    for image in (b, mask):
        assert RESTORED.encode() in image.header["descrip"].tobytes()
    assert RESTORED.encode() not in a.header["descrip"].tobytes()
    assert not (tmp_path / "a_restored.nii.gz").exists()


def test_every_changed_voxel_is_marked_for_simpleitk_and_slicer(tmp_path):
    original, restored = damaged("coronal")
    write(restored, tmp_path / "b.nrrd")
    image, mask = (
        SimpleITK.ReadImage(str(tmp_path / name)) for name in ("b.nrrd", "b_restored.seg.nrrd")
    )
    values, marks = map(SimpleITK.GetArrayFromImage, (image, mask))
    np.testing.assert_array_equal(marks == 1, values != original.voxels)
    assert mask.GetOrigin() == image.GetOrigin()
    assert mask.GetDirection() == image.GetDirection()
    assert mask.GetMetaData("Segment0_Name") == RESTORED
    assert mask.GetMetaData("Segment0_LabelValue") == "1"
    assert mask.GetMetaData("Segment0_Extent") == "0 19 0 23 0 6"
    assert RESTORED in image.GetMetaData("description")


def test_every_changed_voxel_is_marked_for_pydicom(tmp_path):
    original, restored = damaged("sagittal")
    write(restored, f"{tmp_path}/b/")
    slices = {
        one.SOPInstanceUID: one
        for one in map(pydicom.dcmread, sorted((tmp_path / "b").glob("0*.dcm")))
    }
    segmentation = pydicom.dcmread(tmp_path / "b" / "restored.dcm")
    any_slice = next(iter(slices.values()))
    assert segmentation.Modality == "SEG"
    assert segmentation.FrameOfReferenceUID == any_slice.FrameOfReferenceUID
    assert segmentation.StudyInstanceUID == any_slice.StudyInstanceUID
    assert any_slice.SeriesDescription.endswith(RESTORED)
    marks = dict.fromkeys(slices, 0)
    for frame, group in zip(
        segmentation.pixel_array, segmentation.PerFrameFunctionalGroupsSequence, strict=True
    ):
        source = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        position = group.PlanePositionSequence[0].ImagePositionPatient
        assert position == slices[source].ImagePositionPatient
        marks[source] = frame
    for uid, one in slices.items():
        values = one.pixel_array.astype(int) + int(one.RescaleIntercept)
        before = original.voxels[one.InstanceNumber - 1]
        np.testing.assert_array_equal(np.broadcast_to(marks[uid], before.shape), values != before)
    assert len(segmentation.pixel_array) == 6  # the slice without restored voxels has no frame


def test_ome_zarr_has_the_mask_as_labels(tmp_path):
    zarr = pytest.importorskip("zarr")
    _, restored = damaged()
    write(restored, tmp_path / "b.zarr")
    group = zarr.open_group(str(tmp_path / "b.zarr"), mode="r")
    assert group["labels"].attrs["labels"] == ["restored"]
    np.testing.assert_array_equal(group["labels/restored/0"][:] == 1, restored.restored)
    properties = group["labels/restored"].attrs["image-label"]["properties"]
    assert properties == [{"label-value": 1, "name": RESTORED}]


@pytest.mark.parametrize("name", ["c.nii.gz", "c.nrrd"])
def test_colors_have_the_mask_beside_them(tmp_path, name):
    image = colored(damaged("oblique")[1])
    write(image, tmp_path / name)
    assert [path.name for path in companions(image, tmp_path / name)] == [
        mask_path(tmp_path / name).name
    ]
    back = read(tmp_path / name)
    np.testing.assert_array_equal(back.voxels, image.voxels)
    np.testing.assert_array_equal(back.restored, image.restored)


def test_secondary_captures_are_hatched_and_have_a_segmentation(tmp_path):
    image = colored(damaged()[1])
    write(image, f"{tmp_path}/c/")
    frames = [pydicom.dcmread(p) for p in sorted((tmp_path / "c").glob("0*.dcm"))]
    shown = np.stack([one.pixel_array for one in frames])
    hatched = (shown != 120).any(axis=-1)
    holes = ~image.restored  # at most these: a measured voxel within restored ones
    assert (hatched & ~holes).sum() > 0.1 * image.restored.sum()
    assert not hatched[5].any()
    assert RESTORED in frames[0].SeriesDescription
    assert (tmp_path / "c" / "restored.dcm").exists()


def sheet_of(tmp_path, image) -> np.ndarray:
    write(image, tmp_path / "s.png", force=True)
    return np.asarray(Image.open(tmp_path / "s.png")).astype(int)


def test_a_contact_sheet_is_hatched_where_voxels_were_restored(tmp_path):
    volume = colored(ct((4, 60, 60)))
    mask = np.zeros(volume.shape, bool)
    mask[2, 20:40, 10:50] = True
    plain, marked = (sheet_of(tmp_path, one) for one in (volume, replace(volume, restored=mask)))
    tile = (plain.shape[1] - 6) // 4
    differs = (plain != marked).any(axis=-1)[: tile - 20]
    columns = np.flatnonzero(differs.any(axis=0))
    assert tile < columns[0] < columns[-1] < 2 * tile  # slices run from head to feet
    share = differs[:, columns[0] : columns[-1]].any(axis=1).mean()
    assert 0.25 < share < 0.45  # 20 of 60 rows
    with Image.open(tmp_path / "s.png") as sheet:
        assert f"hatched: {RESTORED}" in sheet.info["Comment"]


@pytest.mark.parametrize("ending", ["gif", "mp4"])
def test_cines_say_what_is_hatched(tmp_path, ending, monkeypatch):
    if ending == "mp4":
        pytest.importorskip("av")
    from tomochrome.io import slice_pictures

    drawn = []
    monkeypatch.setattr(
        slice_pictures, "hatched", lambda picture, mask: drawn.append(mask) or picture
    )
    image = colored(damaged(shape=(7, 40, 40))[1])
    write(image, tmp_path / f"c.{ending}")
    assert len(drawn) == 7
    assert f"hatched: {RESTORED}" in slice_pictures.caption(image)


ALL = (*FORMATS, *TISSUE_FORMATS, COLORED_SCAN)


def tissues(volume: Volume) -> Volume:
    """A tissue map with a large piece of liver."""
    labels = np.zeros(volume.shape, np.uint8)
    labels[1:6, 4:20, 4:16] = Tissue.LIVER
    origin = replace(volume.provenance, extra={"palette": "natural", "model": "tissue"})
    return replace(volume, voxels=labels, unit="tissue", provenance=origin)


def written(volume: Volume, output: Format, folder: Path) -> Path:
    """Write a volume as a format can store it."""
    folder.mkdir()
    path = folder / ("out" + output.ending.rstrip("/"))
    if output == COLORED_SCAN:
        codes = np.zeros(volume.shape, np.uint16)
        chroma = Chroma(codes, codes.astype(np.uint8), np.zeros((1, 2), np.float32), volume.affine)
        return save_colored(ColoredScan(volume, chroma, Lighting()), path)
    if output in TISSUE_FORMATS:
        volume = tissues(volume)
    elif output.only_color:
        volume = colored(volume)
    write(volume, f"{path}/" if output.is_folder else path)
    return path


def frames(path: Path) -> np.ndarray:
    """The pictures of a cine, from head to feet."""
    if path.suffix == ".gif":
        with Image.open(path) as film:
            return np.stack([
                np.asarray(film.seek(k) or film.convert("RGB")) for k in range(film.n_frames)
            ])  # fmt: skip
    import av

    with av.open(str(path)) as film:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)])


@pytest.mark.parametrize("output", ALL, ids=[entry.ending for entry in ALL])
def test_every_format_marks_restored_voxels(tmp_path, output):
    """Judged by what is written for the same values without a mask."""
    if output.package:
        pytest.importorskip(output.package)
    _, restored = damaged(shape=(7, 40, 40))
    path = written(restored, output, tmp_path / "marked")
    plain = written(replace(restored, restored=None), output, tmp_path / "plain")
    note = OF_RESTORED.encode()
    if output in (SEGMENTATION, STL, PLY):
        told = [p.read_bytes().count(note) for p in (path, plain)]
        assert told[0] > 0 and told[1] == 0
    elif output == ZARR:
        zarr = pytest.importorskip("zarr")
        labels = zarr.open_group(str(path), mode="r")["labels/restored/0"]
        np.testing.assert_array_equal(labels[:] == 1, restored.restored)
    elif output in (GIF, VIDEO):
        marked = restored.restored.any(axis=(1, 2))[::-1]  # one slice is not
        for film, expected in ((path, marked), (plain, marked & False)):
            shown = frames(film).astype(int)[:, :300]  # above the captions
            differs = (np.abs(shown - shown[~marked]).max(axis=-1) > 40).sum(axis=(1, 2))
            np.testing.assert_array_equal(differs > 500, expected)
    elif output == SHEET:
        with Image.open(path) as marked, Image.open(plain) as clean:
            assert RESTORED in marked.info["Comment"] and RESTORED not in clean.info["Comment"]
    elif output == PAGE:
        assert f"ed: {RESTORED}" in path.read_text("utf-8")
        assert f"ed: {RESTORED}" not in plain.read_text("utf-8")
    else:
        back = read(path)
        np.testing.assert_array_equal(back.restored, closest_axial(restored).restored)
        assert read(plain).restored is None


def test_a_lost_mask_is_told(tmp_path):
    _, restored = damaged()
    write(restored, tmp_path / "b.nii.gz")
    write(restored, f"{tmp_path}/b/")
    (tmp_path / "b_restored.nii.gz").unlink()
    (tmp_path / "b" / "restored.dcm").unlink()
    for name in ("b.nii.gz", "b"):
        back = read(tmp_path / name)
        assert back.restored is None
        (text,) = notices(back)
        assert "missing or does not fit" in text


def test_a_mask_of_another_grid_is_not_used(tmp_path):
    _, restored = damaged()
    write(restored, tmp_path / "b.nii.gz")
    _, other = damaged("coronal")
    write(other, tmp_path / "o.nii.gz")
    (tmp_path / "o_restored.nii.gz").replace(tmp_path / "b_restored.nii.gz")
    back = read(tmp_path / "b.nii.gz")
    assert back.restored is None
    assert notices(back)


def test_a_measured_scan_in_the_place_of_a_restored_one_is_not_marked(tmp_path):
    original, restored = damaged()
    write(restored, tmp_path / "b.nii.gz")
    write(original, tmp_path / "b.nii.gz", force=True)
    back = read(tmp_path / "b.nii.gz")
    assert back.restored is None
    assert not notices(back)


def test_the_mask_is_kept_when_another_program_saves_the_scan(tmp_path):
    _, restored = damaged()
    write(restored, tmp_path / "b.nii.gz")
    image = nib.load(tmp_path / "b.nii.gz")
    voxels = np.asanyarray(image.dataobj)
    nib.save(nib.Nifti1Image(voxels, image.affine), tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(read(tmp_path / "b.nii.gz").restored, restored.restored)


def test_a_foreign_file_of_that_name_is_ignored(tmp_path):
    original, _ = damaged()
    nib.save(nib.Nifti1Image(original.voxels.T, np.eye(4)), tmp_path / "f.nii.gz")
    other = np.ones(original.shape[::-1], np.uint8)
    nib.save(nib.Nifti1Image(other, np.eye(4)), tmp_path / "f_restored.nii.gz")
    back = read(tmp_path / "f.nii.gz")
    assert back.restored is None
    assert not notices(back)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd"])
def test_a_restored_scan_with_the_name_of_a_mask_is_none(tmp_path, name):
    """As ``restore a.nii.gz -o a_restored.nii.gz`` writes it beside the scanner's own file."""
    original, restored = damaged()
    image = SimpleITK.GetImageFromArray(original.voxels)
    write(original, tmp_path / name)
    image.CopyInformation(SimpleITK.ReadImage(str(tmp_path / name)))
    SimpleITK.WriteImage(image, str(tmp_path / name))  # by another program
    write(restored, tmp_path / "other.nrrd")
    taken = mask_path(tmp_path / name)
    if name == "a.nrrd":
        (tmp_path / "other.nrrd").rename(taken)
    else:
        write(restored, taken)
    back = read(tmp_path / name)
    assert back.restored is None and not notices(back)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd"])
def test_the_mask_itself_lacks_no_mask(tmp_path, name):
    _, restored = damaged()
    write(restored, tmp_path / name)
    mask = read(mask_path(tmp_path / name))
    np.testing.assert_array_equal(mask.voxels != 0, restored.restored)
    assert mask.restored is None and not notices(mask)


def test_a_folder_lists_one_scan_and_its_mask_is_none(tmp_path):
    _, restored = damaged()
    write(restored, tmp_path / "b.nii.gz")
    write(restored, tmp_path / "c.nrrd")
    verdicts = {item.path: item.verdict for item in find(tmp_path).items}
    assert sorted(verdicts.values()) == ["not-ct", "not-ct", "regular", "regular"]
    for item in find(tmp_path).items:
        told = [n.text for n in item.warnings if n.code == "restored"]
        assert told == [f"some voxels were {RESTORED}"] * (item.verdict == "regular")
    write(restored, f"{tmp_path}/d/")
    (tmp_path / "d" / "notes.dcm").write_bytes(b"not DICOM")
    assert read(tmp_path / "d").restored is not None


@pytest.mark.parametrize("name", ["b.nii.gz", "b.nrrd"])
def test_neither_file_is_replaced_without_force(tmp_path, name):
    _, restored = damaged()
    mask = mask_path(tmp_path / name)
    mask.write_bytes(b"mine")
    with pytest.raises(Exception, match="already exists"):
        write(restored, tmp_path / name)
    assert mask.read_bytes() == b"mine"
    assert not (tmp_path / name).exists()
