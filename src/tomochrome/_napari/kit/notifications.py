"""Notifications of napari that can be read: long ones are shown whole, for as long as it takes."""

from __future__ import annotations

from typing import Any, Final, Literal

from napari._qt.dialogs.qt_notification import NapariQtNotification
from napari.utils.notifications import Notification, notification_manager

from tomochrome.errors import TomochromeError

_MS_PER_CHARACTER: Final = 70  #: of reading: 170 words of 5 letters a minute
_MARGIN_PX: Final = 12
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
    dialogs = NapariQtNotification._instances
    ours = isinstance(notification, Message) or isinstance(error, TomochromeError)
    if not ours or not dialogs or dialogs[-1].message.text() != notification.message:
        return
    dialog, text = dialogs[-1], notification.message
    if (
        not dialog.property("expanded")
        and dialog.message.fontMetrics().horizontalAdvance(text) > dialog.message.minimumWidth()
    ):
        place = dialog.geom_anim.endValue()  # napari is still moving it there
        dialog.geom_anim.stop()
        dialog.setGeometry(place)
        dialog.toggle_expansion()
        whole = dialog.geom_anim.endValue()  # by napari, without the margins of the text
        dialog.geom_anim.setEndValue(whole.adjusted(0, -_MARGIN_PX, 0, 0))
        dialog.timer.setInterval(max(_MIN_MS, _MS_PER_CHARACTER * len(text)))
        dialog.timer.start()
