"""Notifications of napari that can be read: long ones are shown whole, for as long as it takes."""

from __future__ import annotations

from typing import Any, Final, Literal

from napari._qt.dialogs.qt_notification import NapariQtNotification
from napari.utils.notifications import Notification, notification_manager
from qtpy.QtCore import Qt

from tomochrome.errors import TomochromeError

_MS_PER_CHARACTER: Final = 70  #: of reading: 170 words of 5 letters a minute
_MARGIN_PX: Final = 12
_EDGE_PX: Final = 8  #: to the edge of the canvas
_AROUND_PX: Final = 120  #: the symbols and margins beside the text
_MIN_MS: Final = NapariQtNotification.DISMISS_AFTER


class Message(Notification):
    """A notification of this plugin."""


def show_message(text: str, severity: Literal["info", "warning", "error"] = "info") -> None:
    """Show a notification, unfolded if it is long.

    napari shows the first line of a notification for four seconds; the rest needs a double click.
    """
    unfold_messages()
    notification_manager.dispatch(Message(text, severity))


def unfold_messages() -> None:
    """Show this plugin's notifications, and errors that it raises, whole from now on."""
    notification_manager.notification_ready.connect(_unfold, position="last")  # only once


def _unfold(notification: Any) -> None:
    error = getattr(notification, "exception", None)
    error = getattr(error, "original_error", error)  # napari wraps errors of readers
    dialogs = NapariQtNotification._instances  # napari 0.9 has no public name for them
    ours = isinstance(notification, Message) or isinstance(error, TomochromeError)
    if not ours or not dialogs or dialogs[-1].message.text() != notification.message:
        return
    dialog, text = dialogs[-1], notification.message
    narrower = max(0, dialog.width() + 2 * _EDGE_PX - dialog.parentWidget().width())
    label, metrics = dialog.message, dialog.message.fontMetrics()
    if narrower:  # than the canvas, as beside linked planes: its beginning would be cut off
        dialog.setFixedWidth(dialog.width() - narrower)
        label.setMinimumWidth(max(0, label.minimumWidth() - narrower))
        inside = dialog.width() - _AROUND_PX
        lines = metrics.boundingRect(0, 0, inside, 0, Qt.TextFlag.TextWordWrap, text)
        label.setMinimumHeight(lines.height())
    if not dialog.property("expanded") and metrics.horizontalAdvance(text) > label.minimumWidth():
        place = dialog.geom_anim.endValue()  # napari is still moving it there
        dialog.geom_anim.stop()
        dialog.setGeometry(place.adjusted(narrower, 0, 0, 0))
        dialog.toggle_expansion()
        whole = dialog.geom_anim.endValue()  # by napari, without the margins of the text
        dialog.geom_anim.setEndValue(whole.adjusted(0, -_MARGIN_PX, 0, 0))
        dialog.timer.setInterval(max(_MIN_MS, _MS_PER_CHARACTER * len(text)))
        dialog.timer.start()
