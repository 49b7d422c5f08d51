"""Command line modules of 3D Slicer: what each takes and returns, as SlicerExecutionModel XML.

Source: https://slicer.readthedocs.io/en/latest/developer_guide/modules/slicerexecutionmodel.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from xml.etree import ElementTree

from tomochrome import __version__
from tomochrome.cli.options import SIMILARITIES, STARTS
from tomochrome.color.palettes import palette_names
from tomochrome.colorization.cards import models
from tomochrome.restoration.defects import KINDS
from tomochrome.restoration.scan_restoration import DEFAULT, MODELS
from tomochrome.runtime import DEVICE_NAMES
from tomochrome.windowing import PRESETS

CATEGORY: Final = "Tomochrome"
_CAUTION: Final = "Not for diagnosis."
_PAGE: Final = "https://pypi.org/project/napari-tomochrome/"


@dataclass(frozen=True)
class Parameter:
    """A parameter of a module.

    Parameters
    ----------
    kind
        Name of its element, such as ``"image"`` or ``"double"``.
    name
        Its name, which is the long flag, too, if there is no index.
    label, text
        What 3D Slicer shows, and the tooltip.
    option
        The option of the command line that it becomes; empty for a positional argument, and for
        what the launcher deals with itself.
    index
        Position among the arguments; None for an optional one.
    channel
        ``"input"``, ``"output"``, or empty for a value.
    default
        Default value.
    limits
        Minimum, maximum and step, which make it a slider.
    choices
        The values of an enumeration.
    attributes
        Attributes of the element, such as the type of an image.
    """

    kind: str
    name: str
    label: str
    text: str
    option: str = ""
    index: int | None = None
    channel: str = ""
    default: object = None
    limits: tuple[float, float, float] | None = None
    choices: Sequence[str] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SlicerModule:
    """A command line module, and the command that it runs."""

    name: str
    command: str
    title: str
    text: str
    groups: Mapping[str, tuple[Parameter, ...]]

    @property
    def parameters(self) -> list[Parameter]:
        """All parameters."""
        return [parameter for group in self.groups.values() for parameter in group]


def _image(name: str, label: str, text: str, channel: str, **more: Any) -> Parameter:
    ending, kind = more.pop("ending", ".nrrd"), more.pop("type", "scalar")
    attributes = {"type": kind, "fileExtensions": ending}
    return Parameter("image", name, label, text, channel=channel, attributes=attributes, **more)


def _choice(
    name: str, label: str, text: str, option: str, values: Sequence[str], default: str
) -> Parameter:
    return Parameter(
        "string-enumeration", name, label, text, option, default=default, choices=tuple(values)
    )


def _transform(name: str, label: str, text: str, channel: str, **more: Any) -> Parameter:
    attributes = {"fileExtensions": ".h5"}
    return Parameter("transform", name, label, text, channel=channel, attributes=attributes, **more)


_DEVICE: Final = _choice(
    "device", "Device", "Computing device.", "--device", DEVICE_NAMES, DEVICE_NAMES[0]
)


def slicer_modules() -> tuple[SlicerModule, ...]:
    """Return the modules, with the models that are installed now."""
    return (_colorize(), _register(), _transform_module(), _restore())


def _colorize() -> SlicerModule:
    volumes = (
        _image("inputVolume", "CT volume", "A CT in Hounsfield units.", "input", index=0),
        _image(
            "outputVolume", "Colored volume", "RGBA with the luminance of the CT.", "output",
            index=1, type="vector",
        ),
        _image(
            "tissueMap", "Tissue map",
            "The tissue of each voxel. A new segmentation has the names and colors of the tissues; "
            "for a new label map they are in the color table 'Names of tissues'.",
            "output", type="label", ending=".seg.nrrd", option="--tissue-map",
        ),
        Parameter(
            "table", "tissueColors", "Names of tissues",
            "A color table with the names and colors of the tissue map.",
            channel="output", attributes={"type": "color", "fileExtensions": ".ctbl"},
        ),
        Parameter(
            "geometry", "surfaces", "Surfaces", "Closed surfaces of the tissues, in color.",
            "--surfaces", channel="output", attributes={"fileExtensions": ".ply"},
        ),
    )  # fmt: skip
    names = [card.name for card in models() if card.kind != "exemplar"]
    windows = ["default", "auto", *PRESETS]
    look = (
        _choice("model", "Model", "What recognizes the tissues.", "--model", names, "tissue"),
        _choice("window", "Window", "From HU to luminance.", "--window", windows, "default"),
        _choice(
            "palette", "Palette", "Colors of the tissues.", "--palette", palette_names(), "natural"
        ),
        Parameter(
            "double", "saturation", "Saturation", "0 is grey.", "--saturation", default=1.0,
            limits=(0.0, 1.0, 0.05),
        ),
        Parameter(
            "double", "minConfidence", "Minimum confidence", "Below it, color fades to grey.",
            "--min-confidence", default=0.0, limits=(0.0, 1.0, 0.05),
        ),
        Parameter(
            "string", "only", "Only these tissues",
            "Names separated by commas, such as liver,kidney; empty for all.", "--only",
            default="",
        ),
        _DEVICE,
    )  # fmt: skip
    return SlicerModule(
        "TomochromeColorize", "colorize", "Colorize CT",
        f"Anatomical color for CT: luminance from the scanner, color from a network. {_CAUTION}",
        {"Volumes": volumes, "Color": look},
    )  # fmt: skip


def _register() -> SlicerModule:
    volumes = (
        _image("fixedVolume", "Fixed volume", "It stays where it is.", "input", index=0),
        _image("movingVolume", "Moving volume", "It is moved onto it.", "input", index=1),
        _image(
            "movedVolume", "Moved volume", "The moving volume on the grid of the fixed one.",
            "output", ending=".nii.gz",
        ),
        _transform(
            "forwardTransform", "Forward transform", "Moves the moving volume, to apply to it.",
            "output",
        ),
        _transform(
            "inverseTransform", "Inverse transform", "Moves the fixed volume onto the moving one.",
            "output",
        ),
    )  # fmt: skip
    settings = (
        _choice(
            "model", "Network", "Predicts the deformation.", "--model", ("symnet", "none"), "symnet"
        ),
        _choice("init", "Start", "Initial alignment.", "--init", STARTS, "affine"),
        _choice(
            "similarity", "Similarity", "What the refinement compares.", "--similarity",
            SIMILARITIES, SIMILARITIES[0],
        ),
        Parameter(
            "integer", "refine", "Refinement", "Steps of the refinement.", "--refine", default=40,
            limits=(0, 200, 5),
        ),
        _DEVICE,
    )  # fmt: skip
    return SlicerModule(
        "TomochromeRegister", "register", "Register volumes",
        f"Affine, then deformable registration, with transforms both ways. {_CAUTION}",
        {"Volumes": volumes, "Registration": settings},
    )  # fmt: skip


def _transform_module() -> SlicerModule:
    volumes = (
        _image("inputVolume", "Volume", "Grey values, labels or colors.", "input", index=0),
        _transform("transform", "Transform", "A transform of ITK.", "input", index=1),
        _image(
            "referenceVolume", "Reference", "It gives the grid of the result.", "input", index=2,
            option="--like",
        ),
        _image("outputVolume", "Transformed volume", "The result.", "output", index=3),
        Parameter(
            "boolean", "labels", "Labels", "The volume contains labels.", "--labels", default=False
        ),
        Parameter(
            "boolean", "inverse", "Inverse", "Apply the inverse.", "--inverse", default=False
        ),
    )  # fmt: skip
    return SlicerModule(
        "TomochromeTransform", "transform", "Transform volume",
        f"Resample a volume through a transform onto another grid. {_CAUTION}",
        {"Volumes": volumes},
    )  # fmt: skip


def _restore() -> SlicerModule:
    volumes = (
        _image("inputVolume", "CT volume", "A CT with defects.", "input", index=0),
        _image("outputVolume", "Restored volume", "The CT with its defects filled.", "output",
               index=1),
        _image(
            "restoredMask", "Restored voxels", "What was restored, not measured.", "output",
            type="label", ending=".nrrd", option="--mask-out",
        ),
    )  # fmt: skip
    settings = (
        _choice("defects", "Defects", "What to look for.", "--defects", ("auto", *KINDS), "auto"),
        _choice("model", "Filled by", "What fills them.", "--model", MODELS, DEFAULT),
        _DEVICE,
    )
    return SlicerModule(
        "TomochromeRestore", "restore", "Restore CT",
        f"Find and fill streaks of metal, rings, lost slices and lines. {_CAUTION}",
        {"Volumes": volumes, "Restoration": settings},
    )  # fmt: skip


def module_xml(module: SlicerModule) -> str:
    """Return the description of a module, which 3D Slicer makes a panel of."""
    root = ElementTree.Element("executable")
    for tag, text in (
        ("category", CATEGORY), ("title", module.title), ("description", module.text),
        ("version", __version__), ("documentation-url", _PAGE), ("license", "BSD-3-Clause"),
        ("contributor", "The Tomochrome authors"),
    ):  # fmt: skip
        ElementTree.SubElement(root, tag).text = text
    for title, parameters in module.groups.items():
        group = ElementTree.SubElement(root, "parameters")
        ElementTree.SubElement(group, "label").text = title
        ElementTree.SubElement(group, "description").text = f"{title} of {module.title}"
        for parameter in parameters:
            _add(group, parameter)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def _add(group: ElementTree.Element, parameter: Parameter) -> None:
    element = ElementTree.SubElement(group, parameter.kind, dict(parameter.attributes))

    def add(tag: str, text: object) -> None:
        ElementTree.SubElement(element, tag).text = str(text)

    add("name", parameter.name)
    if parameter.index is None:
        add("longflag", f"--{parameter.name}")
    add("label", parameter.label)
    add("description", parameter.text)
    if parameter.channel:
        add("channel", parameter.channel)
    if parameter.index is not None:
        add("index", parameter.index)
    if parameter.default is not None:
        is_bool = isinstance(parameter.default, bool)
        add("default", str(parameter.default).lower() if is_bool else parameter.default)
    for choice in parameter.choices:
        add("element", choice)
    if parameter.limits is not None:
        constraints = ElementTree.SubElement(element, "constraints")
        for tag, value in zip(("minimum", "maximum", "step"), parameter.limits, strict=True):
            ElementTree.SubElement(constraints, tag).text = f"{value:g}"
