"""The one place that prepares a viewer for scans of ours."""

from __future__ import annotations

import weakref
from typing import Any, Final

from tomochrome._napari.canvas_context import CanvasContext
from tomochrome._napari.canvas_overlays import CanvasOverlays
from tomochrome._napari.grey_in_3d import GreyIn3D
from tomochrome._napari.into_view import IntoView
from tomochrome._napari.orientation import Orientation
from tomochrome._napari.readout import show_readout
from tomochrome._napari.saving import Saving
from tomochrome._napari.window_mouse import WindowMouse

_FOLLOWERS: Final = (
    CanvasContext,
    Orientation,
    CanvasOverlays,
    GreyIn3D,
    Saving,
    IntoView,
    WindowMouse,
)
_PREPARED: weakref.WeakKeyDictionary[Any, tuple[object, ...]] = weakref.WeakKeyDictionary()


def prepare_viewer(viewer: Any) -> None:
    """Let a viewer show scans as a radiologist expects, from now on; once is enough.

    Patients stand upright and are never mirrored, letters say which side is which, a scale bar
    and the value under the cursor are shown, in 3D a colored scan hides its grey one, and File >
    Save keeps where a scan lies. A scan that is opened comes into view; the right mouse button and
    the number keys set its window. Viewers without a scan of ours are left as they are.

    Parameters
    ----------
    viewer
        A napari viewer, or the proxy that napari gives to a plugin's widget.
    """
    viewer = getattr(viewer, "__wrapped__", viewer)
    if viewer not in _PREPARED:
        _PREPARED[viewer] = tuple(follower(viewer) for follower in _FOLLOWERS)
    show_readout(viewer)


def is_settled(viewer: Any) -> bool:
    """Return whether nothing is left to be drawn for the first time in a prepared viewer."""
    followers = _PREPARED.get(getattr(viewer, "__wrapped__", viewer), ())
    return all(f.settled for f in followers if isinstance(f, CanvasOverlays))
