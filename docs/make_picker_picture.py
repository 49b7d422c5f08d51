"""Draw docs/pictures/picker.png and scan.png: choosing a series, and the panel "Scan".

Everything in them is the phantom, written as the series of a small CD. Run it on a screen or
under Xvfb::

    xvfb-run -a -s "-screen 0 1600x1000x24" python docs/make_picker_picture.py
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import napari
import numpy as np
import pydicom
from drawing import FOLDER, PLUGIN, rest, wait_until
from napari._qt.dialogs.qt_notification import NapariQtNotification

from tomochrome.geometry.orient import reorient
from tomochrome.io.dicom import write_series
from tomochrome.phantom import make_patient
from tomochrome.volume import Volume, default_affine

SIZE = (1280, 800)
SPACING = (3.0, 1.5, 1.5)
INCOMPLETE = "Abdomen 3.0 mm soft tissue, portal venous"


def make_cd(folder: Path, spacing: tuple[float, float, float] = SPACING) -> Path:
    """Write five series of two studies: whole, incomplete, coronal, scout, positions missing."""
    chest = make_patient(region="chest", spacing=spacing, phase="arterial").ct
    abdomen = make_patient(region="abdomen", spacing=spacing, phase="portal").ct
    write_series(chest, folder / "a", description="Thorax 3.0 mm soft tissue, arterial")
    write_series(abdomen, folder / "b", description=INCOMPLETE)
    missing = sorted((folder / "b").iterdir())
    for path in missing[len(missing) // 2 : len(missing) // 2 + 3]:
        path.unlink()
    coronal = reorient(chest, (1, 0, 2), (False, True, False))
    write_series(coronal, folder / "c", description="Thorax coronal reformat")
    scout = _scout(chest)
    write_series(scout, folder / "d", description="Scout view")
    for path in (folder / "d").iterdir():
        _change(path, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_series(chest, folder / "e", description="Thorax lung, position lost")
    for path in (folder / "e").iterdir():
        _change(path, ImagePositionPatient=None)
    for number, name in enumerate("abcde", 1):
        study, description = ("2", "CT abdomen") if name == "b" else ("1", "CT chest, arterial")
        for path in (folder / name).iterdir():
            _change(
                path, SeriesNumber=number, StudyInstanceUID=f"1.2.3.{study}",
                StudyDescription=description,
            )  # fmt: skip
    (folder / "README.TXT").write_text("The viewer on this disk needs Windows.")
    return folder


def _scout(ct: Volume) -> Volume:
    """Return a projection from the front, as a scout view is."""
    air = np.asarray(ct.voxels, np.float32) + 1000
    view = air.clip(0, 2000).mean(axis=1)[::-1]
    sz, _, sx = ct.spacing
    affine = default_affine((1.0, 1.0, sx))
    affine[:3, :3] = np.array([[0, 0, sx], [1, 0, 0], [0, -sz, 0]])
    return Volume(np.rint(view - 400).astype(np.int16)[None], affine)


def _change(path: Path, **elements: Any) -> None:
    dataset = pydicom.dcmread(path)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


def draw(cd: Path, picker_out: Path, scan_out: Path) -> None:
    """Drop the CD on napari, take the list's picture, open one series, take the Scan panel's."""
    viewer = napari.Viewer(show_welcome_screen=False)
    window = viewer.window._qt_window
    window.resize(*SIZE)
    viewer.open(str(cd), plugin=PLUGIN)
    picker = next(iter(viewer.window.dock_widgets.values()))
    wait_until(lambda: not picker.previews.running, 60)
    rest(0.5)
    window.grab().save(str(picker_out))
    titles = [item.title for item in picker.view.series.series.items]
    picker.view.series.choose([titles.index(INCOMPLETE)])
    picker.run()
    wait_until(lambda: len(viewer.layers) == 1, 120)
    viewer.window.remove_dock_widget("all")
    picker.release()
    _, scan = viewer.window.add_plugin_dock_widget(PLUGIN, "Scan")
    wait_until(lambda: not scan.running, 60)
    viewer.fit_to_view()
    viewer.dims.set_current_step(0, viewer.layers[0].data.shape[0] // 4)
    viewer.cursor.position = viewer.layers[0].data_to_world(_middle(viewer.layers[0]))
    for notice in window.findChildren(NapariQtNotification):
        notice.close()
    rest(1.0)
    window.grab().save(str(scan_out))
    viewer.close()


def _middle(layer: Any) -> tuple[int, ...]:
    """Return the middle of the slice that is shown."""
    slices, rows, columns = layer.data.shape
    return slices // 4, rows // 2, columns // 2


def main() -> None:
    """Read the options and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picker", type=Path, default=FOLDER / "picker.png")
    parser.add_argument("--scan", type=Path, default=FOLDER / "scan.png")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        draw(make_cd(Path(folder)), options.picker, options.scan)


if __name__ == "__main__":
    main()
