"""Make the pictures of the README out of phantom patients. No real patient is ever shown.

Usage: ``python docs/make_pictures.py [--model NAME]``
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pydicom
from drawing import FOLDER, save, section, side_by_side
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Image as Picture

import tomochrome as tc
from tomochrome.color import Chroma
from tomochrome.geometry import resample
from tomochrome.io.dicom import write_series
from tomochrome.phantom import Variations, make_patient
from tomochrome.volume import Volume
from tomochrome.windowing import PRESETS, luminance

HEIGHT = 340  # pixels of each panel
COLORS = 256  # of the PNG's palette: a third of the bytes, no difference to the eye


def picture(volume: Volume, chroma: Chroma, plane: str, where: float, **light: Any) -> Picture:
    """Return one section in color; see `drawing.section`."""
    return section(tc.light(volume, chroma, **light), plane, where, HEIGHT)


def crop_to_body(volume: Volume, chroma: Chroma) -> tuple[slice, slice, slice]:
    """Return the box around everything that is not air."""
    body: NDArray[np.bool_] = chroma.tissue != 0
    box = []
    for axis in range(3):
        others = tuple(i for i in range(3) if i != axis)
        found = np.flatnonzero(body.any(axis=others))
        box.append(slice(max(0, found[0] - 4), found[-1] + 5))
    return box[0], box[1], box[2]


def tilted_head(folder: Path, degrees: float = 18.0, step: float = 2.0) -> Path:
    """Write a phantom's head as a scanner with a tilted gantry stores it."""
    truth = make_patient(2, "head", (1.0, 1.0, 1.0), couch=False).ct
    depth, rows, columns = truth.shape
    angle = np.radians(degrees)
    row, down = np.array([1.0, 0.0, 0.0]), np.array([0.0, np.cos(angle), -np.sin(angle)])
    normal = np.cross(row, down)
    tilted = np.eye(4)
    tilted[:3, :3] = np.stack([normal, down, row], axis=1)
    # Each slice leans about the patient's x axis; the table travels along z.
    middle = (truth.affine @ [depth / 2, rows / 2, columns / 2, 1.0])[:3]
    first = middle - tilted[:3, :3] @ [0, rows / 2, columns / 2]
    slices = np.arange(-0.5 * depth, 0.4 * depth, step)
    planes = []
    for z in slices:
        tilted[:3, 3] = first + np.array([0.0, 0.0, z])
        like = Volume(np.broadcast_to(np.int16(0), (1, rows, columns)), tilted)
        planes.append(resample(truth, like).voxels[0])
    tilted[:3, 3] = first
    write_series(Volume(np.stack(planes), tilted), folder)
    for path, z in zip(sorted(folder.iterdir()), slices, strict=True):
        dataset = pydicom.dcmread(path)
        dataset.ImagePositionPatient = [f"{v:.4f}" for v in first + np.array([0.0, 0.0, z])]
        dataset.save_as(path)
    return folder


def tilt_picture() -> None:
    """Show the middle sagittal section of a tilted head, as stored and as read."""
    with TemporaryDirectory() as temporary:
        folder = tilted_head(Path(temporary) / "tilted")
        stored, straight = tc.read(folder, as_stored=True), tc.read(folder)
    sections = []
    for volume in (stored, straight):
        lightness = luminance(volume.voxels[::-1, :, volume.shape[2] // 2], PRESETS["soft-tissue"])
        shown = lightness > 0
        across, along = np.flatnonzero(shown.any(axis=0)), np.flatnonzero(shown.any(axis=1))
        head = lightness[along[0] : along[-1] + 1, across[0] : across[-1] + 1]
        grey = Image.fromarray((head * 2.55).astype(np.uint8))
        width = round(grey.width * HEIGHT / grey.height * volume.spacing[1] / volume.spacing[0])
        sections.append(grey.resize((width, HEIGHT), Image.Resampling.BICUBIC).convert("RGB"))
    save(side_by_side(sections), "tilt", COLORS)


def unusual_patients(model: str) -> None:
    """Show patients who are not healthy adults, as far as the training pool knows them."""
    sections = []
    for seed, variations, plane, where in (
        (5, Variations(fat=9.0), "axial", 0.42),
        (5, Variations(effusion_mm=(70.0, 25.0)), "axial", 0.8),
        (5, Variations(scoliosis_mm=36.0), "coronal", 0.6),
        (5, Variations(spine_implant=("L5", "L4", "L3"), removed=("left kidney",)), "axial", 0.36),
        (5, Variations(child=0.78), "coronal", 0.5),
    ):
        volume = make_patient(seed, "torso", (3.0, 1.5, 1.5), phase="portal", couch=False,
                              variations=variations).ct  # fmt: skip
        chroma = tc.colorize(volume, model=model)
        part = cut(volume, chroma, crop_to_body(volume, chroma))
        sections.append(picture(*part, plane, where, window="soft-tissue"))
    save(side_by_side(sections), "patients", COLORS)


def brain(model: str) -> None:
    """Show a brain in grey, in one color, and shaded by its density."""
    volume = make_patient(3, "head", (2.0, 0.8, 0.8), couch=False).ct
    chroma = tc.colorize(volume, model=model)
    volume, chroma = cut(volume, chroma, crop_to_body(volume, chroma))
    parts = ((chroma, 0.0), (chroma.without_shades(), 1.0), (chroma, 1.0))
    sections = [
        picture(volume, colors, "axial", 0.7, window="36/70", saturation=saturation)
        for colors, saturation in parts
    ]
    save(side_by_side(sections), "brain", COLORS)


def main() -> None:
    """Make every picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=tc.models()[0].name)
    model = parser.parse_args().model
    FOLDER.mkdir(exist_ok=True)
    tilt_picture()
    unusual_patients(model)
    brain(model)
    for name, region, seed, phase, where in (
        ("abdomen", "abdomen", 20, "portal", 0.62),
        ("chest", "chest", 4, "arterial", 0.5),
        ("head", "head", 2, "native", 0.68),
    ):
        volume = make_patient(seed, region, (2.0, 1.0, 1.0), phase=phase, couch=False).ct
        chroma = tc.colorize(volume, model=model)
        box = crop_to_body(volume, chroma)
        volume, chroma = cut(volume, chroma, box)
        window = {"head": "50/160", "chest": "150/900"}.get(name, "soft-tissue")
        save(
            side_by_side(
                [
                    picture(volume, chroma, "axial", where, window=window, saturation=0.0),
                    picture(volume, chroma, "axial", where, window=window),
                    picture(volume, chroma, "coronal", 0.45, window=window),
                ]
            ),
            name,
            COLORS,
        )


def cut(volume: Volume, chroma: Chroma, box: tuple[slice, slice, slice]) -> tuple[Volume, Chroma]:
    """Return the part of a colored volume inside a box, in its own place."""
    affine = volume.affine.copy()
    affine[:3, 3] = (affine @ [*(s.start for s in box), 1.0])[:3]
    part = Volume(volume.voxels[box], affine, volume.unit, volume.provenance)
    colors = Chroma(
        np.ascontiguousarray(chroma.code[box]),
        np.ascontiguousarray(chroma.confidence[box]),
        chroma.table,
        affine,
        chroma.model,
        chroma.provenance,
    )
    return part, colors


if __name__ == "__main__":
    main()
