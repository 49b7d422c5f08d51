"""A lock for importing MONAI from one thread at a time.

MONAI has circular imports. If two threads import different parts of it at the same time, Python
raises a deadlock error, and MONAI cannot be imported again in that process.
"""

from __future__ import annotations

import threading
from typing import Final

MONAI_IMPORTS: Final = threading.RLock()
"""To be held during imports: ``with MONAI_IMPORTS: from monai... import ...``."""
