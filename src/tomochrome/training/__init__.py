"""Training of the shipped models: data, augmentation, losses, the loop, calibration, export.

torch is imported when a run begins, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tomochrome.training.config import TrainingConfig, load_config
    from tomochrome.training.loop import train
    from tomochrome.training.symnet_config import SymNetConfig, load_symnet_config
    from tomochrome.training.symnet_finish import finish_symnet
    from tomochrome.training.symnet_loop import train_symnet
    from tomochrome.training.tissue_finish import finish

_HOMES = {
    "SymNetConfig": "symnet_config",
    "TrainingConfig": "config",
    "finish": "tissue_finish",
    "finish_symnet": "symnet_finish",
    "load_config": "config",
    "load_symnet_config": "symnet_config",
    "train": "loop",
    "train_symnet": "symnet_loop",
}

__all__ = [
    "SymNetConfig",
    "TrainingConfig",
    "finish",
    "finish_symnet",
    "load_config",
    "load_symnet_config",
    "train",
    "train_symnet",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"tomochrome.training.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
