"""Connects the comparison to its fields, its layer, the wipe handle and the viewer's events."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal
from superqt.utils import qdebounced, qthrottled

from tomochrome._napari.compare.compare_layer import Comparison, Made, make_in_worker, window_of
from tomochrome._napari.compare.compare_modes import FLICKER, has_unlike_windows, remarks
from tomochrome._napari.compare.compare_panel import ComparePanel
from tomochrome._napari.kit.events import Connections
from tomochrome._napari.kit.jobs import JobRunner
from tomochrome._napari.kit.panel_bases import error_text
from tomochrome._napari.layers.grey_window import show_window
from tomochrome._napari.layers.layer_volumes import check_two, check_volume_layer
from tomochrome._napari.viewer.orientation import screen_of
from tomochrome._napari.viewer.wipe_handle import WipeHandle
from tomochrome.errors import TomochromeError
from tomochrome.notices import sentence

_REDRAW_INTERVAL_MS = 15
_REDRAW_DELAY_3D_MS = 250
_RESTART_DELAY_MS = 300  # dragging a layer or painting in it emits an event for every step
_TRANSFORM_EVENTS = ("scale", "translate", "rotate", "shear", "affine", "units")


class CompareControl(QObject):
    """Shows two layers as one comparison layer, as set in the fields of a panel."""

    changing = Signal()  # before a comparison is started or stopped

    def __init__(self, viewer: Any, panel: ComparePanel) -> None:
        super().__init__(panel)
        self.viewer = viewer
        self.panel = panel
        self.comparison: Comparison | None = None
        self.positions: Any = None  # positions of the last wipe, one per plane
        self._jobs = jobs = JobRunner("tomochrome comparison", self)
        jobs.progressed.connect(lambda _done, _total, stage: self._say(stage + " …"))
        jobs.ended.connect(self._ended)
        self._followed = Connections()
        self._removing = Connections()
        self._closing = False
        self._paused = False
        self._apply_throttled = qthrottled(self._apply, timeout=_REDRAW_INTERVAL_MS)
        self._apply_debounced = qdebounced(self._apply, timeout=_REDRAW_DELAY_3D_MS)
        self._restart_debounced = qdebounced(self._restart, timeout=_RESTART_DELAY_MS)
        self.flicker = QTimer(self)
        self.flicker.timeout.connect(self._alternate)
        self._relit_signals: list[Any] = []  # of the colored layers compared
        self.handle: WipeHandle | None = None
        panel.show_button.clicked.connect(self._button)
        panel.match.clicked.connect(self._match_windows)
        panel.changed.connect(self._changed)
        panel.layers_changed.connect(self._layers_changed)
        panel.curtain_moved.connect(self.wipe_to)
        self._removing.add(self._removed, viewer.layers.events.removed)

    @property
    def busy(self) -> bool:
        """Whether a comparison is being prepared."""
        return self._jobs.running or self._paused

    def pause(self) -> None:
        """Do not show the comparison that is being prepared, if any, until `resume`."""
        if self.busy:
            self._paused = True
            self._jobs.drop()
            self._say("")

    def resume(self) -> None:
        """Prepare the comparison that `pause` stopped, unless it was started or stopped since."""
        if self._paused:
            self.start()

    def start(self) -> None:
        """Compare the two selected layers; a worker does the slow part."""
        self._begin_change()
        first, second = self.panel.two
        try:
            check_two(first, second, "compare")
            check_volume_layer(first)
            check_volume_layer(second)
        except TomochromeError as error:
            self._drop_and_show()
            self._fail(error)
            return
        fields, windows = self.panel.fields, (window_of(first), window_of(second))
        self._jobs.start(
            lambda: make_in_worker(first, second, fields, windows),
            lambda made: self._made((first, second), made),
            self._failed,
        )
        self.panel.show_button.setChecked(True)
        self._label()

    def stop(self) -> None:
        """Remove the comparison and show the layers again."""
        self._begin_change()
        self._say("")  # remarks are about the comparison on screen
        self._drop_and_show()
        self.panel.show_button.setChecked(False)
        self._label()

    def _begin_change(self) -> None:
        self._paused = False
        self._jobs.drop()
        self.changing.emit()

    def hide(self, layer: Any) -> None:
        """Hide a layer and keep it hidden when the comparison ends."""
        layer.visible = False
        if self.comparison is not None:
            self.comparison.leave_hidden(layer)

    def _button(self) -> None:
        if self.comparison is not None or self.busy:
            self.stop()
        else:
            self.start()

    def _made(self, layers: tuple[Any, Any], made: Made) -> None:
        if not all(layer in self.viewer.layers for layer in layers):
            return
        follow = self._followed.add
        self.comparison = Comparison(self.viewer, layers, made, self._drop())
        for layer in layers:
            if window_of(layer) is not None:
                follow(self._windowed, layer.events.contrast_limits)
            follow(self._restart, layer.events.data)
            frequent = [getattr(layer.events, name) for name in _TRANSFORM_EVENTS]
            if hasattr(layer.events, "paint"):
                frequent.append(layer.events.paint)
            follow(self._restart_later, *frequent)
        # A hidden colored layer emits no event of its own when its lighting changes.
        self._relit_signals = [layer.data.relit for layer in layers if hasattr(layer.data, "relit")]
        for signal in self._relit_signals:
            signal.connect(self._relit)
        dims = self.viewer.dims.events
        follow(self._time_flicker, self.comparison.layer.events.visible, dims.ndisplay)
        camera = self.viewer.scene.camera.events
        follow(self._screen_changed, dims.ndisplay, dims.order, camera.orientation)
        self._screen_changed()
        if self.comparison.view.mode == "wipe" and self.positions is not None:
            wipe: Any = self.comparison.view.settings
            self.comparison.set_settings(replace(wipe, positions=self.positions))
        self.handle = WipeHandle(self.viewer, self.comparison.layer, self._edge, self._dragged)
        self.panel.message.say("", "plain")
        self._apply()

    def _failed(self, error: Exception) -> None:
        self._drop_and_show()  # the old comparison is not of the layers selected now
        self._fail(error)

    def _ended(self) -> None:
        if self.comparison is None:
            self.panel.show_button.setChecked(False)
        self._label()

    def _fail(self, error: Exception) -> None:
        text = error_text(error, "The comparison")
        self.panel.message.say(text, "error")
        if self.comparison is None:
            self.panel.show_button.setChecked(False)
            self._label()

    def _say(self, text: str) -> None:
        self.panel.message.say(text, "plain")

    def _remark(self) -> None:
        if self.comparison is not None:
            view, fields = self.comparison.view, self.panel.fields
            texts = remarks(view, fields, self.viewer.dims.ndisplay)
            self._say(f"{sentence(self.comparison.note)} {texts}".strip())
            self.panel.offer_match(has_unlike_windows(view, fields))

    def _remark_again(self) -> None:
        if self.panel.message.tone == "plain":  # do not overwrite an error
            self._remark()

    def _label(self) -> None:
        shown = self.panel.show_button.isChecked()
        self.panel.show_button.setText("Stop comparison" if shown else "Show comparison")

    # Following the fields and the viewer

    def _changed(self) -> None:
        in_3d = self.viewer.dims.ndisplay == 3
        (self._apply_debounced if in_3d else self._apply_throttled)()

    def _apply(self) -> None:
        if self.comparison is None:
            return
        try:
            self.comparison.set_fields(self.panel.fields)
        except TomochromeError as error:
            self._fail(error)
        else:
            self._remark()
        self._show_edge()
        self._time_flicker()

    def _layers_changed(self) -> None:
        if self.comparison is not None or self.busy:
            self.start()

    def _windowed(self, _: object = None) -> None:
        if self.comparison is not None:
            first, second = self.comparison.layers
            self.comparison.set_windows((window_of(first), window_of(second)))
            self._remark_again()

    def _match_windows(self) -> None:
        if self.comparison is not None:
            first, second = self.comparison.layers
            window = window_of(first)
            if window is not None:
                show_window(second, window)

    def _relit(self) -> None:
        if self.comparison is not None:
            self.comparison.refresh()

    def _screen_changed(self, _: object = None) -> None:
        if self.comparison is not None:
            self.comparison.set_screen(screen_of(self.viewer, self.comparison.layer))
            self._show_edge()
            self._remark_again()

    def _restart_later(self, _: object = None) -> None:
        self._restart_debounced()

    def _restart(self, _: object = None) -> None:
        if self.comparison is not None:
            self.start()

    def _removed(self, event: Any) -> None:
        if self._closing:
            return
        comparison, removed = self.comparison, event.value
        if comparison is not None and removed in (comparison.layer, *comparison.layers):
            self.stop()

    def _drop_and_show(self) -> None:
        if self.comparison is not None:
            self.comparison.show_again()
        self._drop()

    def _drop(self) -> tuple[Any, ...]:
        """Remove the comparison; return the layers that it hid."""
        self.flicker.stop()
        self.panel.offer_match(False)
        for signal in self._relit_signals:
            signal.disconnect(self._relit)
        self._relit_signals = []
        for delayed in (self._apply_throttled, self._apply_debounced, self._restart_debounced):
            delayed.cancel()
        self._followed.release()
        if self.handle is not None:
            self.handle.release()
            self.handle = None
        comparison, self.comparison = self.comparison, None
        if comparison is None:
            return ()
        if comparison.view.mode == "wipe":
            self.positions = comparison.view.settings.positions
        self._closing = True
        try:
            return comparison.close()
        finally:
            self._closing = False

    # Wipe and flicker

    def _edge(self, viewer: Any) -> tuple[int, float] | None:
        """Return the axis along which the wipe line moves and its index; None if not a wipe."""
        view: Any = None if self.comparison is None else self.comparison.view
        if view is None or view.mode != "wipe":
            return None
        plane = self._plane(viewer)
        return view.axis(plane), view.edge(plane)

    def _dragged(self, viewer: Any, _axis: int, index: float) -> None:
        if self.comparison is not None:
            view: Any = self.comparison.view
            plane = self._plane(viewer)
            self._wipe(plane, view.position(plane, index))

    def wipe_to(self, share: float) -> None:
        """Move the wipe line of the displayed plane; in 3D, that of the axial slices."""
        self._wipe(self._plane(self.viewer), share)

    def _wipe(self, plane: int, share: float) -> None:
        comparison = self.comparison
        if comparison is not None and comparison.view.mode == "wipe":
            curtain: Any = comparison.view.settings
            comparison.set_settings(curtain.moved(plane, share))
            self._show_edge()

    def _show_edge(self) -> None:
        view: Any = None if self.comparison is None else self.comparison.view
        if view is not None and view.mode == "wipe":
            self.panel.curtain.set_value(100 * view.settings.positions[self._plane(self.viewer)])
        if self.handle is not None:
            self.handle.update()

    def _plane(self, viewer: Any) -> int:
        """Return the axis normal to the plane that a viewer displays; 0 in 3D."""
        if self.comparison is None:
            return 0
        extra = viewer.dims.ndim - self.comparison.layer.ndim
        hidden = [axis - extra for axis in viewer.dims.not_displayed if axis >= extra]
        return hidden[0] if len(hidden) == 1 else 0

    def _time_flicker(self, _: object = None) -> None:
        """Start or stop the flicker; not in 3D, where each change redraws the entire volume."""
        comparison = self.comparison
        flickers = (
            comparison is not None
            and comparison.view.mode == FLICKER
            and comparison.layer.visible
            and self.viewer.dims.ndisplay == 2
        )
        if flickers:
            self.flicker.start(round(1000 / self.panel.rate.value()))
        else:
            self.flicker.stop()

    def _alternate(self) -> None:
        if self.comparison is not None:
            self.comparison.set_settings(self.comparison.view.settings.other())

    def release(self) -> None:
        """Stop the comparison, show the layers again and drop the reference to the viewer."""
        self._jobs.drop()
        self._drop_and_show()
        self._removing.release()
        self.panel.release()
        self.viewer = None
