"""What a panel can offer once the engine is imported: models, palettes, devices."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from tomochrome.runtime import check, report


@dataclass(frozen=True)
class Offer:
    """What can be chosen in a panel, by the names of the core; those of no use to it are empty."""

    models: tuple[str, ...]
    devices: tuple[str, ...]
    palettes: tuple[str, ...] = ()
    alphas: tuple[str, ...] = ()


def colorize_offer() -> Offer:
    """Import what coloring needs, so that the first run need not, and find what there is."""
    from tomochrome.color import ALPHA_PRESETS, palette_names
    from tomochrome.colorization import models, warm_up

    check()
    warm_up()
    check()
    names = tuple(card.name for card in models())
    return Offer(names, usable_devices(), tuple(palette_names()), tuple(ALPHA_PRESETS))


def register_offer() -> Offer:
    """Import what registration and comparison need, and find the networks and devices."""
    report(0, 0, "Loading the registration software")
    from tomochrome import compare
    from tomochrome.bundles import REGISTRATION, list_cards
    from tomochrome.errors import TomochromeError
    from tomochrome.registration import align, register  # noqa: F401
    from tomochrome.registration.symnet import load_symnet

    _ = compare.checkerboard
    check()
    cards = list_cards(REGISTRATION)
    report(0, 0, "Loading the deformation network")
    with suppress(TomochromeError):  # a damaged model is named when it is run
        if cards:
            load_symnet(cards[0].name)  # imports what networks are built of
    check()
    return Offer((*(card.name for card in cards), "none"), usable_devices())


def usable_devices() -> tuple[str, ...]:
    """Return the names of devices that this computer has."""
    from tomochrome.errors import DeviceError
    from tomochrome.runtime import DEVICE_NAMES, choose_device

    found = []
    for name in DEVICE_NAMES:
        with suppress(DeviceError):
            choose_device(name)
            found.append(name)
    return tuple(found)
