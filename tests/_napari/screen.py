"""What a user sees in a window: pixels of pictures and canvases, and widgets in a panel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QApplication, QWidget


def pixels(native: Any) -> NDArray[np.int_]:
    """Return what napari draws on a canvas: (y, x, RGB)."""
    QApplication.processEvents()
    return colors(native.grabFramebuffer())


def colors(image: QImage) -> NDArray[np.int_]:
    """Return the colors of a picture: (y, x, RGB)."""
    image = image.convertToFormat(QImage.Format.Format_RGBA8888)
    data = image.constBits()
    data.setsize(image.sizeInBytes())
    lines = np.frombuffer(data, np.uint8).reshape(image.height(), image.bytesPerLine())
    picture = lines[:, : 4 * image.width()].reshape(image.height(), image.width(), 4)
    return picture[..., :3].astype(int)


def scroll_to(widget: QWidget) -> None:
    """Scroll a panel to a widget, which must then be in view and enabled."""
    area: Any = widget.parentWidget()
    while not hasattr(area, "ensureWidgetVisible"):
        area = area.parentWidget()
    QApplication.processEvents()
    area.ensureWidgetVisible(widget)
    assert widget.isEnabled()
    assert widget.visibleRegion().contains(widget.rect().center())
