"""The paths that were opened last, stored for the next session unless the user does not want it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tomochrome._napari.viewer.slice_wheel import settings_store

MAX_RECENT: Final = 10
_KEPT, _PATHS = "recent/kept", "recent/paths"


def recent_paths() -> list[Path]:
    """Return the paths that were opened last, the latest first."""
    stored = settings_store().value(_PATHS)
    texts = stored if isinstance(stored, list) else [stored]  # a list of one is read as a text
    return [Path(text) for text in texts if isinstance(text, str) and text][:MAX_RECENT]


def note_opened(path: Path) -> None:
    """Put a path that was opened first in the list, unless the user wants no list.

    Only the path is stored, as the user chose it; nothing of what the files say.
    """
    if keeps_recent():
        path = path.absolute()
        others = [other for other in recent_paths() if other != path]
        settings_store().setValue(_PATHS, list(map(str, [path, *others][:MAX_RECENT])))


def clear_recent() -> None:
    """Forget all paths."""
    settings_store().remove(_PATHS)


def keeps_recent() -> bool:
    """Whether paths are stored."""
    return settings_store().value(_KEPT) != "no"


def keep_recent(kept: bool) -> None:
    """Store whether paths are stored; if not, those stored so far are forgotten."""
    settings_store().setValue(_KEPT, "yes" if kept else "no")
    if not kept:
        clear_recent()
