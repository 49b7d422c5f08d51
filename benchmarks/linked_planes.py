"""Linked planes: the longest block of the event loop, and the time of a scroll step, in ms.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/linked_planes.py

A colored CT of 512 x 512 x 300 voxels is shown in three linked planes. Each plane is scrolled, and
the crosshair is moved, which changes two planes. As in `event_loop.py`, the time of the graphics
driver and of other programs is reported apart from that of the GUI thread.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from event_loop import MAX_MS, Session, body
from event_loop_watch import Driver, Places

from registration import at_most

MAX_STEP_MS = 40.0  # processor time of the GUI thread for a step, without the driver
STEPS = 20


def colored_layers(size: int, slices: int) -> list[Any]:
    """Return a grey layer and a colored one over it."""
    from napari.layers import Layer

    import tomochrome as tc
    from tomochrome._napari.colorize.coloring import finished_layer
    from tomochrome._napari.layers.volume_layers import source_of, volume_layer
    from tomochrome.color import Lighting

    volume = body(slices, size)
    grey = Layer.create(*volume_layer(volume))
    source = source_of(grey.metadata)
    chroma = tc.colorize(source.shown, "transfer-function")
    return [grey, finished_layer(grey, source, chroma, Lighting())]


def alone(session: Session, driver: Driver) -> float:
    """Return the time of a scroll step in napari without Tomochrome, with small images, in ms."""
    import napari

    viewer = napari.Viewer(show=True, show_welcome_screen=False)
    viewer.add_image(np.zeros((300, 64, 64), np.int16), contrast_limits=(0, 1))
    viewer.add_image(np.zeros((300, 64, 64, 4), np.uint8), rgb=True)
    session.rest(3.0)
    costs = []
    for number in range(STEPS):
        cpu = time.thread_time() - driver.cpu_seconds
        viewer.dims.set_current_step(0, number)
        session.rest(0.06)
        costs.append(1000 * (time.thread_time() - driver.cpu_seconds - cpu))
    viewer.close()
    return float(np.median(costs))


def main() -> None:
    """Parse the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--slices", type=int, default=300)
    options = parser.parse_args()
    driver = Driver()
    driver.watch()
    session = Session(driver, Places(), None)

    import napari

    from tomochrome._napari.kit.events import follower_of
    from tomochrome._napari.viewer.linked_planes import PLANES_MODE, LinkedPlanes
    from tomochrome._napari.viewer.viewer_setup import prepare_viewer

    layers = colored_layers(options.size, options.slices)
    viewer = napari.Viewer(show=True, show_welcome_screen=False)
    prepare_viewer(viewer)
    for layer in layers:
        viewer.add_layer(layer)
    session.rest(3.0)
    plain = alone(session, driver)
    link = follower_of(viewer, LinkedPlanes)
    with session.phase("open"):
        link.open(PLANES_MODE)
        session.until(lambda: link.settled, 120)
    session.rest(2.0)
    costs: dict[str, list[float]] = {}

    def step(name: str, position: Any) -> None:
        wall, cpu = driver.seconds, time.thread_time() - driver.cpu_seconds
        link.move(position)
        session.until(lambda: link.settled, 10)
        session.rest(0.06)
        cpu = time.thread_time() - driver.cpu_seconds - cpu
        costs.setdefault(name, []).append(1000 * cpu)
        costs.setdefault("driver", []).append(1000 * (driver.seconds - wall))

    idle = time.thread_time()
    session.rest(0.06 * STEPS)
    idle = 1000 * (time.thread_time() - idle) / STEPS  # of the loop that waits, for one step
    moves = {"scroll axial": (1, 0, 0), "scroll coronal": (0, 1, 0), "scroll sagittal": (0, 0, 1),
             "move the crosshair in the axial plane": (0, 1, 1)}  # fmt: skip
    low, high, _ = np.array([tuple(each) for each in viewer.dims.range]).T
    for name, axes in moves.items():
        with session.phase(name):
            for number in range(STEPS):
                share = 0.3 + 0.4 * number / STEPS
                step(name, np.where(axes, low + share * (high - low), link.position))
    for name, figures in session.results.items():
        limit = 10 * MAX_MS if name == "open" else MAX_MS
        at_most(f"{name}: longest block of the event loop, ms", figures["own_ms"], limit)
        print(f"    CPU {figures['longest_cpu_ms']}, driver {figures['driver_ms']}, "
              f"garbage collection {figures['collected_ms']} ms; "
              f"{figures['where']}")  # fmt: skip
    print(f"napari alone, small images, one canvas: a step {plain:.0f} ms")
    for name, axes in moves.items():
        ours = float(np.median(costs[name])) - idle - plain * sum(axes)
        at_most(f"{name}: a step beyond napari, ms", ours, MAX_STEP_MS)
        print(f"    in all {np.median(costs[name]):.0f} ms")
    print(f"    driver {np.median(costs['driver']):.0f} ms a step, idle loop {idle:.1f} ms")
    viewer.close()


if __name__ == "__main__":
    main()
