from .body_field import BodyField, body_field
from .camera import VIEWS, Camera, HalfSpace, parse_view
from .cinematic import Picture3D, RenderRequest, Stage, render, turntable
from .render_files import RenderReport, annotated, render_file, save_film, save_picture
from .render_presets import RENDER_PRESETS, Part, RenderPreset, render_preset, selected_preset

__all__ = [
    "RENDER_PRESETS",
    "VIEWS",
    "BodyField",
    "Camera",
    "HalfSpace",
    "Part",
    "Picture3D",
    "RenderPreset",
    "RenderReport",
    "RenderRequest",
    "Stage",
    "annotated",
    "body_field",
    "parse_view",
    "render",
    "render_file",
    "render_preset",
    "save_film",
    "save_picture",
    "selected_preset",
    "turntable",
]
