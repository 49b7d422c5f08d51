"""Tissues of five slices of the real contrast-enhanced abdomen, and a picture of them.

Usage::

    python benchmarks/contrast_abdomen.py --data ../shared/data --out contrast-abdomen.png

``contrast_abdomen.json`` has areas drawn by eye on enlarged slices (portal venous phase): polygons
or ellipses in pixels, each with the HU range of its tissue. A voxel of an area is labelled if its
HU, smoothed with 0.7 pixels, is in that range; areas overwrite earlier ones, and those without a
tissue remove labels. ``grow`` widens an area, so that the HU determine its edge. Nothing is drawn
where the tissue is not clear: caudate lobe and vena cava, loops of bowel, the hilum of the spleen.
The areas were drawn by the developers, not by a radiologist.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

AREAS = Path(__file__).with_suffix(".json")
SERIES = "dicom/abdomen_contrast_j2k"


def main() -> None:
    """Draw the tissues on the CT."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the real scans")
    parser.add_argument("--out", type=Path, required=True, help="PNG file")
    options = parser.parse_args()
    picture(*labelled_abdomen(options.data)).save(options.out)


def labelled_abdomen(data: Path) -> tuple[Any, NDArray[np.uint8]]:
    """Return the contrast-enhanced abdomen, and the tissues of its labelled voxels."""
    from scipy import ndimage

    import tomochrome as tc
    from tomochrome.tissue import NO_TISSUE, TISSUE_NAMES

    scan = tc.read(data / SERIES)
    drawn = json.loads(AREAS.read_text(encoding="utf-8"))
    truth = np.full(scan.shape, NO_TISSUE, np.uint8)
    slices = sorted({area["slice"] for area in drawn["areas"]})
    smooth = {
        k: ndimage.gaussian_filter(np.asarray(scan.voxels[k], np.float64), 0.7) for k in slices
    }
    fat = [{**drawn["fat"], "slice": k, "tissue": "fat", "open": True} for k in slices]
    for area in [*fat, *drawn["areas"]]:
        k = area["slice"]
        inside = _filled(area, scan.shape[1:])
        if "grow" in area:
            inside = ndimage.binary_dilation(inside, iterations=area["grow"])
        if "hu" in area:
            low, high = area["hu"]
            inside &= (smooth[k] >= low) & (smooth[k] <= high)
        if "open" in area:  # the rim between gas and soft tissue has the HU of fat
            inside = ndimage.binary_opening(inside)
        truth[k][inside] = TISSUE_NAMES.index(area["tissue"]) if "tissue" in area else NO_TISSUE
    return scan, truth


def _filled(area: dict[str, Any], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the pixels of a polygon or an ellipse."""
    from PIL import Image, ImageDraw

    mask = Image.new("1", (shape[1], shape[0]))
    pen = ImageDraw.Draw(mask)
    if "ellipse" in area:
        x, y, across, down = area["ellipse"]
        pen.ellipse((x - across, y - down, x + across, y + down), fill=1)
    else:
        pen.polygon([tuple(point) for point in area["polygon"]], fill=1)
    return np.array(mask)


def picture(scan: Any, truth: NDArray[np.uint8]) -> Any:
    """Return the labelled slices in grey and in the colors of the labels, side by side."""
    from PIL import Image

    from tomochrome.color.convert import lab_to_srgb8
    from tomochrome.evaluate.color_truth import ColorTruth
    from tomochrome.tissue import NO_TISSUE

    ab_of_label = ColorTruth.of_tissues(truth).colors
    rows = []
    for k in np.flatnonzero((truth != NO_TISSUE).any(axis=(1, 2))):
        light = np.clip((scan.voxels[k] + 90) / 3.5, 0, 100)[..., None]
        ab = ab_of_label[truth[k]]
        pair = [lab_to_srgb8(np.concatenate([light, part], -1)) for part in (0 * ab, ab)]
        rows.append(np.hstack([image[140:430, 60:450] for image in pair]))
    return Image.fromarray(np.vstack(rows))


if __name__ == "__main__":
    main()
