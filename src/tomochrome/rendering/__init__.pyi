from .camera import VIEWS, Camera, parse_view
from .cinematic import Picture3D, RenderRequest, Stage, render, turntable
from .render_files import RenderReport, annotated, render_file, save_picture
from .render_presets import RENDER_PRESETS, Part, RenderPreset, render_preset

__all__ = [
    "RENDER_PRESETS",
    "VIEWS",
    "Camera",
    "Part",
    "Picture3D",
    "RenderPreset",
    "RenderReport",
    "RenderRequest",
    "Stage",
    "annotated",
    "parse_view",
    "render",
    "render_file",
    "render_preset",
    "save_picture",
    "turntable",
]
