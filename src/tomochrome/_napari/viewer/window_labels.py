"""Names of windows as shown in all panels, and the keys that select them."""

from __future__ import annotations

import re
from typing import Final

from tomochrome._napari.kit.narrow_widgets import ElidedComboBox, shortened
from tomochrome.windowing import Window, WindowFunction

KEYS: Final = {
    "1": "auto",
    "2": "soft-tissue",
    "3": "lung",
    "4": "bone",
    "5": "brain",
    "6": "mediastinum",
    "7": "abdomen",
    "8": "liver",
    "9": "angiography",
}
"""The windows selected by the number keys while a scan is the selected layer."""

_MAX_LENGTH: Final = 22
_EMPTY_NAME = re.compile(r"(window|scanner|default|normal)?[\s_]*\d*", re.IGNORECASE)
_FUNCTION_NAMES: Final[dict[WindowFunction, str]] = {
    "LINEAR": "Linear",
    "LINEAR_EXACT": "Linear (exact)",
    "SIGMOID": "Sigmoid",
}


def window_numbers(window: Window) -> str:
    """Return ``"50 / 400"``: center and width."""
    end = ", sigmoid" if window.function == "SIGMOID" else ""
    return f"{window.center:.4g} / {window.width:.4g}{end}"


def window_label(window: Window, *, of_scanner: bool = False) -> tuple[str, str]:
    """Return the name of a window and its numbers: ``("Soft tissue", "50 / 400")``.

    Scanners often name a window after its numbers, or "WINDOW1"; such names are left out.
    """
    name = " ".join(window.name.replace("-", " ").replace("_", " ").split())
    plain = re.sub(r"\s", "", window.name)
    if _EMPTY_NAME.fullmatch(name) or re.fullmatch(r"[-+.\d/\\]*", plain):
        name = ""
    elif name.isupper() or name.islower():
        name = name.capitalize()
    name = shortened(name, _MAX_LENGTH)
    if of_scanner:
        name = f"Scanner: {name}" if name else "Scanner:"
    return name, window_numbers(window)


def function_name(function: WindowFunction) -> str:
    """Return the displayed name of a DICOM VOI LUT function."""
    return _FUNCTION_NAMES[function]


def add_choice(box: ElidedComboBox, choice: str, name: str, numbers: str = "") -> None:
    """Add a window to a combo box: its name, its numbers, and its key as a tooltip."""
    tip = next((f"Key {key}" for key, preset in KEYS.items() if preset == choice), "")
    box.add(f"{name}  {numbers}".strip(), choice, tip)


_KEY_LIST: Final = ", ".join(
    f"{key} {name.replace('-', ' ').replace('auto', 'automatic')}" for key, name in KEYS.items()
)
SHORT_HELP: Final = "right-drag: window, keys 1-9: presets"
HELP: Final = (
    "In the image, drag with the right mouse button: to the right for a wider window, "
    "up for a brighter image.\n"
    f"Keys while the scan is selected: {_KEY_LIST}.\n"
    "A scan opens in the window stored in it, otherwise in the automatic one: by content, wider "
    "only for contrast agent, and the brain window for a head."
)
