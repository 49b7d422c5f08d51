"""Draw docs/pictures/register.png and checkerboard.png out of two phantom patients.

The first is the panel "Register & checkerboard" after a run, the second the checkerboard of the
two before and after it. Run it on a screen or under Xvfb::

    xvfb-run -a -s "-screen 0 1600x1000x24" python docs/make_register_pictures.py
"""

from __future__ import annotations

import argparse

import napari
from drawing import FOLDER, PLUGIN, rest, save, section, side_by_side, wait_until
from napari.layers import Layer

from tomochrome._napari.layers.volume_layers import source_of, volume_layer
from tomochrome.compare import checkerboard
from tomochrome.phantom import make_patient
from tomochrome.volume import Volume

SIZE = (1400, 1000)
TILE_MM = 30.0
HEIGHT = 330  # pixels of each panel
COLORS = 64  # of the PNG's palette: greys
SLICE = 0.5  # where the planes are cut, 0 to 1
PLANES = {"axial": SLICE, "coronal": 0.53}


def two_patients(region: str, spacing: tuple[float, float, float]) -> tuple[Volume, Volume]:
    """Return two people of different build, on grids of their own."""
    fixed = make_patient(seed=1, region=region, spacing=spacing).ct
    coarser = (spacing[0] * 1.2, spacing[1], spacing[2])
    return fixed, make_patient(seed=5, region=region, spacing=coarser).ct


def draw_widget(fixed: Volume, moving: Volume, refine: int) -> Volume:
    """Register in the panel, save the window, and return the moved volume."""
    viewer = napari.Viewer(show_welcome_screen=False)
    window = viewer.window._qt_window
    window.resize(*SIZE)
    for name, volume in (("Patient A", fixed), ("Patient B", moving)):
        viewer.add_layer(Layer.create(*volume_layer(volume, name)))
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, "Register & checkerboard")
    wait_until(lambda: not panel.loading.running, 300)
    panel.view.refine.setValue(refine)
    panel.view.compare.tile.box.setValue(TILE_MM)
    panel.run()
    wait_until(lambda: not panel.running, 1800)
    wait_until(lambda: not panel.comparing.busy, 300)
    if panel.alignment is None:
        raise RuntimeError(panel.view.message.text())
    panel.view.compare.match.click()
    viewer.fit_to_view()
    viewer.dims.set_current_step(0, round(SLICE * (fixed.shape[0] - 1)))
    rest(1.0)
    window.grab().save(str(FOLDER / "register.png"))
    moved: Volume = source_of(panel.alignment.layer.metadata).shown
    viewer.close()
    return moved


def draw_boards(fixed: Volume, moving: Volume, moved: Volume) -> None:
    """Save the checkerboards before and after, an axial and a coronal plane of each."""
    parts = []
    for plane, where in PLANES.items():
        for second in (moving, moved):
            board = checkerboard(fixed, second, tile_mm=TILE_MM, window="soft-tissue", color=True)
            parts.append(section(board, plane, where, HEIGHT))
    save(side_by_side(parts), "checkerboard", COLORS)


def main() -> None:
    """Read the options and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--region", default="abdomen", choices=("head", "chest", "abdomen"))
    parser.add_argument("--spacing", type=float, nargs=3, default=(4.0, 2.0, 2.0))
    parser.add_argument("--refine", type=int, default=-1, help="-1: the default number")
    options = parser.parse_args()
    fixed, moving = two_patients(options.region, tuple(options.spacing))
    draw_boards(fixed, moving, draw_widget(fixed, moving, options.refine))


if __name__ == "__main__":
    main()
