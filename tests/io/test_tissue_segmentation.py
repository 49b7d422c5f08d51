"""Tissue maps as DICOM Segmentation and Secondary Capture, judged by other programs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK
from io_cases import ORIENTATIONS, change, series
from pydicom.sr.codedict import codes
from tissue_file_cases import MARKERS, coloring, tissue_markers

import tomochrome as tc
from marker_cases import STORED, marked, places, stored_as, turned
from tomochrome.color.convert import srgb_to_lab
from tomochrome.color.palettes import palette
from tomochrome.errors import Cancelled, OptionError, OutputError
from tomochrome.io import read, source_study, write, write_segmentation
from tomochrome.io.dicom import tissue_segmentation
from tomochrome.io.tissue_segments import CODES
from tomochrome.runtime import Task, running
from tomochrome.tissue import Tissue

NAME = "Mustermann^Erika"


def centers(path: Path) -> dict[str, np.ndarray]:
    """Where each segment of a segmentation is, by highdicom: LPS mm."""
    segmentation = highdicom.seg.segread(path)
    numbers = {s.SegmentLabel: s.SegmentNumber for s in segmentation.SegmentSequence}
    volume = segmentation.get_volume(combine_segments=True)
    return {
        letter: volume.map_indices_to_reference(
            np.argwhere(volume.array == numbers[tissue.title]).astype(float)
        ).mean(axis=0)
        for letter, tissue in MARKERS.items()
    }


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
@pytest.mark.parametrize(("order", "flips"), STORED[::3])
def test_tissues_are_where_they_are_in_the_patient(tmp_path, kind, order, flips) -> None:
    volume = stored_as(turned(marked(), 20, -15, 10), order, flips)
    write_segmentation(tissue_markers(volume), tmp_path / "t.dcm", kind=kind)
    true = places(volume)
    for name, center in centers(tmp_path / "t.dcm").items():
        np.testing.assert_allclose(center, true[name], atol=0.01)


@pytest.mark.parametrize("kind", ["binary", "labelmap", "fractional"])
def test_segments_have_codes_colors_and_voxels(tmp_path, kind) -> None:
    _, chroma = coloring()
    write_segmentation(chroma, tmp_path / "t.dcm", kind=kind)
    made = highdicom.seg.segread(tmp_path / "t.dcm")
    present = (Tissue.FAT, Tissue.CORTICAL_BONE, Tissue.LIVER)
    segments = [s for s in made.SegmentSequence if s.SegmentNumber]
    assert [s.SegmentLabel for s in segments] == [t.title for t in present]
    for segment, tissue in zip(segments, present, strict=True):
        kind_of = segment.SegmentedPropertyTypeCodeSequence[0]
        assert (kind_of.CodeValue, kind_of.CodingSchemeDesignator) == CODES[tissue][1][:2]
        color = highdicom.color.CIELabColor.from_dicom_value(segment.RecommendedDisplayCIELabValue)
        assert np.abs(np.subtract(color.to_rgb(), palette().rgb[tissue].astype(int))).max() <= 1
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
    stored = made.get_volume(combine_segments=False, rescale_fractional=kind == "fractional")
    first = chroma.affine[:3] @ (1, 0, 0, 1)  # slices without any tissue have no frames
    step = 1 if np.allclose(stored.affine[:3, 3], first, atol=0.01) else -1  # z may be reversed
    for number, tissue in enumerate(present):
        if kind == "fractional":
            assert isinstance(chroma.table, tc.color.codes.Mixtures)
            true = chroma.table.weights[chroma.code, tissue]
            np.testing.assert_allclose(stored.array[::step, ..., number], true[1:], atol=1 / 255)
        else:
            true = chroma.tissue[1:] == tissue
            np.testing.assert_array_equal(stored.array[::step, ..., number], true)


def test_every_tissue_has_a_code_with_the_meaning_of_the_standard() -> None:
    assert set(CODES) == set(Tissue) - {Tissue.AIR}
    assert len({kind.value for _, kind in CODES.values()}) == len(CODES)
    not_listed = {"Intestine", "Genital structure"}  # SNOMED CT has them, DICOM does not
    listed: dict[str, set[str]] = {}
    for keyword in codes.SCT.dir():
        concept = getattr(codes.SCT, keyword)
        listed.setdefault(concept.value, set()).add(concept.meaning)
    for category, kind in CODES.values():
        for code in (category, kind):
            if code.meaning not in not_listed:
                assert code.meaning in listed[code.value]


def test_colors_are_relative_to_the_white_of_dicom() -> None:
    """DICOM's CIELAB is relative to D50, ours to D65: a grey stays grey, other colors shift."""
    rgb = palette().rgb[Tissue.LIVER]
    ours = srgb_to_lab(rgb / 255.0)
    theirs = highdicom.color.CIELabColor.from_rgb(*map(int, rgb))
    assert abs(ours[0] - theirs.l_star) < 3


def identified(folder: Path) -> Path:
    volume, _ = coloring()
    series(folder, volume)

    def edit(dataset: pydicom.Dataset, _: int) -> None:
        dataset.SpecificCharacterSet = "ISO_IR 100"
        dataset.PatientName, dataset.PatientID = NAME, "4711"
        dataset.PatientBirthDate, dataset.StudyDate = "19700102", "20240506"
        dataset.ReferringPhysicianName = "Müller^Jörg"
        dataset.SeriesNumber = 3
        del dataset.PatientIdentityRemoved, dataset.DeidentificationMethod

    return change(folder, edit)


def all_text(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True))


def test_nothing_but_what_the_user_asks_for_has_the_identity(tmp_path) -> None:
    source = identified(tmp_path / "ct")
    chroma = coloring()[1]
    image = tc.light(read(source), chroma)
    study = source_study(source)
    original = pydicom.dcmread(sorted(source.iterdir())[0])
    for joined in (False, True):
        part = "joined" if joined else "alone"
        given = study if joined else None
        write_segmentation(chroma, tmp_path / f"{part}.dcm", study=given)
        write(image, f"{tmp_path}/{part}/", study=given)
        files = [tmp_path / f"{part}.dcm", *sorted((tmp_path / part).iterdir())]
        for file in files:
            made = pydicom.dcmread(file)
            assert made.SeriesInstanceUID != original.SeriesInstanceUID
            for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientName", "StudyDate"):
                assert (made[keyword].value == original[keyword].value) is joined, keyword
            assert ("Müller" in str(made.ReferringPhysicianName)) is joined
            assert (original.StudyInstanceUID in all_text(file)) is joined
            assert (original.SeriesInstanceUID in all_text(file)) is (joined and file == files[0])
            assert made.SeriesNumber > 1000 if joined else made.SeriesNumber < 3
    assert NAME not in repr(study)


def test_frames_reference_the_slices_that_they_lie_on(tmp_path) -> None:
    source = identified(tmp_path / "ct")
    of_place = {
        tuple(map(float, one.ImagePositionPatient)): one.SOPInstanceUID
        for one in map(pydicom.dcmread, source.iterdir())
    }
    write_segmentation(coloring()[1], tmp_path / "t.dcm", study=source_study(source))
    made = pydicom.dcmread(tmp_path / "t.dcm")
    for frame in made.PerFrameFunctionalGroupsSequence:
        place = tuple(map(float, frame.PlanePositionSequence[0].ImagePositionPatient))
        image = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert image.ReferencedSOPInstanceUID == of_place[place]
    listed = made.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {one.ReferencedSOPInstanceUID for one in listed} <= set(of_place.values())


def test_a_series_that_was_resampled_is_referenced_as_a_whole(tmp_path) -> None:
    source = identified(tmp_path / "ct")
    study = source_study(source)
    volume, chroma = coloring((9, 24, 20))
    assert study.instance_of_slice(volume) is None
    write_segmentation(chroma, tmp_path / "t.dcm", study=study)
    made = pydicom.dcmread(tmp_path / "t.dcm")
    assert not any("DerivationImageSequence" in f for f in made.PerFrameFunctionalGroupsSequence)
    (referenced,) = made.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == study.series_uid
    assert len(referenced.ReferencedInstanceSequence) == len(list(source.iterdir()))


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy (dicom3tools) is not installed")
@pytest.mark.skipif(not shutil.which("dcmftest"), reason="dcmftest (dcmtk) is not installed")
@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("orientation", ["axial", "oblique"])
def test_dcmftest_and_dciodvfy_find_no_error(tmp_path, orientation, joined) -> None:
    volume, chroma = coloring(orientation=orientation)
    series(tmp_path / "ct", volume)
    study = source_study(tmp_path / "ct") if joined else None
    write(tc.light(volume, chroma), f"{tmp_path}/color/", study=study)
    mask = np.zeros(volume.shape, np.bool_)
    mask[2:4, 3:9, 4:8] = True
    write(tc.Volume(volume.voxels, volume.affine, "HU", restored=mask), f"{tmp_path}/restored/")
    for kind in ("binary", "fractional"):
        write_segmentation(chroma, tmp_path / f"{kind}.dcm", kind=kind, study=study)
    write_segmentation(chroma, tmp_path / "labelmap.dcm", kind="labelmap", study=study)
    files = sorted(tmp_path.rglob("*.dcm"))
    assert len(files) == 3 * volume.shape[0] + 1 + 3
    told = subprocess.run(["dcmftest", *files], capture_output=True, text=True, check=True)
    assert told.stdout.count("yes: ") == len(files)
    for file in (f for f in files if f.name != "labelmap.dcm"):  # newer than dciodvfy
        done = subprocess.run(["dciodvfy", file], capture_output=True, text=True, check=False)
        lines = (done.stdout + done.stderr).splitlines()
        assert [line for line in lines if line.startswith(("Error", "Abort"))] == [], file


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_colored_series_tells_its_orientation_in_letters(tmp_path, orientation) -> None:
    volume, chroma = coloring(orientation=orientation)
    write(tc.light(volume, chroma), f"{tmp_path}/color/")
    made = pydicom.dcmread(tmp_path / "color" / "0001.dcm")
    row, column = np.reshape(np.asarray(made.ImageOrientationPatient, float), (2, 3))
    for letters, direction in zip(made.PatientOrientation, (row, column), strict=True):
        axis = int(np.abs(direction).argmax())
        assert letters[0] == ("RL", "AP", "FH")[axis][int(direction[axis] > 0)]


def test_what_does_not_fit_is_refused_in_a_sentence(tmp_path, monkeypatch) -> None:
    volume, chroma = coloring()
    out = tmp_path / "t.dcm"
    with pytest.raises(OutputError, match="holds tissue maps only"):
        write(volume, out)
    with pytest.raises(OutputError, match="need the colors of a scan"):
        write_segmentation(chroma.tissue_volume(), out, kind="fractional")
    with pytest.raises(OutputError, match="none of the chosen tissues"):
        write_segmentation(chroma, out, only=[Tissue.SPLEEN])
    with pytest.raises(OptionError, match="unknown tissue 'livver'"):
        write_segmentation(chroma, out, only=["livver"])
    with pytest.raises(OutputError, match=r"a segmentation ends in \.dcm, unlike .*t\.nii\.gz"):
        write_segmentation(chroma, tmp_path / "t.nii.gz")
    write(volume, tmp_path / "scan.nii.gz")
    with pytest.raises(OutputError, match="no study to join"):
        source_study(tmp_path / "scan.nii.gz")
    sheared = volume.affine.copy()
    sheared[0, 1] = 0.3
    with pytest.raises(OutputError, match="not orthogonal"):
        write(tc.Volume(chroma.tissue, sheared, "tissue"), out)
    monkeypatch.setattr(tissue_segmentation, "MAX_FRACTIONAL_BYTES", 1000)
    with pytest.raises(OutputError, match="choose fewer tissues"):
        write_segmentation(chroma, out, kind="fractional")
    monkeypatch.setattr(tissue_segmentation, "find_spec", lambda _: None)
    with pytest.raises(OutputError, match=r"napari-tomochrome\[segmentation\]"):
        write_segmentation(chroma, out)
    assert not out.exists()
    out.touch()
    monkeypatch.undo()
    with pytest.raises(OutputError, match="already exists"):
        write_segmentation(chroma, out)


@pytest.mark.parametrize("stop", [3, 10, 25, 40])
def test_a_cancelled_segmentation_leaves_nothing(tmp_path, monkeypatch, stop) -> None:
    task, calls = Task(), []

    def counted() -> None:
        calls.append(0)
        if len(calls) == stop:
            task.cancel()
        task.check()

    monkeypatch.setattr(tissue_segmentation, "check", counted)
    with running(task), pytest.raises(Cancelled):
        write_segmentation(coloring()[1], tmp_path / "t.dcm")
    assert list(tmp_path.iterdir()) == []


def test_labels_that_are_no_tissues_keep_their_numbers(tmp_path) -> None:
    labels = np.arange(60, dtype=np.uint8).reshape(3, 4, 5) % 3
    write(tc.Volume(labels, np.diag([-1.0, -1, 2, 1]), "unknown"), tmp_path / "l.seg.nrrd")
    read_again = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(tmp_path / "l.seg.nrrd"))
    np.testing.assert_array_equal(read_again, labels)
