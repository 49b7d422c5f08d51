"""Pictures of a colored scan in 3D: shaded, with soft shadows, seen by a camera."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, distance_transform_cdt

from tomochrome.color.chroma import Chroma
from tomochrome.color.lighting import Lighting, check_scan
from tomochrome.color.palettes import Palette
from tomochrome.color.photograph_look import NOT_FROM_SCANNER, check_look, colors_of_look
from tomochrome.color.selection import TissueSelection
from tomochrome.color.space import LINEAR_OF_8BIT, srgb_of_linear
from tomochrome.errors import OptionError
from tomochrome.geometry.affine import apply
from tomochrome.geometry.planes import parse_position
from tomochrome.rendering.body_field import NOTHING_LEFT, BodyField, body_field
from tomochrome.rendering.camera import Camera, HalfSpace, parse_view
from tomochrome.rendering.picture_caption import NOT_FOR_DIAGNOSIS, PARTLY_RESTORED, caption_in
from tomochrome.rendering.ray_kernels import BLOCK, Scene, View, cast_rays
from tomochrome.rendering.render_presets import (
    AUTO,
    RenderPreset,
    render_preset,
    selected_preset,
)
from tomochrome.rendering.scene_light import light_step, main_light, sky_light, transmission
from tomochrome.runtime import check, report
from tomochrome.tissue import Tissue
from tomochrome.volume import Volume

Quality = Literal["draft", "final"]

MIN_SIDE, MAX_SIDE = 64, 4096
MAX_FRAMES: Final = 720
FRAMES: Final = 60
NEEDS_TISSUES: Final = "cannot be drawn in 3D by tissue; choose a model that recognizes tissues"
_BAND: Final = 1 << 15  #: rays between two calls of `check`
_KEY: Final = (-0.6, 0.85, -1.0)  #: towards the main light: right, up and forward of the camera
_STRENGTH: Final = (1.25, 0.5, 0.25, 0.06)  #: of main, ambient and camera light, and highlights
_VISIBLE: Final = 0.02  #: opacity from which a voxel is in the picture
_GLOW: Final = (0.020, 0.023, 0.028)  #: linear light of the background in the middle
_DIM: Final = 0.004  #: the same in the corners


@dataclass(frozen=True)
class _Effort:
    """What a quality costs."""

    voxels: int  #: of the grid
    samples: int  #: rays per pixel along each axis
    step: float  #: distance of samples, in voxels
    lights: int  #: points of the main light
    sky: int  #: directions of the ambient light


_EFFORTS: Final[dict[str, _Effort]] = {
    "draft": _Effort(1 << 22, 1, 0.9, 3, 16),
    "final": _Effort(1 << 24, 2, 0.6, 9, 40),
}


@dataclass(frozen=True)
class RenderRequest:
    """Settings of a 3D picture.

    Attributes
    ----------
    view
        As for `tomochrome.rendering.parse_view`.
    preset
        A preset or its name, or ``"auto"``.
    only, hide
        Tissues (or their names, also in one string with commas) that alone are shown instead of a
        preset, and that are not shown.
    cut
        ``"x=MM"``, ``"y=MM"`` or ``"z=MM"``: in LPS mm, the plane at which the body is cut open;
        the part towards the camera is removed.
    quality
        ``"draft"`` or ``"final"``.
    clip
        Sides of planes outside which nothing is seen, as those of a crop box.
    size
        Width and height in pixels.
    palette
        A palette or its name; None for that of `tomochrome.color.Lighting`, as for the next three.
    saturation
        Factor on the chroma, 0 to 1.
    min_confidence
        Below this confidence, 0 to 1, the color fades to grey.
    tissues
        The selection of tissues, as in the legend of napari, within the preset.
    look
        ``"standard"``, with the lightness of the palette, or ``"photograph"``, with the lightness
        that tissues have to the eye and the texture of the CT.
    """

    view: str | tuple[float, float] = "front"
    preset: str | RenderPreset = AUTO
    only: str | tuple[str | Tissue, ...] = ()
    hide: str | tuple[str | Tissue, ...] = ()
    cut: str | None = None
    clip: tuple[HalfSpace, ...] = ()
    quality: Quality = "final"
    size: tuple[int, int] = (1000, 1000)
    palette: str | Palette | None = None
    saturation: float | None = None
    min_confidence: float | None = None
    tissues: TissueSelection | None = None
    look: str = "standard"

    def check(self) -> None:
        """Check the settings before the work begins.

        Raises
        ------
        OptionError
            If a name is unknown or a number is out of range.
        """
        parse_view(self.view)
        render_preset(self.preset, only=self.only, hide=self.hide)
        if self.cut is not None:
            parse_position(self.cut, "the cut")
        check_look(self.look)
        if self.quality not in _EFFORTS:
            raise OptionError(f"the quality must be draft or final, not '{self.quality}'")
        if not all(MIN_SIDE <= side <= MAX_SIDE for side in self.size):
            raise OptionError(
                f"the size must be from {MIN_SIDE} to {MAX_SIDE} pixels, not "
                f"{'x'.join(map(str, self.size))}"
            )
        shares = {"saturation": self.saturation, "minimum confidence": self.min_confidence}
        for name, share in shares.items():
            if share is not None and not 0.0 <= share <= 1.0:
                raise OptionError(f"the {name} must be from 0 to 1, not {share:g}")
        self.lighting()

    def lighting(self, saved: Lighting | None = None) -> Lighting:
        """Return palette, saturation, minimum confidence and selection of tissues.

        Parameters
        ----------
        saved
            Settings that apply where none are given; of its selection of tissues, only if neither a
            preset nor tissues are chosen. None for those of a new `Lighting`.
        """
        names = ("palette", "saturation", "min_confidence", "tissues")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        base = Lighting() if saved is None else saved
        if self.preset != AUTO or self.only or self.hide:
            base = base.replace(tissues=TissueSelection())
        return base.replace(**given)


@dataclass(frozen=True, eq=False)
class Picture3D:
    """A 3D picture without annotations.

    Parameters
    ----------
    pixels
        uint8 (y, x, 3), sRGB.
    letters
        Orientation letters at the "left", "right", "top" and "bottom" edges.
    caption
        What the picture shows: parts of a sentence, without patient data.
    """

    pixels: NDArray[np.uint8]
    letters: dict[str, str] = field(default_factory=dict)
    caption: tuple[str, ...] = ()


class Stage:
    """A body, its lights and everything else that is the same for all views.

    Parameters
    ----------
    volume
        CT in HU.
    chroma
        Its chroma map.
    request
        The settings.
    saved
        Settings that the scan was saved with, as for `RenderRequest.lighting`.

    Raises
    ------
    OptionError
        If a setting is invalid, the model does not recognize tissues, or nothing would be seen.
    InputError
        If the volume is colored already.
    Cancelled
        If the user cancelled.
    """

    def __init__(
        self,
        volume: Volume,
        chroma: Chroma,
        request: RenderRequest,
        saved: Lighting | None = None,
    ) -> None:
        check_scan(volume, chroma)
        request.check()
        chroma.require_tissues(NEEDS_TISSUES)
        self.request = request
        lit = request.lighting(saved)
        self.preset = selected_preset(_preset_of(chroma, request), lit.tissues)
        self._effort = _EFFORTS[request.quality]
        self._model = chroma.model or "an unnamed model"
        marked = volume.restored is not None and bool(volume.restored.any())
        self._restored = marked or chroma.provenance.of_restored
        colors, texture = colors_of_look(request.look, lit.palette, volume, chroma)
        body = body_field(
            volume,
            chroma,
            self.preset,
            colors,
            saturation=min(lit.saturation, 1.0),
            min_confidence=lit.min_confidence,
            texture=texture,
            clip=request.clip,
            most_voxels=self._effort.voxels,
        )
        for half in request.clip:
            body = body.clipped(half)
        if not body.opacity.any():
            raise OptionError(NOTHING_LEFT.format(self.preset.name))
        self._set_body(_cut_open(body, request))

    def _set_body(self, body: BodyField) -> None:
        self._body = body
        self._empty, points = _emptiness(body)
        low, high = points.min(axis=0), points.max(axis=0)
        self._center = (low + high) / 2
        self._points = points - self._center
        self._turn = body.affine[:3, :3].T / body.spacing  # from LPS to (z, y, x)
        self._step = light_step(body.opacity.shape)
        self._passes = transmission(body.opacity, body.spacing, self._step)
        self._ambient = sky_light(self._passes, self._turn @ (0.0, 0.0, 1.0), self._effort.sky)

    def distance(self, views: list[tuple[float, float]]) -> float:
        """Return the distance in mm from which the body is in the picture in all views."""
        width, height = self.request.size
        upper, lower = caption_in(self.caption, self.request.size).body
        return max(
            Camera.looking(view).distance(self._points, width / height, lower - upper)
            for view in views
        )

    def draw(self, view: tuple[float, float], distance: float | None = None) -> Picture3D:
        """Return the picture of a view.

        Parameters
        ----------
        view
            Azimuth and elevation in degrees.
        distance
            Of the camera from the middle of the body, in mm; None for the whole body in view.

        Returns
        -------
        Picture3D
            Without annotations.

        Raises
        ------
        Cancelled
            If the user cancelled.
        """
        distance = self.distance([view]) if distance is None else distance
        raised = 0.5 - sum(caption_in(self.caption, self.request.size).body) / 2
        camera = Camera.looking(view).at(self._center, distance, raised)
        return self.seen_by(camera)

    def seen_by(self, camera: Camera) -> Picture3D:
        """Return the picture that a camera sees.

        Parameters
        ----------
        camera
            The camera, in LPS mm.

        Returns
        -------
        Picture3D
            Without annotations.

        Raises
        ------
        Cancelled
            If the user cancelled.
        """
        body, (width, height) = self._body, self.request.size
        key = np.asarray(_KEY) @ np.stack([camera.right, camera.up, camera.forward])
        key = self._turn @ (key / np.linalg.norm(key))
        direct = main_light(self._passes, key, self._effort.lights)
        spacing = body.spacing
        scene = Scene(
            body.opacity, body.color, LINEAR_OF_8BIT.astype(np.float32), self._empty,
            direct, self._ambient, float(self._step), spacing,
        )  # fmt: skip
        view = View(
            eye=apply(np.linalg.inv(body.affine), camera.eye),
            forward=self._turn @ camera.forward,
            right=self._turn @ camera.right * camera.slope * width / height,
            up=self._turn @ camera.up * camera.slope,
            key=key,
            strength=np.asarray(_STRENGTH),
            step=self._effort.step,
        )
        light = _cast(scene, view, (height, width), self._effort.samples)
        return Picture3D(_developed(light), camera.letters, self.caption)

    @property
    def caption(self) -> tuple[str, ...]:
        """What the pictures show, without patient data."""
        request = self.request
        return (
            "Tomochrome",
            f"color by model {self._model}",
            *self.preset.shown,
            *(() if request.cut is None else (f"cut at {request.cut} mm",)),
            *(("clipped",) if request.clip else ()),
            *((PARTLY_RESTORED,) if self._restored else ()),
            NOT_FROM_SCANNER,
            NOT_FOR_DIAGNOSIS,
        )


def _preset_of(chroma: Chroma, request: RenderRequest) -> RenderPreset:
    shares = chroma.tissue_shares() if request.preset == AUTO and not request.only else None
    return render_preset(request.preset, only=request.only, hide=request.hide, shares=shares)


def _cut_open(body: BodyField, request: RenderRequest) -> BodyField:
    """Remove the part between the plane and the camera; from the side, that of higher values."""
    if request.cut is None:
        return body
    axis, at = parse_position(request.cut, "the cut")
    positions = body.along(np.eye(3)[axis])
    seen = positions[body.opacity > min(_VISIBLE, 0.5 * float(body.opacity.max()))]
    low, high = float(seen.min()), float(seen.max())
    if not low < at < high:
        raise OptionError(
            f"the cut {request.cut} does not meet what is shown; choose a position between "
            f"{'xyz'[axis]}={low:.0f} and {'xyz'[axis]}={high:.0f}"
        )
    towards = -Camera.looking(parse_view(request.view)).forward[axis]
    sign = 1.0 if towards < -1e-6 else -1.0
    x, y, z = sign * np.eye(3)[axis]
    return body.clipped(HalfSpace((x, y, z), sign * at))


def _emptiness(body: BodyField) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return for each block the distance to the next visible one, and the LPS of visible blocks."""
    starts = [np.arange(0, n, BLOCK) for n in body.opacity.shape]
    most = body.opacity
    for axis, start in enumerate(starts):
        check()
        most = np.maximum.reduceat(most, start, axis=axis)
    seen = most > _VISIBLE
    reached = binary_dilation(most > 1e-3)  # interpolation reaches into the next block
    if reached.all():
        far = np.zeros(reached.shape, np.uint8)
    else:
        distance = distance_transform_cdt(~reached, "chessboard")
        far = np.minimum(distance, 255).astype(np.uint8)
    first = np.argwhere(seen if seen.any() else reached) * BLOCK
    ends = np.minimum(np.concatenate([first, first + BLOCK]), np.array(body.opacity.shape) - 1)
    return far, apply(body.affine, ends)


def _cast(scene: Scene, view: View, size: tuple[int, int], samples: int) -> NDArray[np.float32]:
    """Return linear light and opacity of the pixels, float32 (y, x, 4)."""
    height, width = size[0] * samples, size[1] * samples
    light = np.empty((height * width, 4), np.float32)
    for start in range(0, len(light), _BAND):
        check()
        report(start, len(light), "drawing the picture")
        part = light[start : start + _BAND]
        cast_rays(len(part), scene, view, width, start, part, (height, width))
    report(len(light), len(light), "drawing the picture")
    return light.reshape(size[0], samples, size[1], samples, 4).mean(axis=(1, 3))


def _developed(light: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return sRGB of light over a dark background; bright light is compressed, not clipped."""
    height, width = light.shape[:2]
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
    glow = np.exp(-1.2 * (x**2 + y**2))[..., None] * np.asarray(_GLOW) + _DIM
    # One factor for all channels keeps the hue of bright surfaces.
    brightest = light[..., :3].max(axis=-1, keepdims=True)
    color = light[..., :3] * (1.0 + 0.12 * brightest) / (1.0 + 0.3 * brightest)
    color = np.clip(color + (1.0 - light[..., 3:]) * glow, 0.0, 1.0)
    return np.asarray(np.rint(255.0 * srgb_of_linear(color)), np.uint8)


def render(volume: Volume, chroma: Chroma, **settings: Any) -> Picture3D:
    """Return a 3D picture of a colored scan.

    Parameters
    ----------
    volume
        CT in Hounsfield units.
    chroma
        Its chroma map, as `tomochrome.colorize` returns it, of a model that recognizes tissues.
    **settings
        Fields of `RenderRequest`, for example ``view="left"``, ``preset="organs"``,
        ``size=(1200, 900)`` or ``quality="draft"``.

    Returns
    -------
    Picture3D
        L* is that of the tissue in the palette, under light and shadow: it does not show
        Hounsfield units. `tomochrome.rendering.annotated` draws letters and caption.

    Raises
    ------
    OptionError
        If a setting is invalid, the model does not recognize tissues, or nothing would be seen.
    InputError
        If the volume is colored already.
    GeometryError
        If the chroma map is on another grid.
    Cancelled
        If the user cancelled.
    """
    request = RenderRequest(**settings)
    return Stage(volume, chroma, request).draw(parse_view(request.view))


def turntable(
    volume: Volume, chroma: Chroma, frames: int = FRAMES, **settings: Any
) -> Iterator[Picture3D]:
    """Yield the pictures of a turn around the patient.

    Parameters
    ----------
    volume, chroma
        As for `render`.
    frames
        Number of pictures, at least 2.
    **settings
        Fields of `RenderRequest`; the turn begins with its view.

    Yields
    ------
    Picture3D
        The camera moves to the patient's left first.

    Raises
    ------
    OptionError
        If the number of frames is out of range; otherwise as for `render`.
    """
    check_frames(frames)
    request = RenderRequest(**settings)
    yield from turn(Stage(volume, chroma, request), frames)


def turn(stage: Stage, frames: int) -> Iterator[Picture3D]:
    """Yield the pictures of a turn around a body; see `turntable`."""
    azimuth, elevation = parse_view(stage.request.view)
    views = [(azimuth + 360.0 * k / frames, elevation) for k in range(frames)]
    distance = stage.distance(views)
    for view in views:
        yield stage.draw(view, distance)


def check_frames(frames: int) -> None:
    """Raise `OptionError` unless the number of frames is in range."""
    if not 2 <= frames <= MAX_FRAMES:
        raise OptionError(f"a film has 2 to {MAX_FRAMES} frames, not {frames}")
