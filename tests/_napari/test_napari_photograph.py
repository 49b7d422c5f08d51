"""The row of the photograph in the panel "Colorize volume"."""

from __future__ import annotations

from importlib import import_module

import pytest
from qtpy.QtCore import QSettings
from quick_colorize import simple_colorize

from tomochrome._napari.named_choice import Offer, colorize_offer

pytestmark = pytest.mark.gui


def test_the_worker_finds_out_which_models_need_one():
    assert colorize_offer().with_photograph == ("exemplar",)


def test_only_a_model_that_needs_a_photograph_asks_for_one(
    panel, qtbot, monkeypatch, tmp_path, settings_of_their_own
):
    view, row = panel.view, panel.view.photograph
    names = ("tissue", "exemplar", "gone")
    view.offer(Offer(names, ("auto",), ("natural",), ("body",), ("exemplar",)))
    label = view._inputs.labelForField(row)
    for name, shown in (("exemplar", True), ("tissue", False), ("gone", False), ("exemplar", True)):
        view.model.choose(name)
        assert (row.isHidden(), label.isHidden()) == (not shown, not shown)
    panel.run()
    assert not panel.running
    assert view.message.text() == "Choose the photograph whose colors this model carries over."

    given = []

    def color(*args, reference=None, **options):
        given.append(reference)
        return simple_colorize(*args, **options)

    monkeypatch.setattr(import_module("tomochrome.colorization"), "colorize", color)
    chosen = tmp_path / ("a long name of a photograph of a section" + ".png")
    dialog = "tomochrome._napari.photograph_choice.QFileDialog.getOpenFileName"
    monkeypatch.setattr(dialog, lambda *_: ("", ""))
    row.click()
    assert row.path is None
    monkeypatch.setattr(dialog, lambda *_: (str(chosen), ""))
    row.click()
    assert row.text().startswith("a long name")
    for model in ("exemplar", "tissue"):
        view.model.choose(model)
        panel.run()
        assert not row.isEnabled()
        qtbot.waitUntil(lambda: not panel.running)
    assert given == [chosen, None]
    QSettings().sync()
    assert not any("photograph" in f.read_text() for f in settings_of_their_own.rglob("*.ini"))
