"""Training: one trainer, and for each model a data set, a loss and a configuration.

`tomochrome.training.task_interface` says what a new model consists of. torch is imported when a
configuration is read, not before.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
