"""The phantom's volumes, tissues, tasks, errors and files; the phantom itself is tested apart."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813

import ctphantom
from ctphantom import Structure as S  # noqa: N817
from tomochrome.errors import Cancelled, OptionError, OutputError, TomochromeError
from tomochrome.phantom import (
    N_STRUCTURES,
    Patient,
    Variations,
    draw_anatomy,
    draw_variations,
    make_ct,
    make_patient,
    make_structures,
    tissue_table,
    write_dicom,
)
from tomochrome.runtime import Task, running
from tomochrome.tissue import Tissue

SMALL = {"spacing": (20.0, 10.0, 10.0), "phase": "portal"}


def test_every_structure_has_a_tissue_and_every_tissue_a_structure() -> None:
    table = tissue_table()
    assert table.dtype == np.uint8 and table.shape == (N_STRUCTURES,)
    assert set(table.tolist()) == {int(t) for t in Tissue}


def test_couch_and_gut_gas_are_air_and_sinuses_are_airway() -> None:
    table = tissue_table()
    for name in (S.OUTSIDE_AIR, S.COUCH, S.COUCH_FOAM, S.BLANKET, S.BOWEL_GAS, S.STOMACH_GAS):
        assert table[name] == Tissue.AIR
    for name in (S.AIRWAY_GAS, S.SINUS_GAS):
        assert table[name] == Tissue.AIRWAY
    assert table[S.LIVER] == Tissue.LIVER


def test_volumes_are_the_arrays_of_the_phantom_on_one_grid() -> None:
    told = []
    with running(Task(lambda *args: told.append(args))):
        patient = make_patient(2, "abdomen", (10.0, 5.0, 5.0), phase="portal")
    expected = ctphantom.make_patient(2, "abdomen", (10.0, 5.0, 5.0), phase="portal")
    np.testing.assert_array_equal(patient.ct.voxels, expected.ct)
    np.testing.assert_array_equal(patient.structures, expected.structures)
    np.testing.assert_array_equal(patient.tissue.voxels, tissue_table()[expected.structures])
    for volume in (patient.ct, patient.tissue):
        np.testing.assert_array_equal(volume.affine, expected.affine)
    np.testing.assert_array_equal(patient.cryosection(), expected.cryosection())
    assert (patient.ct.unit, patient.tissue.unit) == ("HU", "tissue")
    assert patient.ct.provenance.kind == "phantom"
    assert patient.ct.provenance.history[0] == patient.description == expected.description
    assert told


def test_photographing_reports_nothing_and_can_be_cancelled() -> None:
    patient = make_patient(2, "abdomen", (20.0, 10.0, 10.0))
    told: list[object] = []
    task = Task(lambda *args: told.append(args))
    with running(task):
        patient.cryosection()
        assert not told
        task.cancel()
        with pytest.raises(Cancelled):
            patient.cryosection()


def test_painting_can_be_cancelled() -> None:
    task = Task()
    task.cancel()
    with running(task):
        for make in (make_structures, make_patient):
            with pytest.raises(Cancelled):
                make(0, "abdomen", (10.0, 10.0, 10.0))


def test_wrong_options_are_option_errors() -> None:
    with pytest.raises(OptionError, match="region"):
        make_structures(0, "knee")
    with pytest.raises(OptionError, match="phase"):
        make_patient(0, phase="late")
    with pytest.raises(OptionError, match="sex"):
        draw_anatomy(0, sex="both")
    with pytest.raises(OptionError, match="hernia_mm"):
        Variations(hernia_mm=900.0)


def test_drawn_variations_are_those_of_the_phantom() -> None:
    drawn = draw_variations(5)
    assert isinstance(drawn, Variations) and drawn == draw_variations(5)
    assert vars(drawn) == vars(ctphantom.draw_variations(5))


def test_a_ct_made_in_a_child_process_is_the_same():
    made, expected = make_ct("abdomen", **SMALL), make_patient(region="abdomen", **SMALL).ct
    np.testing.assert_array_equal(made.voxels, expected.voxels)
    np.testing.assert_allclose(made.affine, expected.affine)
    assert made.unit == "HU"
    assert made.provenance.source == expected.provenance.source
    assert made.provenance.history[0] == expected.provenance.history[0]


def test_a_wrong_option_in_a_child_process_is_the_same_error():
    with pytest.raises(TomochromeError, match="nowhere"):
        make_ct("nowhere")


def test_nothing_is_compiled_in_the_parent_of_the_child():
    code = (
        "import sys; from tomochrome.phantom import make_ct; "
        f"make_ct('head', **{SMALL}); "
        "print([m for m in ('numba', 'ctphantom.canvas') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


@pytest.fixture(scope="module")
def patient() -> Patient:
    return make_patient(3, "head", (12.0, 4.0, 3.0), threads=1)


@pytest.fixture(scope="module")
def series(patient: Patient, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dicom(patient, tmp_path_factory.mktemp("dicom") / "head")


def test_pydicom_reads_values_and_positions(patient: Patient, series: Path) -> None:
    slices = [pydicom.dcmread(p) for p in sorted(series.glob("*.dcm"))]
    slices.sort(key=lambda d: float(d.ImagePositionPatient[2]))
    assert len(slices) == patient.ct.shape[0]
    assert {d.Modality for d in slices} == {"CT"}
    assert len({d.SOPInstanceUID for d in slices}) == len(slices)
    assert len({d.SeriesInstanceUID for d in slices}) == 1
    hu = np.stack(
        [d.pixel_array * float(d.RescaleSlope) + float(d.RescaleIntercept) for d in slices]
    )
    np.testing.assert_array_equal(hu, patient.ct.voxels)
    np.testing.assert_allclose(
        [float(v) for v in slices[0].ImagePositionPatient], patient.ct.origin, atol=1e-4
    )
    assert [float(v) for v in slices[0].PixelSpacing] == [4.0, 3.0]


def test_there_is_no_patient_name(series: Path) -> None:
    first = pydicom.dcmread(next(iter(series.glob("*.dcm"))))
    assert str(first.PatientName) == "TOMOCHROME^ANONYMOUS"
    assert not first.get("PatientBirthDate")


def test_simpleitk_reads_the_same_volume(patient: Patient, series: Path) -> None:
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(series))
    image = sitk.ReadImage(names)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), patient.ct.voxels)
    np.testing.assert_allclose(image.GetOrigin(), patient.ct.origin, atol=1e-4)
    np.testing.assert_allclose(image.GetSpacing()[::-1], patient.ct.spacing, atol=1e-4)


def test_gdcm_reads_a_slice(series: Path) -> None:
    gdcm = pytest.importorskip("gdcm")
    path = sorted(series.glob("*.dcm"))[0]
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    image = reader.GetImage()
    dataset = pydicom.dcmread(path)
    assert [image.GetDimension(0), image.GetDimension(1)] == [dataset.Columns, dataset.Rows]
    raw = np.frombuffer(image.GetBuffer().encode("utf-8", errors="surrogateescape"), dtype="<i2")
    np.testing.assert_array_equal(raw.reshape(dataset.Rows, dataset.Columns), dataset.pixel_array)


def test_an_existing_series_is_not_overwritten(patient: Patient, series: Path) -> None:
    with pytest.raises(OutputError):
        write_dicom(patient, series)
    assert write_dicom(patient, series, force=True) == series
