"""Draw docs/pictures/widget.png, "Colorize volume" beside a sample patient, and two more.

planes.png has three linked planes, planes-light.png the same with a wipe on the light theme,
clipping.png a 3D view with a clipping plane and a crop box.

Run it on a screen or under Xvfb::

    xvfb-run -a -s "-screen 0 1600x1000x24" python docs/make_widget_picture.py
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import napari
import numpy as np
from drawing import FOLDER, PLUGIN, rest, wait_until

from tomochrome._napari.colorize.grey_split import OFF, WIPE
from tomochrome._napari.kit.events import follower_of
from tomochrome._napari.viewer.clipping_3d import Clipping3D
from tomochrome._napari.viewer.linked_planes import LinkedPlanes, toggle_planes

SIZE = (1280, 800)


def draw(out: Path, sample: str, model: str, spacing: tuple[float, float, float]) -> None:
    """Open the sample, color it, put the cursor on an organ, and save the window."""
    viewer = napari.Viewer(show_welcome_screen=False)
    window = viewer.window._qt_window
    window.resize(*SIZE)
    viewer.open_sample(PLUGIN, sample, spacing=spacing)
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, "Colorize volume")
    wait_until(lambda: not panel.loading.running, 300)
    rest(0.5)
    panel.view.model.choose(model)
    panel.run()
    wait_until(lambda: not panel.running, 900)
    layer = panel.coloring.layer
    viewer.fit_to_view()
    middle = tuple(size // 2 for size in layer.data.shape[:3])
    viewer.cursor.position = layer.data_to_world(middle)
    rest(1.0)
    window.grab().save(str(out))
    toggle_planes(viewer)
    planes = follower_of(viewer, LinkedPlanes)
    wait_until(lambda: planes.settled, 60)
    rest(1.0)
    window.grab().save(str(out.with_name("planes.png")))
    viewer.theme = "light"
    panel.view.grey_split.mode.setCurrentText(WIPE)
    rest(1.0)
    window.grab().save(str(out.with_name("planes-light.png")))
    panel.view.grey_split.mode.setCurrentText(OFF)
    viewer.theme = "dark"
    toggle_planes(viewer)
    clip(viewer, panel)
    window.grab().save(str(out.with_name("clipping.png")))
    viewer.close()


def clip(viewer: napari.Viewer, panel: Any) -> None:
    """Show muscles in 3D, obliquely from the front, cut in front and cropped at the feet."""
    viewer.dims.ndisplay = 3
    panel.view.color.alpha_box.choose("muscle")
    camera, clipping = viewer.scene.camera, follower_of(viewer, Clipping3D)
    camera.set_view_direction((-0.3, 0.8, -0.5), (1, 0, 0))
    low, high = clipping.extent
    clipping.crop(np.array([low, [*high[:2], high[2] - 0.25 * (high[2] - low[2])]]))
    clipping.cut("y")
    clipping.move(clipping.plane.at - 30.0)
    rest(2.0)
    wait_until(lambda: "(scan" in panel.view.message.text(), 300)
    rest(1.0)


def main() -> None:
    """Read the options and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER / "widget.png")
    parser.add_argument("--sample", default="abdomen", choices=("head", "chest", "abdomen"))
    parser.add_argument("--model", default="tissue")
    parser.add_argument("--spacing", type=float, nargs=3, default=(3.0, 1.5, 1.5))
    options = parser.parse_args()
    draw(options.out, options.sample, options.model, tuple(options.spacing))


if __name__ == "__main__":
    main()
