"""Training: one trainer, and for each model a data set, a loss and a configuration.

`tomochrome.training.task_interface` says what a new model consists of. torch is imported when a
configuration is read, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tomochrome.training.config import TrainingConfig
    from tomochrome.training.export import finish
    from tomochrome.training.task_interface import Task, load_config, register
    from tomochrome.training.trainer import train

_HOMES = {
    "Task": "task",
    "TrainingConfig": "config",
    "finish": "export",
    "load_config": "task",
    "register": "task",
    "train": "trainer",
}

__all__ = ["Task", "TrainingConfig", "finish", "load_config", "register", "train"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"tomochrome.training.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
