"""DICOM series whose headers name a patient, as on a CD."""

from __future__ import annotations


def write_named_series(volume, folder, description, **elements):
    """Write a series whose headers name a patient, with some elements changed."""
    import pydicom

    from tomochrome.io.dicom import write_series

    write_series(volume, folder, description=description)
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.PatientName, dataset.PatientID = "DOE^JANE", "MRN0815"
        dataset.PatientBirthDate, dataset.AccessionNumber = "19500101", "ACC4711"
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)
