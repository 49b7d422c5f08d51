"""A panel in one file: a typed function, and a class that makes a panel of it."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from napari.layers import Image
from scipy.ndimage import gaussian_filter

from tomochrome._napari.kit.panel_bases import FormPanel
from tomochrome._napari.layers.volume_layers import LayerTuple, layer_transform
from tomochrome.errors import InputError
from tomochrome.runtime import check, report


def smooth(
    image: Image,
    sigma: Annotated[float, {"min": 0.0, "max": 5.0}] = 1.0,
) -> list[LayerTuple]:
    """Return an image smoothed slice by slice, with a standard deviation in voxels."""
    if image.rgb:
        raise InputError(f"the layer '{image.name}' is in color; choose a grey one")
    out = np.empty_like(image.data)
    for number, plane in enumerate(image.data):
        check()
        report(number, len(out), "smoothing")
        out[number] = gaussian_filter(plane, sigma)
    return [(out, {"name": f"{image.name}, smoothed", **layer_transform(image)}, "image")]


class SmoothPanel(FormPanel):
    """Smooths an image."""

    tab, action, job_name = "Smooth", "Smooth", "Smoothing"
    work = staticmethod(smooth)
