"""From Hounsfield units to tissue color: models, prediction, guided upsampling.

torch, MONAI and numba are imported only on use.
"""

from tomochrome.bundles import ModelCard
from tomochrome.colorization.cards import DEFAULT_MODEL, find_model, model_title, models
from tomochrome.colorization.exemplar import Reference
from tomochrome.colorization.predict import colorize
from tomochrome.colorization.predictor import Predictor, register_kind
from tomochrome.colorization.warm import warm_up

__all__ = [
    "DEFAULT_MODEL",
    "ModelCard",
    "Predictor",
    "Reference",
    "colorize",
    "find_model",
    "model_title",
    "models",
    "register_kind",
    "warm_up",
]
