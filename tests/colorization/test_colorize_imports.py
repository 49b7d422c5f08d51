"""MONAI can be imported in any order and by several threads of the panels."""

from __future__ import annotations

import subprocess
import sys

BOTH_PANELS = """
from concurrent.futures import ThreadPoolExecutor
from tomochrome.colorization import warm_up
from tomochrome.registration.symmetric_network import SymNet
with ThreadPoolExecutor(2) as pool:
    coloring, registration = pool.submit(warm_up), pool.submit(SymNet, (4, 4))
coloring.result(), registration.result()
"""


def test_coloring_and_registration_may_import_it_at_once():
    """Opening both panels at once failed in MONAI's circular imports, and all later runs failed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BOTH_PANELS], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-800:]
