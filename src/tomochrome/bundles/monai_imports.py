"""MONAI is imported by one thread at a time.

Its modules import each other in circles. Where two threads import different parts of it at once,
Python's import locks end in a deadlock error, and MONAI cannot be imported again in that process.
"""

from __future__ import annotations

import threading
from typing import Final

MONAI_IMPORTS: Final = threading.RLock()
"""Held while anything of MONAI is imported: ``with MONAI_IMPORTS: from monai... import ...``."""
