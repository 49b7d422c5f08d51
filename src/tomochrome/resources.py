"""Where the shipped ``weights/`` lie: beside ``src`` in a checkout, inside an installed package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def weights_folder() -> Path:
    """Return the folder that holds one MONAI bundle for each shipped model."""
    installed = _PACKAGE / "weights"
    if installed.is_dir():
        return installed
    return _PACKAGE.parents[1] / "weights"
