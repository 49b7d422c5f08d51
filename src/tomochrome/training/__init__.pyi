from .config import TrainingConfig
from .export import finish
from .task_interface import Task, load_config, register
from .trainer import train

__all__ = ["Task", "TrainingConfig", "finish", "load_config", "register", "train"]
