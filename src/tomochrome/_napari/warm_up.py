"""Importing what coloring needs, in a thread, so that the first Run does not wait for it."""

from __future__ import annotations

from dataclasses import dataclass

from tomochrome.runtime import CancelToken, Progress


@dataclass(frozen=True)
class Offer:
    """What can be chosen in the widget once everything is imported."""

    models: tuple[str, ...]
    palettes: tuple[str, ...]
    alphas: tuple[str, ...]
    devices: tuple[str, ...]


def warm_up(progress: Progress, cancel: CancelToken) -> Offer:
    """Import and compile what coloring needs, and find the models, palettes and devices."""
    from tomochrome.color import ALPHA_PRESETS, palette_names
    from tomochrome.colorize import models as model_cards
    from tomochrome.colorize import warm_up as warm_engine
    from tomochrome.errors import DeviceError
    from tomochrome.runtime import DEVICE_NAMES, check, choose_device

    check(cancel)
    warm_engine()
    check(cancel)
    devices = []
    for name in DEVICE_NAMES:
        try:
            choose_device(name)
        except DeviceError:
            continue
        devices.append(name)
    models = tuple(card.name for card in model_cards())
    return Offer(models, tuple(palette_names()), tuple(ALPHA_PRESETS), tuple(devices))
