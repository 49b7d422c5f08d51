"""Draw docs/pictures/segmentations.png: surfaces and a tissue map of a phantom patient.

::

    python docs/make_segmentations_picture.py

The surfaces are drawn from the PLY file that `tomochrome.io.write_surfaces` writes, by VTK.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import vtkmodules.vtkRenderingOpenGL2  # noqa: F401 - registers the renderer
from drawing import GAP, save
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkFiltersCore import vtkPolyDataNormals
from vtkmodules.vtkIOPLY import vtkPLYReader
from vtkmodules.vtkRenderingCore import (
    vtkActor,
    vtkPolyDataMapper,
    vtkRenderer,
    vtkRenderWindow,
    vtkWindowToImageFilter,
)

from tomochrome.color.palettes import palette
from tomochrome.io import write_surfaces
from tomochrome.phantom import make_patient
from tomochrome.tissue import Tissue
from tomochrome.volume import Provenance, Volume

SHOWN = (
    *(Tissue.CORTICAL_BONE, Tissue.MARROW, Tissue.LIVER, Tissue.SPLEEN, Tissue.KIDNEY),
    *(Tissue.STOMACH, Tissue.PANCREAS, Tissue.GALLBLADDER, Tissue.VESSEL),
)
SIZE = 520


def main() -> None:
    """Draw."""
    made = make_patient(3, "abdomen", (2.5, 1.5, 1.5))
    extra = {"palette": "natural"}
    tissues = Volume(made.tissue.voxels, made.tissue.affine, "tissue", Provenance(extra=extra))
    left, right = surfaces(tissues), slice_of(tissues)
    right.thumbnail((10_000, SIZE))
    sheet = Image.new("RGB", (left.width + GAP + right.width, SIZE))
    sheet.paste(left, (0, 0))
    sheet.paste(right, (left.width + GAP, (SIZE - right.height) // 2))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(17)
    draw.text((10, 8), "surfaces.ply", fill="white", font=font)
    draw.text((left.width + GAP + 10, 8), "tissues.seg.nrrd", fill="white", font=font)
    save(sheet, "segmentations", 255)


def surfaces(tissues: Volume) -> Image.Image:
    """Return the patient's surfaces, seen from the front: the right side is on the left."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_surfaces(tissues, Path(folder) / "t.ply", only=SHOWN)
        reader = vtkPLYReader()
        reader.SetFileName(str(path))
        reader.Update()
    normals = vtkPolyDataNormals()
    normals.SetInputConnection(reader.GetOutputPort())
    normals.SplittingOff()
    mapper = vtkPolyDataMapper()
    mapper.SetInputConnection(normals.GetOutputPort())
    actor = vtkActor()
    actor.SetMapper(mapper)
    actor.GetProperty().SetAmbient(0.1)
    actor.GetProperty().SetDiffuse(0.85)
    renderer = vtkRenderer()
    renderer.AddActor(actor)
    renderer.SetBackground(0, 0, 0)
    camera = renderer.GetActiveCamera()
    camera.SetPosition(0, -1, 0.12)  # LPS: in front of the patient, a little above
    camera.SetFocalPoint(0, 0, 0)
    camera.SetViewUp(0, 0, 1)
    renderer.ResetCamera()
    camera.Zoom(1.5)
    window = vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(8)
    window.SetSize(SIZE, SIZE)
    window.AddRenderer(renderer)
    window.Render()
    grab = vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.Update()
    image = grab.GetOutput()
    pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(SIZE, SIZE, -1)
    return Image.fromarray(np.ascontiguousarray(pixels[::-1, :, :3]))


def slice_of(tissues: Volume) -> Image.Image:
    """Return the colors of the tissues on the slice with most kidney."""
    labels: NDArray[np.uint8] = np.asarray(tissues.voxels)
    z = int((labels == Tissue.KIDNEY).sum(axis=(1, 2)).argmax())
    rgb = palette().rgb.copy()
    rgb[Tissue.AIR] = 0
    image = Image.fromarray(rgb[np.minimum(labels[z], len(rgb) - 1)])
    return image.resize((image.width * 2, image.height * 2), Image.Resampling.NEAREST)


if __name__ == "__main__":
    main()
