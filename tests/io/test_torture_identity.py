"""The patient's identity is in nothing that is listed, refused, logged or printed, unless asked."""

from __future__ import annotations

import json
import logging

import pytest
import torture as T
from io_cases import same_in_space
from torture_cases import base

from tomochrome.cli import main
from tomochrome.errors import TomochromeError
from tomochrome.io import find, read


def secret_series(tmp_path):
    folder = tmp_path / "export" / "Musterfrau_Erika_19640812"
    return T.save(T.with_secrets(base()), folder)


def free_of_identity(text: str) -> None:
    for part in T.PARTS:
        assert part not in text


def without_path(text: str, folder) -> str:
    """Return a text without the path that the user typed: that she knows already."""
    return text.replace(str(folder), "PATH")


def test_identity_is_not_in_what_is_listed(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    folder = secret_series(tmp_path)
    found = find(folder)
    volume = read(folder)
    assert same_in_space(T.scan(), volume)
    told = json.dumps(found.to_json()) + repr(found) + repr(volume.provenance) + repr(volume)
    free_of_identity(without_path(told, folder))
    free_of_identity(without_path(caplog.text, folder))
    assert found.items[0].identity is None


def test_identity_is_not_in_refusals(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    datasets = T.with_secrets(base())
    for d in datasets:
        del d.ImagePositionPatient
    folder = T.save(datasets, tmp_path / "s")
    with pytest.raises(TomochromeError) as caught:
        read(folder)
    free_of_identity(str(caught.value) + caplog.text + repr(find(folder)))


def test_identity_in_a_malformed_header_is_not_logged(tmp_path, caplog):
    """The DICOM library would log the value that it complains about."""
    caplog.set_level(logging.DEBUG)
    datasets = T.slices(T.scan(), KVP="100000000000", ContentTime="111111.11111")
    folder = T.save(datasets, tmp_path / "s")
    for file in folder.iterdir():
        body = file.read_bytes()
        for text in ("1.2.826.0.1.3680043.8.498.", "100000000000", "111111.11111", "96 "):
            name = ("Musterfrau^Erika " * 2)[: len(text)].encode()
            body = body.replace(text.encode(), name)
        file.write_bytes(body)
    caplog.clear()
    found = find(folder)
    told = repr(found) + json.dumps(found.to_json())
    for item in found.items:
        try:
            told += repr(read(item).provenance)
        except TomochromeError as error:
            told += str(error)
    free_of_identity(told + caplog.text)


def test_identity_is_not_printed_unless_asked(tmp_path, capsys):
    folder = secret_series(tmp_path)
    assert main(["info", str(folder), "--json"]) == 0
    out, err = capsys.readouterr()
    json.loads(out)
    free_of_identity(without_path(out + err, folder))
    assert main(["info", str(folder)]) == 0
    out, err = capsys.readouterr()
    free_of_identity(without_path(out + err, folder))
    assert main(["info", str(folder), "--with-identity"]) == 0
    out, err = capsys.readouterr()
    for secret in ("Musterfrau", "4711-0815", "9988776"):
        assert secret in out.replace(str(folder), "")
    assert "1964" in out.replace(str(folder), "")


def test_identity_is_not_in_a_dicomdir_or_a_zip(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    path = T.dicomdir(list(T.with_secrets(base())), tmp_path / "cd")
    archive = T.zipped(path.parent, tmp_path / "cd.zip")
    for way in (path, archive):
        found = find(way)
        assert found.items
        told = json.dumps(found.to_json()) + repr(found) + repr(read(way).provenance)
        free_of_identity(told + caplog.text)


def test_a_description_without_the_patient_is_kept(tmp_path):
    datasets = T.slices(T.scan(), SeriesDescription="Head 5.0 H31s", PatientName="Musterfrau^Erika")
    (item,) = find(T.save(datasets, tmp_path / "s")).items
    assert item.title == "Head 5.0 H31s"
    assert read(item).provenance.title == "Head 5.0 H31s"


@pytest.mark.parametrize(
    "description",
    ["MUSTERFRAU E. HEAD", "Kopf 12.08.1964", "Head 08/12/1964", "Head 4711 0815", "Muster-Frau",
     "Head ACC9988776", "MUSTERFRAU_ERIKA_CT"],
)  # fmt: skip
def test_a_description_with_something_of_the_patient_is_not(tmp_path, description):
    datasets = T.slices(T.scan(), SeriesDescription=description, **T.SECRETS)[:2]
    (item,) = find(T.save(datasets, tmp_path / "s")).items
    assert item.title == ""
    assert description not in repr(item) + repr(read(item).provenance)
