"""Layers that the panel rejects, and its messages."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from colorize_panel_cases import TITLE, colorize
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from quick_colorize import FORCED

from tomochrome._napari.export.layer_writers import layer_volume
from tomochrome._napari.kit.choice_boxes import LayerChoice
from tomochrome._napari.layers.layer_volumes import check_layer
from tomochrome._napari.layers.volume_layers import source_of, volume_layer
from tomochrome.errors import NotCTError
from tomochrome.volume import Provenance, Volume

pytestmark = pytest.mark.gui


@pytest.mark.parametrize(
    "layer",
    [
        Image(np.zeros((4, 30, 30), np.uint8), name="bytes"),
        Image(np.zeros((30, 30), np.int16), name="flat", contrast_limits=(0, 1)),
        Image(np.zeros((2, 4, 30, 30), np.int16), name="moving", contrast_limits=(0, 1)),
        Image(np.ones((4, 30, 30), np.int16), name="no air", contrast_limits=(0, 1)),
        Layer.create(*volume_layer(Volume(np.ones((3, 4, 5), np.int16), unit="unknown"), "odd")),
    ],
    ids=lambda layer: layer.name,
)
def test_the_panel_rejects_layers_other_than_ct_with_a_message(panel, qtbot, layer):
    panel.viewer.add_layer(layer)
    panel.view.layer.choose(layer)
    before = list(panel.viewer.layers)
    panel.run()
    qtbot.waitUntil(lambda: not panel.running, timeout=10_000)
    text = panel.view.message.text()
    assert panel.view.message.isVisible()
    assert f"'{layer.name}'" in text
    assert "Traceback" not in text
    assert text.endswith(".")
    assert list(panel.viewer.layers) == before


def test_the_hu_override_applies_to_the_rejected_layer_only(panel, qtbot, small_ct):
    voxels = (small_ct.voxels + 1024).astype(np.uint16)
    mr = replace(small_ct, voxels=voxels, unit="unknown", provenance=Provenance(modality="MR"))
    ct, box = panel.view.layer.layer(), panel.view.override
    layer = panel.viewer.add_layer(Layer.create(*volume_layer(mr, "knee")))
    panel.view.layer.choose(layer)
    assert box.isHidden()  # not offered before the layer was rejected
    panel.run()
    assert not panel.running
    assert "not in Hounsfield units" in panel.view.message.text()
    assert not box.isHidden()
    assert not box.claim.isChecked()
    panel.run()
    assert not panel.running  # rejected again until the user ticks the box
    box.claim.setChecked(True)
    coloring = colorize(panel, qtbot)
    assert coloring.layer.name == f"knee · {TITLE} (taken as HU)"
    assert FORCED in coloring.chroma.provenance.warnings
    saved = layer_volume(coloring.layer.data, {"metadata": coloring.layer.metadata})
    assert FORCED in saved.provenance.warnings
    assert box.is_claimed  # for another model, say
    panel.view.layer.choose(ct)
    assert box.isHidden()
    panel.view.layer.choose(layer)
    assert not box.is_claimed
    panel.run()
    assert not panel.running
    assert not box.isHidden()


def test_the_hu_override_is_offered_after_the_worker_rejected_values(panel, qtbot):
    foreign = Image(np.random.default_rng(0).normal(500, 80, (8, 30, 30)), name="foreign")
    panel.viewer.layers.clear()
    panel.viewer.add_layer(foreign)
    panel.run()
    qtbot.waitUntil(lambda: not panel.running, timeout=60_000)
    assert "below -200" in panel.view.message.text()
    assert not panel.view.override.isHidden()
    panel.view.override.claim.setChecked(True)
    assert colorize(panel, qtbot).layer.name == f"foreign · {TITLE} (taken as HU)"


def test_only_images_are_offered_the_newest_first(qtbot, small_ct):
    model = ViewerModel()
    choice = LayerChoice(model)
    qtbot.addWidget(choice)
    assert choice.layer() is None
    model.add_layer(Labels(np.ones((3, 4, 5), np.uint8)))
    assert choice.layer() is None
    first = model.add_layer(Layer.create(*volume_layer(small_ct, "first")))
    second = model.add_layer(Layer.create(*volume_layer(small_ct, "second")))
    assert [choice.itemText(index) for index in range(choice.count())] == ["second", "first"]
    assert choice.layer() is first  # what was chosen stays chosen
    first.name = "renamed"
    assert choice.currentText() == "renamed"
    model.layers.remove(first)
    assert choice.layer() is second
    choice.release()


def test_a_color_image_is_not_offered_and_is_rejected(qtbot, small_ct):
    model = ViewerModel()
    choice = LayerChoice(model)
    qtbot.addWidget(choice)
    photo = model.add_layer(Image(np.zeros((4, 30, 30, 3), np.uint8), name="photo", rgb=True))
    choice.choose(photo)
    assert choice.layer() is None
    with pytest.raises(NotCTError, match="'photo' is a color image"):
        check_layer(photo)
    choice.release()


def test_without_a_layer_there_is_a_message(panel):
    panel.viewer.layers.clear()
    panel.run()
    assert not panel.running
    assert "Open a CT" in panel.view.message.text()


def test_another_readers_layer_is_colored_on_its_own_grid(panel, qtbot, small_ct):
    # Micrometres, turned in its plane by 90 degrees, and stored as floats.
    foreign = Image(
        small_ct.voxels.astype(np.float32), scale=(5000, 4000, 4000), translate=(1e4, 2e4, 3e4),
        rotate=((1, 0, 0), (0, 0, -1), (0, 1, 0)), units=("um",) * 3, name="foreign",
    )  # fmt: skip
    panel.viewer.layers.clear()
    panel.viewer.add_layer(foreign)
    coloring = colorize(panel, qtbot)
    np.testing.assert_array_equal(coloring.layer.extent.world, foreign.extent.world)
    assert coloring.layer.units == foreign.units
    np.testing.assert_array_equal(coloring.layer.rotate, foreign.rotate)
    shown = source_of(coloring.layer.metadata).shown
    assert shown.spacing == pytest.approx((5.0, 4.0, 4.0))
    assert coloring.layer.data.shape == (*small_ct.shape, 4)
