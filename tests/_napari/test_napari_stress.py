"""A viewer survives random user actions, run in separate processes that could crash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtGui import QOpenGLContext
from vispy.gloo import gl, glir

from tomochrome._napari.viewer.viewer_setup import prepare_viewer

pytestmark = pytest.mark.gui

SCRIPT = Path(__file__).with_name("viewer_stress.py")


def survive(*arguments: object) -> None:
    """Run the script; its last step is in the message when it dies."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout[-500:]}\n{done.stderr[-4000:]}"
    assert done.stdout.endswith("survived\n")


def test_layers_come_and_go_while_the_letters_appear():
    """Ended in a segmentation fault in glDrawArrays, always in the same step."""
    survive("letters")


def test_forty_random_steps():
    survive(1, 40)


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(2, 6))
def test_a_hundred_and_fifty_random_steps(seed):
    survive(seed, 150)


@pytest.fixture
def canvas(window, qtbot):
    prepare_viewer(window)
    canvas = window.window._qt_viewer.canvas._scene_canvas
    qtbot.waitUntil(canvas.native.isValid)
    for _ in range(2):
        window.add_image(np.eye(8))
    window.screenshot(flash=False)
    yield canvas
    window.layers.clear()


@pytest.mark.parametrize("take", ["pop", "clear"])
def test_a_removed_layer_is_deleted_in_the_context_of_the_canvas(canvas, window, monkeypatch, take):
    deleted, original = [], glir.GlirBuffer.delete

    def delete(buffer):
        deleted.append(QOpenGLContext.currentContext())
        original(buffer)

    monkeypatch.setattr(glir.GlirBuffer, "delete", delete)
    canvas.native.doneCurrent()  # as when Qt has composed the window
    getattr(window.layers, take)()
    assert deleted
    assert set(deleted) == {canvas.native.context()}


def test_each_frame_begins_without_the_vertex_arrays_of_the_last(canvas, window, monkeypatch):
    enabled, original = [], type(canvas)._draw_scene

    def draw(canvas):
        name = gl.GL_VERTEX_ATTRIB_ARRAY_ENABLED
        enabled.append([gl.glGetVertexAttrib(number, name) for number in range(16)])
        original(canvas)

    monkeypatch.setattr(type(canvas), "_draw_scene", draw)
    window.screenshot(flash=False)
    assert enabled
    assert not np.any(enabled)
