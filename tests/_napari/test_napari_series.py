"""The series list: groups, names on request, sorting, searching, keys, replaced requests."""

from __future__ import annotations

import logging
import threading

import numpy as np
import pytest
from named_series import write_named_series
from qtpy.QtCore import Qt

from said import without_chance
from tomochrome import io
from tomochrome._napari.series.series_list import Role
from tomochrome._napari.series.series_picker import SeriesPicker, show_picker
from tomochrome.io import Item, Listing
from tomochrome.runtime import check

pytestmark = pytest.mark.gui

PEOPLE = {"a": ("DOE^JANE", "MRN0815", "19500101"), "b": ("ROE^RICHARD", "MRN0816", "19610203")}
SECRETS = ("DOE", "JANE", "ROE", "RICHARD", "MRN08", "1950", "1961", "2019", "ACC4711")


@pytest.fixture(scope="module")
def two_patients(tmp_path_factory):
    """Two patients: one study of the first with CT, scout and MR, two of the second."""
    from tomochrome.volume import Volume, default_affine

    root = tmp_path_factory.mktemp("cd")

    def write(patient, study, number, title, slices, **elements):
        voxels = np.full((slices, 16, 12), 40, np.int16)
        voxels[:, :4] = -1000
        name, patient_id, born = PEOPLE[patient]
        write_named_series(
            Volume(voxels, default_affine((2.0, 4.0, 4.0))), root / f"{patient}{study}{number}",
            title, StudyInstanceUID=f"1.2.{ord(patient)}.{study}", SeriesNumber=number,
            StudyDescription=f"CT Study {study}", PatientName=name, PatientID=patient_id,
            PatientBirthDate=born, StudyDate=f"2019031{study}", **elements,
        )  # fmt: skip

    localizer = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    write("a", 1, 1, "Scout", 1, ImageType=localizer)
    write("a", 1, 2, "Chest 5 mm", 6)
    write("a", 1, 3, "Chest 1 mm", 14)
    write("a", 1, 4, "T1", 9, Modality="MR")
    write("b", 1, 1, "Abdomen", 9)
    write("b", 2, 1, "Lost", 9, ImagePositionPatient=None)
    return root


@pytest.fixture
def picker(window, two_patients, qtbot):
    widget = show_picker(window, io.find(two_patients))
    qtbot.wait(10)
    yield widget
    qtbot.waitUntil(lambda: not widget.running, timeout=20_000)
    widget.release()
    window.window.remove_dock_widget("all")
    window.layers.clear()


def listed(picker):
    return [item.title for item in picker.view.series.series.items]


def chosen(picker):
    return [item.title for item in picker.view.series.chosen()]


def headings(picker):
    model = picker.view.series.series
    said = [model.index(row).data(Role.HEADING) for row in range(model.rowCount())]
    return [lines for lines in said if lines]


def idle(picker, qtbot):
    qtbot.waitUntil(lambda: not picker.running, timeout=20_000)
    qtbot.wait(10)


def test_series_are_grouped_by_patient_and_study_without_names(picker):
    assert listed(picker) == ["Chest 1 mm", "Chest 5 mm", "T1", "Scout", "Abdomen", "Lost"]
    assert headings(picker) == [
        ("Patient 1 · Study 1", "CT Study 1"),
        ("Patient 2 · Study 1", "CT Study 1"),
        ("Patient 2 · Study 2", "CT Study 2"),
    ]
    assert chosen(picker) == ["Chest 1 mm"]
    text = picker.view.summary.text()
    assert (
        text == "6 series, 3 studies of 2 patients; 5 can be opened. Double-click one to open it."
    )


def test_a_new_list_starts_at_the_top_if_the_selection_is_visible(picker, qtbot, two_patients):
    view = picker.view.series
    assert view.verticalScrollBar().value() == 0
    view.scrollToBottom()
    picker.show_listing(io.find(two_patients))
    qtbot.wait(20)
    assert view.verticalScrollBar().value() == 0
    assert view.viewport().rect().contains(view.visualRect(view.currentIndex()))


def test_names_are_shown_on_request_only_here_and_not_kept(
    picker, qtbot, two_patients, caplog, capfd
):
    caplog.set_level(logging.DEBUG)
    view = picker.view
    assert not view.names.isChecked()
    view.names.click()
    qtbot.waitUntil(lambda: "DOE, JANE" in str(headings(picker)), timeout=20_000)
    idle(picker, qtbot)
    assert headings(picker)[1] == (
        "ROE, RICHARD · born 1961-02-03 · ID MRN0816",
        "2019-03-11 · CT Study 1",
        "Accession number ACC4711",
    )
    assert chosen(picker) == ["Chest 1 mm"]
    view.search.setText("richard")
    assert listed(picker) == ["Abdomen", "Lost"]
    view.search.clear()
    view.names.click()
    assert not [secret for secret in SECRETS if secret in str(headings(picker))]
    # Another list starts without names.
    view.names.click()
    qtbot.waitUntil(lambda: "DOE, JANE" in str(headings(picker)), timeout=20_000)
    idle(picker, qtbot)
    picker.show_listing(io.find(two_patients / "a12"))
    assert not view.names.isChecked()
    assert headings(picker) == []
    picker.run()
    qtbot.waitUntil(lambda: len(picker.viewer.layers) == 1, timeout=20_000)
    idle(picker, qtbot)
    (layer,) = picker.viewer.layers
    kept = f"{layer.name} {layer.metadata} {picker.listing} {vars(picker.view.series.series)}"
    kept += f"{caplog.text} {''.join(capfd.readouterr())}"
    assert not [secret for secret in SECRETS if secret in without_chance(kept)]


def test_sorting_is_chosen_with_a_click_and_keeps_the_choice(picker, qtbot):
    view = picker.view
    view.series.choose([1])
    view.order.setCurrentIndex(1)  # as a click on the second line of the box
    view.order.activated.emit(view.order.currentIndex())
    assert listed(picker) == ["Scout", "Chest 5 mm", "Chest 1 mm", "T1", "Abdomen", "Lost"]
    assert chosen(picker) == ["Chest 5 mm"]


def test_a_search_shows_what_matches_and_enter_opens_it(picker, qtbot):
    view = picker.view
    view.series.setFocus()
    qtbot.keyClicks(view.series, "abd")  # typed letters go to the search field
    assert view.search.text() == "abd"
    assert listed(picker) == ["Abdomen"]
    assert headings(picker) == [("Patient 2 · Study 1", "CT Study 1")]
    assert chosen(picker) == ["Abdomen"]
    assert view.summary.text() == "1 of 6 match the search."
    qtbot.keyClick(view.search, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: len(picker.viewer.layers) == 1, timeout=20_000)
    assert picker.viewer.layers[0].name == "Abdomen"
    idle(picker, qtbot)
    qtbot.keyClick(view.search, Qt.Key.Key_Escape)
    assert len(listed(picker)) == 6
    assert chosen(picker) == ["Abdomen"]
    view.search.setText("nothing like it")
    assert listed(picker) == []
    assert not view.run.isEnabled()


def test_arrows_move_from_the_search_and_in_the_list(picker, qtbot):
    view = picker.view
    view.search.setFocus()
    qtbot.keyClick(view.search, Qt.Key.Key_Down)
    assert chosen(picker) == ["Chest 5 mm"]
    qtbot.keyClick(view.series, Qt.Key.Key_Up)
    assert chosen(picker) == ["Chest 1 mm"]
    qtbot.keyClick(view.series, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: len(picker.viewer.layers) == 1, timeout=20_000)
    assert picker.viewer.layers[0].name == "Chest 1 mm"


def test_a_double_click_on_a_heading_opens_nothing(picker, qtbot):
    view = picker.view.series
    row = listed(picker).index("Abdomen")
    place = view.visualRect(view.series.index(row)).topLeft()
    place.setX(place.x() + 20)
    place.setY(place.y() + 6)
    left = Qt.MouseButton.LeftButton
    qtbot.mouseClick(view.viewport(), left, pos=place)
    qtbot.mouseDClick(view.viewport(), left, pos=place)
    assert chosen(picker) == ["Chest 1 mm"]
    assert not picker.running


def test_a_preview_belongs_to_its_item_and_not_to_a_row(picker, qtbot):
    qtbot.waitUntil(lambda: not picker.previews.running, timeout=20_000)
    qtbot.wait(20)
    series = picker.view.series.series
    before = {item: series.index(row).data(Role.PICTURE) for row, item in enumerate(series.items)}
    assert all(picture is not None for picture in before.values())
    series.sort_by("title")
    assert list(before) != series.items
    for row, item in enumerate(series.items):
        assert series.index(row).data(Role.PICTURE).cacheKey() == before[item].cacheKey()
    # One of an earlier list that comes late is not drawn in the new one.
    old = series.items[0]
    picker.previews.make([old], 16)
    request = picker.previews.job._task
    picker.show_listing(Listing((Item("/x", "nifti", shape=(2, 3, 4)),)))
    late = []
    picker.previews.made.connect(lambda item, _: late.append(item))
    picker.previews._sent.emit(request, old, np.zeros((4, 4), np.uint8))
    assert old not in late


# A new request replaces the previous one


@pytest.fixture
def slow_find(monkeypatch, two_patients):
    """Block the search of one folder until it is released; others are searched as usual."""
    find, gate, started = io.find, threading.Event(), threading.Event()

    def slow(path, *arguments, **keywords):
        if path.name == "a12":
            started.set()
            gate.wait(600)
            check()
        return find(path, *arguments, **keywords)

    monkeypatch.setattr(io, "find", slow)
    yield gate, started
    gate.set()


def test_a_second_folder_replaces_a_running_search(picker, qtbot, two_patients, slow_find):
    gate, started = slow_find
    picker.look_at(two_patients / "a12")
    qtbot.waitUntil(started.is_set, timeout=5000)
    first = picker.jobs.job
    assert picker.view.folder.isEnabled()  # another folder can be requested
    picker.look_at(two_patients / "b21")
    assert first._task.cancelled
    idle(picker, qtbot)
    gate.set()
    qtbot.waitUntil(lambda: not first.running, timeout=5000)
    qtbot.wait(20)
    assert listed(picker) == ["Lost"]
    assert len(picker.viewer.layers) == 0


def test_a_drop_replaces_a_running_search(picker, qtbot, window, two_patients, slow_find):
    gate, started = slow_find
    picker.look_at(two_patients / "a12")
    qtbot.waitUntil(started.is_set, timeout=5000)
    first = picker.jobs.job
    show_picker(window, Listing((Item("/x.nii", "nifti"), Item("/y.nii", "nifti"))))
    assert not picker.running
    gate.set()
    qtbot.waitUntil(lambda: not first.running)
    qtbot.wait(20)
    assert [item.path for item in picker.view.series.series.items] == ["/x.nii", "/y.nii"]


def test_folders_opened_one_soon_after_the_other_are_not_mixed(window, tmp_path, small_ct, qtbot):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for number in (1, 2):
            write_named_series(small_ct, tmp_path / name / str(number), f"{name} {number}")
    for name in ("one", "two"):
        window.open(str(tmp_path / name), plugin="napari-tomochrome")
    (picker,) = window.window.dock_widgets.values()
    assert isinstance(picker, SeriesPicker)
    try:
        assert sorted(listed(picker)) == ["two 1", "two 2"]
        # Dropped together they are listed together, however long the first took.
        window.window._qt_viewer._qt_open(
            [str(tmp_path / "one"), str(tmp_path / "two")], stack=False, plugin="napari-tomochrome"
        )
        assert sorted(listed(picker)) == ["one 1", "one 2", "two 1", "two 2"]
        window.open(str(tmp_path / "one"), plugin="napari-tomochrome")
        assert sorted(listed(picker)) == ["one 1", "one 2"]
    finally:
        picker.release()
        window.window.remove_dock_widget("all")


def test_a_folder_with_nothing_to_open_empties_the_list(picker, qtbot, tmp_path):
    (tmp_path / "empty").mkdir()
    picker.look_at(tmp_path / "empty")
    idle(picker, qtbot)
    assert "empty" in picker.view.message.text()
    assert listed(picker) == []
    assert not picker.view.run.isEnabled()


def test_a_cancelled_search_leaves_the_list(picker, qtbot, two_patients, slow_find):
    gate, started = slow_find
    before = listed(picker)
    picker.look_at(two_patients / "a12")
    qtbot.waitUntil(started.is_set, timeout=5000)
    picker.view.cancel.click()
    gate.set()
    idle(picker, qtbot)
    assert listed(picker) == before
    assert picker.view.message.text() == "Cancelled; the list is unchanged."
