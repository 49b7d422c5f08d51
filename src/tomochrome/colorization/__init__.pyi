from .cards import DEFAULT_MODEL, ModelCard, find_model, model_title, models
from .coloring_request import ColoringRequest
from .file_coloring import ColoringReport, colorize_file
from .predict import colorize, warm_up
from .predictor import Predictor, register_kind
from .reference_photograph import Reference

__all__ = [
    "DEFAULT_MODEL",
    "ColoringReport",
    "ColoringRequest",
    "ModelCard",
    "Predictor",
    "Reference",
    "colorize",
    "colorize_file",
    "find_model",
    "model_title",
    "models",
    "register_kind",
    "warm_up",
]
