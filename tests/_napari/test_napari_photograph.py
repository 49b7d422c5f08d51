"""The row of the photograph in the panel "Colorize volume"."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from PIL import Image
from qtpy.QtCore import QSettings
from quick_colorize import simple_colorize

from tomochrome._napari.colorize.colorize_view import PhotographChoice, colorize_offer
from tomochrome._napari.kit.choice_boxes import Offer
from tomochrome.notices import Notice
from tomochrome.tissue import Tissue

pytestmark = pytest.mark.gui

PHOTOGRAPH = np.random.default_rng(0).integers(60, 200, (40, 50, 3)).astype(np.uint8)
LABELS = np.full((40, 50), Tissue.LIVER, np.uint8)


def picture(path, values):
    Image.fromarray(values).save(path)
    return path


def test_the_worker_finds_out_which_models_need_one():
    assert colorize_offer().with_photograph == ("exemplar",)


def test_only_a_model_that_needs_a_photograph_asks_for_one(
    panel, qtbot, monkeypatch, tmp_path, settings_of_their_own
):
    view, row = panel.view, panel.view.photograph
    names = ("tissue", "exemplar", "gone")
    view.offer(Offer(names, ("auto",), ("natural",), ("body",), ("exemplar",)))
    label = view.inputs.labelForField(row)
    for name, shown in (("exemplar", True), ("tissue", False), ("gone", False), ("exemplar", True)):
        view.model.choose(name)
        assert (row.isHidden(), label.isHidden()) == (not shown, not shown)
    panel.run()
    assert not panel.running
    assert view.message.text() == "Choose the photograph whose colors this model transfers."

    given = []

    def color(*args, reference=None, **options):
        given.append(reference)
        return simple_colorize(*args, **options)

    monkeypatch.setattr(import_module("tomochrome.colorization"), "colorize", color)
    chosen = picture(tmp_path / ("a long name of a photograph of a section" + ".png"), PHOTOGRAPH)
    dialog = "tomochrome._napari.colorize.colorize_view.QFileDialog.getOpenFileName"
    monkeypatch.setattr(dialog, lambda *_: ("", ""))
    row.photograph.click()
    assert row.paths is None
    monkeypatch.setattr(dialog, lambda *_: (str(chosen), ""))
    row.photograph.click()
    assert row.photograph.text().startswith("a long name")
    for model in ("exemplar", "tissue"):
        view.model.choose(model)
        panel.run()
        assert not row.isEnabled()
        qtbot.waitUntil(lambda: not panel.running)
    reference, without = given
    assert without is None
    np.testing.assert_array_equal(reference.photograph, PHOTOGRAPH)
    assert reference.labels is None
    QSettings().sync()
    assert not any("photograph" in f.read_text() for f in settings_of_their_own.rglob("*.ini"))


@pytest.mark.parametrize(("name", "index"), [("labels", 1), ("mask", 2)])
def test_an_optional_picture_belongs_to_its_photograph(qtbot, tmp_path, monkeypatch, name, index):
    row = PhotographChoice()
    qtbot.addWidget(row)
    choice, clear = getattr(row, name), getattr(row, f"clear_{name}")
    photograph, chosen = tmp_path / "photograph.png", tmp_path / "chosen.png"
    assert not choice.isEnabled()  # there is no photograph yet
    assert clear.isHidden()
    row.photograph.choose(photograph)
    assert row.paths == (photograph, None, None)
    dialog = "tomochrome._napari.colorize.colorize_view.QFileDialog.getOpenFileName"
    monkeypatch.setattr(dialog, lambda *_: (str(chosen), ""))
    choice.click()
    assert [k for k, path in enumerate(row.paths) if path == chosen] == [index]
    assert choice.text() == "chosen.png"
    clear.click()
    assert row.paths == (photograph, None, None)
    assert "optional" in choice.text()
    choice.choose(chosen)
    row.photograph.choose(tmp_path / "other.png")
    assert row.paths == (tmp_path / "other.png", None, None)
    assert clear.isHidden()


def test_tissues_of_the_photograph_reach_the_core_and_are_checked(
    panel, qtbot, monkeypatch, tmp_path
):
    view = panel.view
    view.offer(Offer(("exemplar",), ("auto",), ("natural",), ("body",), ("exemplar",)))
    given = []

    def color(*args, reference, **options):
        given.append(reference)
        made = simple_colorize(*args, **options)
        notice = Notice("option-unused", "warning", "the labels have no spleen: it stays grey")
        return replace(made, provenance=made.provenance.add("a step", notice))

    monkeypatch.setattr(import_module("tomochrome.colorization"), "colorize", color)
    view.photograph.photograph.choose(picture(tmp_path / "p.png", PHOTOGRAPH))

    def run(labels):
        view.photograph.labels.choose(picture(tmp_path / "labels.png", labels))
        panel.run()
        qtbot.waitUntil(lambda: not panel.running)
        return view.message.text()

    said = run(LABELS)
    assert said.startswith("Colored by")
    assert said.endswith("s. The labels have no spleen: it stays grey.")
    np.testing.assert_array_equal(given[0].labels, LABELS)
    assert "use images of the same size" in run(LABELS[:20])
    assert "which is not a tissue" in run(LABELS + 100)
    assert len(given) == 1

    mask = np.zeros((40, 50), np.uint8)
    mask[:, :25] = 255
    view.photograph.mask.choose(picture(tmp_path / "mask.png", mask))
    run(LABELS)
    np.testing.assert_array_equal(given[1].mask, mask > 0)
