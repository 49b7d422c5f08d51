"""Series of one patient and one study have keys in common, and the keys name nobody."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from io_cases import change, series

from said import without_chance
from tomochrome.io import find
from tomochrome.io.dicom.header_reader import identity_of

SECRETS = ("Muster", "MUSTER", "4711", "19640812", "20190314", "A-99")


def study(folder, uid, name="Muster^Erika", patient_id="4711", description="CT Abdomen"):
    """A folder with one series of a study of a patient."""

    def fill(dataset, _):
        dataset.PatientName, dataset.PatientID = name, patient_id
        dataset.PatientBirthDate = "19640812"
        dataset.StudyInstanceUID, dataset.StudyDescription = uid, description
        dataset.StudyDate, dataset.AccessionNumber = "20190314", "A-99"
        dataset.SeriesNumber = 4

    series(folder, series_uid=f"{uid}.{ord(folder.name)}")
    change(folder, fill)
    return folder


def keys(found):
    return [(item.patient, item.study) for item in found.items]


def test_series_of_one_patient_and_study_have_keys_in_common(tmp_path):
    study(tmp_path / "a", "1.2.3")
    study(tmp_path / "b", "1.2.3", name="MUSTER^ERIKA")
    study(tmp_path / "c", "1.2.4")
    study(tmp_path / "d", "1.2.5", patient_id="4712")
    first, second, third, other = keys(find(tmp_path))
    assert first == second
    assert third[0] == first[0]
    assert third[1] != first[1]
    assert other[0] != first[0]
    assert all(first)


@pytest.mark.parametrize(("name", "alike"), [("", False), ("Muster^Erika", True)])
def test_without_an_id_the_name_tells_and_else_the_study(tmp_path, name, alike):
    study(tmp_path / "a", "1.2.3", name=name, patient_id="")
    study(tmp_path / "b", "1.2.4", name=name, patient_id="")
    first, second = keys(find(tmp_path))
    assert (first[0] == second[0]) == alike
    assert first[1] != second[1]


def test_the_keys_and_titles_name_nobody(tmp_path):
    study(tmp_path / "a", "1.2.3")
    study(tmp_path / "b", "1.2.4", description="CT Muster")
    found = find(tmp_path)
    assert [item.study_title for item in found.items] == ["CT Abdomen", ""]
    assert [item.series_number for item in found.items] == [4, 4]
    told = repr(found) + json.dumps(found.to_json()) + repr(keys(found))
    assert not [secret for secret in SECRETS if secret in without_chance(told)]
    assert not {"patient", "study", "study_title", "series_number"} & set(
        found.to_json()["items"][0]
    )


def test_the_keys_of_another_process_are_others(tmp_path):
    study(tmp_path / "a", "1.2.3")
    code = "import sys; from tomochrome.io import find; print(find(sys.argv[1]).items[0].patient)"
    other = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert len(other.stdout.strip()) == len(find(tmp_path).items[0].patient)
    assert other.stdout.strip() != find(tmp_path).items[0].patient


def test_who_it_is_is_read_only_when_asked(tmp_path):
    (item,) = find(study(tmp_path / "a", "1.2.3")).items
    assert item.identity is None
    assert dict(identity_of(item)) == {
        "PatientName": "Muster^Erika", "PatientID": "4711", "PatientBirthDate": "19640812",
        "AccessionNumber": "A-99", "StudyDate": "20190314",
    }  # fmt: skip
    assert item.identity is None
