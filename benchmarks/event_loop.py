"""Blocking of the event loop: the longest time between two iterations.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/event_loop.py [--runs 5]

In a real window, with a DICOM series of 512 x 512 pixels per slice, the panel is opened, the series
is opened and colored, the window is changed, and 3D is turned on, changed and turned off. For each
step the longest gap between two iterations is reported, excluding

- the time in OpenGL calls, which are wrapped, and in a glFinish after each frame, which makes a
  software renderer draw at that point: this is the time of the driver;
- the time in which the GUI thread waited for a CPU, on Linux: this is due to other programs.

On a busy machine the CPU time of the GUI thread, without the driver, is more meaningful, but does
not include waiting for a worker that held the global interpreter lock. All parts are reported, and
the code that the GUI thread was executing.

Part of the remaining time is spent in napari: creating layer controls, sliders and visuals.
Therefore the same steps are also run in napari without Tomochrome, with an empty dock widget, a
small grey image and a small RGBA image above it. The limit applies to the difference. Every run is
a separate process, so that it includes one-time initialization; with several runs the median is
used.

Full garbage collections are timed as well, and included in every figure except one: napari starts
one whenever a layer is removed (`VispyCanvas._clean_and_update_scenegraph`), whose duration depends
on the number of objects in the process, so it is reported separately there.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from event_loop_watch import Collections, Driver, Places, Watch

from registration import at_most
from tomochrome.io.dicom import write_series
from tomochrome.volume import Provenance, Volume, default_affine

PLUGIN = "napari-tomochrome"
MAX_MS = 100.0
FIRST_IMPORT_MS = 400.0  # torch is imported while the panel opens, once in a process
REMOVAL = "remove the layer"


def body(slices: int, size: int) -> Volume:
    """Return a patient of ellipses: skin, fat, organs with texture, and a spine."""
    rng = np.random.default_rng(0)
    y, x = np.ogrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    voxels = np.empty((slices, size, size), np.int16)
    for z in range(slices):
        wide = 0.85 - 0.1 * abs(2 * z / slices - 1)
        radius = np.hypot(x / wide, y / (0.7 * wide))
        plane = np.full((size, size), -1000.0)
        plane[radius < 1] = -100
        plane[radius < 0.85] = 50
        plane[np.hypot(x - 0.25, y) < 0.2] = 110
        plane[np.hypot(x, y - 0.35) < 0.1] = 500
        voxels[z] = plane + rng.normal(0, 12, plane.shape)
    affine = default_affine((2.0, 0.8, 0.8), (-200.0, -200.0, 0.0))
    return Volume(voxels, affine, "HU", Provenance(source="benchmark", modality="CT"))


class Session:
    """One window, monitored in phases."""

    def __init__(self, driver: Driver, places: Places, profiles: Path | None) -> None:
        self.driver, self.places, self.profiles = driver, places, profiles
        self.collections = Collections()
        self.results: dict[str, dict[str, Any]] = {}

    def until(self, done: Callable[[], bool], seconds: float) -> None:
        """Run the event loop until a condition is met."""
        from qtpy.QtWidgets import QApplication

        end = time.perf_counter() + seconds
        while not done():
            if time.perf_counter() > end:
                raise TimeoutError("this phase took too long")
            QApplication.processEvents()
            time.sleep(0.001)

    def rest(self, seconds: float) -> None:
        """Run the event loop for some time."""
        end = time.perf_counter() + seconds
        self.until(lambda: time.perf_counter() > end, seconds + 60)

    @contextmanager
    def phase(self, name: str) -> Any:
        """Monitor the event loop during an action, until its result is drawn."""
        start, profile = time.perf_counter(), cProfile.Profile()
        if self.profiles is not None:
            profile.enable()
        with Watch(self.driver, self.collections) as watch:
            yield
            self.rest(0.5)
        if self.profiles is not None:
            profile.disable()
            profile.dump_stats(self.profiles / f"{name}.pstats")
        worst = watch.worst()
        end = worst.pop("end")
        self.results[name] = {
            **{key: round(value, 1) for key, value in worst.items()},
            "longest_whole_ms": round(max(gap["whole_ms"] for gap in watch.gaps), 1),
            "longest_cpu_ms": round(max(gap["cpu_ms"] for gap in watch.gaps), 1),
            "driver_s": round(sum(gap["driver_ms"] for gap in watch.gaps) / 1000, 2),
            "seconds": round(time.perf_counter() - start, 2),
            "where": self.places.between(end - worst["whole_ms"] / 1000, end),
        }

    def run(self, folder: Path, model: str) -> None:
        """Run all phases."""
        import napari
        from npe2 import PluginManager

        PluginManager.instance().discover()
        viewer = napari.Viewer(show=True, show_welcome_screen=False)
        self.rest(3.0)  # napari draws its first picture, and letters
        with self.phase("open the panel"):
            _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, "Colorize volume")
            self.until(lambda: not panel.loading.running, 300)
        with self.phase("open the series"):
            viewer.open(str(folder), plugin=PLUGIN)
            self.until(lambda: len(viewer.layers) == 1, 300)
        with self.phase("color"):
            panel.view.model.choose(model)
            panel.run()
            self.until(lambda: not panel.running, 3600)
        layer = panel.coloring.layer
        with self.phase("re-light in 2D"):
            for width in range(200, 600, 20):
                panel.view.window.width.box.setValue(width)
                self.until(lambda w=width: layer.data.settings.window.width == w, 10)
        with self.phase("scroll"):
            for step in range(0, viewer.dims.nsteps[0], max(1, viewer.dims.nsteps[0] // 20)):
                viewer.dims.set_current_step(0, step)
                self.rest(0.02)
        with self.phase("turn 3D on"):
            viewer.dims.ndisplay = 3
            self.drawn(layer)
        with self.phase("re-light in 3D"):
            panel.view.color.alpha_box.choose("muscle")
            self.until(lambda: layer.data.settings.alpha.name == "muscle", 30)
            self.drawn(layer)
        with self.phase("turn 3D off"):
            viewer.dims.ndisplay = 2
        with self.phase(REMOVAL):
            viewer.layers.remove(layer)
        with self.phase("cancel"):
            panel.run()
            self.rest(0.3)
            panel.cancel()
            self.until(lambda: not panel.running, 60)
        viewer.close()

    def run_napari_alone(self, slices: int) -> None:
        """Run the same phases without Tomochrome, with small images."""
        import napari
        from qtpy.QtWidgets import QLabel

        viewer = napari.Viewer(show=True, show_welcome_screen=False)
        self.rest(3.0)
        with self.phase("open the panel"):
            viewer.window.add_dock_widget(QLabel("empty"), name="Empty")
        with self.phase("open the series"):
            viewer.add_image(np.zeros((slices, 64, 64), np.int16), contrast_limits=(0, 1))
        with self.phase("color"):
            plain = np.zeros((slices, 64, 64, 4), np.uint8)
            layer = viewer.add_image(plain, rgb=True, rendering="translucent")
        with self.phase("turn 3D on"):
            viewer.dims.ndisplay = 3
        with self.phase("turn 3D off"):
            viewer.dims.ndisplay = 2
        with self.phase(REMOVAL):
            viewer.layers.remove(layer)
        viewer.close()

    def drawn(self, layer: Any) -> None:
        """Run the event loop until the finest 3D image is displayed."""
        from tomochrome._napari.viewer.renderer_3d import levels

        finest = levels(layer.data.shape[:3], tuple(layer.scale))[-1]
        data = layer.data
        self.until(lambda: data.is_rendered and data.drawn.steps == finest, 600)


def measure(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Monitor one window in this process."""
    driver, places, slices = Driver(), Places(), options.slices[0]
    driver.watch()
    session = Session(driver, places, options.profiles)
    if options.napari_alone:
        session.run_napari_alone(slices)
        return session.results
    with tempfile.TemporaryDirectory() as name:
        write_series(body(slices, options.size), Path(name) / "series", description="Body")
        session.run(Path(name) / "series", options.model)
    return session.results


def measure_elsewhere(slices: int, alone: bool, options: argparse.Namespace) -> dict[str, Any]:
    """Monitor one window in a separate process."""
    with tempfile.TemporaryDirectory() as name:
        found = Path(name) / "found.json"
        command = [sys.executable, __file__, "--slices", str(slices), "--only-to", str(found)]
        command += ["--size", str(options.size), "--model", options.model]
        command += ["--napari-alone"] if alone else []
        command += ["--profiles", str(options.profiles)] if options.profiles and not alone else []
        subprocess.run(command, check=True)
        return json.loads(found.read_text())


def beyond(found: dict[str, Any], phase: str) -> float:
    """Return the part of a phase's longest gap to which the limit applies, in ms."""
    return float(found["own_ms"] - (found["collected_ms"] if phase == REMOVAL else 0.0))


def report(slices: int, runs: list[dict[str, Any]], alone: list[dict[str, Any]]) -> None:
    """Print the longest gap of each phase, and that of napari alone."""
    for phase in runs[0]:
        ours = [run[phase] for run in runs]
        napari = [run[phase] for run in alone if phase in run]
        own = [beyond(found, phase) for found in ours]
        theirs = statistics.median([beyond(found, phase) for found in napari] or [0.0])
        most = FIRST_IMPORT_MS if phase == "open the panel" else MAX_MS
        name = f"{slices} slices, {phase}: beyond napari, ms"
        at_most(name, statistics.median(own) - theirs, most)
        print(
            f"    ours {', '.join(f'{value:.0f}' for value in own)}, napari alone {theirs:.0f} ms"
        )
        worst = ours[own.index(max(own))]
        print(
            f"    worst: CPU {worst['longest_cpu_ms']:.0f}, garbage collection "
            f"{worst['collected_ms']:.0f}, driver {worst['driver_ms']:.0f}, waited "
            f"{worst['waited_ms']:.0f} ms; in all {worst['seconds']:.1f} s; {worst['where']}"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, nargs="+", default=(20, 300))
    parser.add_argument("--runs", type=int, default=1, help="the median of so many is judged")
    parser.add_argument("--size", type=int, default=512, help="pixels along a row")
    parser.add_argument("--model", default="tissue")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument(
        "--profiles", type=Path, help="folder for cProfile statistics of the GUI thread; slower"
    )
    parser.add_argument("--napari-alone", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--only-to", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.only_to:
        options.only_to.write_text(json.dumps(measure(options)))
        return
    figures = {}
    for slices in options.slices:
        alone = [measure_elsewhere(slices, True, options) for _ in range(options.runs)]
        ours = [measure_elsewhere(slices, False, options) for _ in range(options.runs)]
        figures[slices] = {"ours": ours, "napari alone": alone}
        report(slices, ours, alone)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
