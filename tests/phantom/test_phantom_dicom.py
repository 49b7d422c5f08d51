from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813

from tomochrome.errors import OutputError
from tomochrome.phantom import Patient, make_patient
from tomochrome.phantom.dicom import write_dicom


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
