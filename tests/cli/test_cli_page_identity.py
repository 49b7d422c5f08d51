"""A page names the patient only if the user asks for it, and then only by name, ID and date."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from cli_cases import Run, make_series, small_ct

import tomochrome as tc
from tomochrome.colorization.coloring_request import ColoringRequest, Outputs
from tomochrome.colorization.file_coloring import colorize_file
from tomochrome.io import source_identity
from tomochrome.io.page import CasePage

pytest.importorskip("jinja2")

Capture = pytest.CaptureFixture[str]
MODEL = ("--model", "transfer-function")
WHO = {
    "PatientName": "Van Dyke^Jane <b>&", "PatientID": "4711-X", "PatientBirthDate": "19640812",
    "AccessionNumber": "ACC-99", "StudyDate": "20190314", "InstitutionName": "Clinic Seven",
    "ReferringPhysicianName": "Quack^Doctor", "StudyTime": "101112",
}  # fmt: skip
SHOWN = (
    "Patient: <b>Van Dyke, Jane &lt;b&gt;&amp;</b>",
    "ID: <b>4711-X</b>",
    "Study date: <b>2019-03-14</b>",
)
SECRETS = ("Dyke", "Jane", "4711", "20190314", "2019-03-14")
NEVER = ("19640812", "1964-08", "ACC-99", "Clinic", "Quack", "101112")
NAMELESS = "The page contains no name, number or date of a patient"


def series_of(folder: Path, **elements: str) -> Path:
    """The small CT as a series of a patient."""
    make_series(folder)
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        dataset.save_as(file)
    return folder


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return series_of(tmp_path_factory.mktemp("input") / "Van Dyke 4711", **WHO)


@pytest.mark.parametrize("more", [(), ("--look", "photograph"), ("--compare", "transfer-function")])
def test_nobody_is_named_by_default(series: Path, tmp_path: Path, capfd: Capture, more) -> None:
    run = Run(capfd, "colorize", series, "-o", tmp_path / "a.html", *MODEL, *more)
    assert run.status == 0, run.err
    text = (tmp_path / "a.html").read_text("utf-8")
    assert not [secret for secret in (*SECRETS, *NEVER) if secret in text]
    assert NAMELESS in text and 'class="identity"' not in text


@pytest.mark.parametrize("more", [(), ("--look", "photograph"), ("--compare", "transfer-function")])
def test_who_it_is_is_shown_when_asked(series: Path, tmp_path: Path, capfd: Capture, more) -> None:
    words = ("colorize", series, "-o", tmp_path / "a.html", *MODEL, "--with-identity", *more)
    assert Run(capfd, *words).status == 0
    text = (tmp_path / "a.html").read_text("utf-8")
    assert all(part in text for part in SHOWN), text[:3000]
    assert not [secret for secret in NEVER if secret in text]
    assert NAMELESS not in text and "The page names the patient" in text
    title = text.partition("<title>")[2].partition("</title>")[0]
    assert not [secret for secret in SECRETS if secret in title]  # it is in a browser's history


def test_in_python(series: Path, tmp_path: Path) -> None:
    request = ColoringRequest(model="transfer-function")
    for asked in (False, True):
        out = tmp_path / f"{asked}.html"
        colorize_file(series, Outputs(str(out), with_identity=asked), request)
        assert (SHOWN[0] in out.read_text("utf-8")) == asked
    page = CasePage(tc.read(series))
    page.add(tc.colorize(page.volume, "transfer-function"), "Model")
    page.name_patient(source_identity(series))
    page.write(tmp_path / "own.html")
    assert all(part in (tmp_path / "own.html").read_text("utf-8") for part in SHOWN)


def test_joining_the_study_does_not_name_the_patient_on_a_page(
    series: Path, tmp_path: Path, capfd: Capture
) -> None:
    """Who wants a segmentation in the archive has not asked for a page with a name."""
    pytest.importorskip("highdicom")
    words = ("colorize", series, "-o", tmp_path / "a.html", *MODEL, "--join-study")
    run = Run(capfd, *words, "--tissue-map", tmp_path / "t.dcm")
    assert run.status == 0, run.err
    assert str(pydicom.dcmread(tmp_path / "t.dcm").PatientID) == WHO["PatientID"]
    assert not [s for s in SECRETS if s in (tmp_path / "a.html").read_text("utf-8")]


def test_what_cannot_be_named_is_refused_in_a_sentence(
    series: Path, tmp_path: Path, capfd: Capture
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    tc.write(small_ct(), tmp_path / "ct.nii.gz")
    nobody = series_of(tmp_path / "nobody", PatientName="", PatientID="", StudyDate="20190314")
    for source in (tmp_path / "ct.nii.gz", nobody):
        words = ("colorize", source, "-o", out / "a.html", *MODEL, "--with-identity")
        assert "names no patient, so there is no identity to show" in Run(capfd, *words).complaint
    for name in ("a.nii.gz", "a.png", "d/"):
        words = ("colorize", series, "-o", f"{out}/{name}", *MODEL, "--with-identity")
        assert "--with-identity is for pages" in Run(capfd, *words).complaint
    assert list(out.iterdir()) == []


def test_a_name_without_a_date_is_shown_alone(tmp_path: Path, capfd: Capture) -> None:
    one = series_of(tmp_path / "one", PatientName="Doe^John^^Dr.=異", PatientID="", StudyDate="")
    words = ("colorize", one, "-o", tmp_path / "a.html", *MODEL, "--with-identity")
    assert Run(capfd, *words).status == 0
    text = (tmp_path / "a.html").read_text("utf-8")
    assert "Patient: <b>Doe, John, Dr.</b>" in text
    assert "Study date:" not in text and "ID: <b>" not in text
