"""Random user actions on a viewer, in a process that may crash.

`viewer_stress.py SEED STEPS` does random steps and prints each; `viewer_stress.py letters` does
those that once ended in a segmentation fault. Prints "survived" at the end.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import napari
from napari.layers import Layer
from qtpy.QtWidgets import QApplication, QLabel

sys.path.insert(0, str(Path(__file__).parents[1]))

from marker_cases import marked, turned
from tomochrome._napari.layers.volume_layers import volume_layer
from tomochrome._napari.viewer.viewer_setup import prepare_viewer
from tomochrome._napari.viewer.wipe_handle import WipeHandle


class Stress:
    """One viewer, and what can be done to it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.viewer = napari.Viewer(show_welcome_screen=False)
        self.wipe: WipeHandle | None = None
        self.docked: list[object] = []
        self.volumes = [marked(), turned(marked(), 30, 0, 0), turned(marked(), 0, 0, 35)]
        prepare_viewer(self.viewer)

    def run(self, steps: int) -> None:
        actions = (
            [self.add] * 5 + [self.remove] * 3 + [self.clear, self.roll, self.ndisplay]
            + [self.grid, self.bar, self.theme, self.resize, self.panel, self.wiped, self.select]
        )  # fmt: skip
        for number in range(steps):
            action = self.random.choice(actions)
            turns = self.random.choice((0, 0, 1, 12))
            sys.stdout.write(f"{number} {action.__name__} {len(self.viewer.layers)} {turns}\n")
            sys.stdout.flush()
            action()
            for _ in range(turns):
                QApplication.processEvents()
        self.end_wipe()
        self.viewer.close()

    def add(self) -> None:
        if len(self.viewer.layers) < 6:
            volume = self.random.choice(self.volumes)
            self.viewer.add_layer(Layer.create(*volume_layer(volume)))

    def remove(self) -> None:
        if self.viewer.layers:
            self.end_wipe()
            self.viewer.layers.pop(self.random.randrange(len(self.viewer.layers)))

    def clear(self) -> None:
        self.end_wipe()
        self.viewer.layers.clear()

    def roll(self) -> None:
        self.viewer.dims.roll()

    def ndisplay(self) -> None:
        self.viewer.dims.ndisplay = 5 - self.viewer.dims.ndisplay

    def grid(self) -> None:
        self.viewer.canvas.grid.enabled = not self.viewer.canvas.grid.enabled

    def bar(self) -> None:
        bar = self.viewer.canvas.overlays.scale_bar
        bar.visible = not bar.visible

    def theme(self) -> None:
        self.viewer.theme = "light" if self.viewer.theme == "dark" else "dark"

    def resize(self) -> None:
        width, height = self.random.choice(((900, 600), (1200, 800), (700, 900)))
        self.viewer.window.resize(width, height)

    def panel(self) -> None:
        if self.docked:
            self.viewer.window.remove_dock_widget(self.docked.pop())
        else:
            panel = QLabel("A panel")
            self.viewer.window.add_dock_widget(panel, area="right")
            self.docked.append(panel)

    def select(self) -> None:
        if self.viewer.layers:
            layer = self.random.choice(list(self.viewer.layers))
            layer.visible = not layer.visible
            self.viewer.layers.selection.active = layer

    def wiped(self) -> None:
        if self.wipe is not None or not self.viewer.layers:
            self.end_wipe()
            return
        layer = self.random.choice(list(self.viewer.layers))

        def edge(viewer: napari.Viewer) -> tuple[int, float]:
            return viewer.dims.displayed[-1], 3.0

        self.wipe = WipeHandle(self.viewer, layer, edge, lambda viewer, axis, index: None)

    def end_wipe(self) -> None:
        if self.wipe is not None:
            self.wipe.release()
            self.wipe = None


def letters_appear() -> None:
    """Add and remove scans while letters and scale bar appear one after the other."""
    viewer = napari.Viewer(show_welcome_screen=False)
    prepare_viewer(viewer)
    rng = random.Random(1)
    for _ in range(8):
        if rng.random() < 0.6 or not viewer.layers:
            viewer.add_layer(Layer.create(*volume_layer(marked())))
        else:
            viewer.layers.pop(rng.randrange(len(viewer.layers)))
        if rng.random() < 0.3:
            viewer.layers.clear()
        if rng.random() < 0.2:
            viewer.dims.ndisplay = 5 - viewer.dims.ndisplay
        for _ in range(3):
            rng.random()
        for _ in range(rng.choice([0, 1, 12])):
            QApplication.processEvents()
            time.sleep(0.004)
    viewer.close()


if __name__ == "__main__":
    if sys.argv[1] == "letters":
        letters_appear()
    else:
        Stress(int(sys.argv[1])).run(int(sys.argv[2]))
    sys.stdout.write("survived\n")
