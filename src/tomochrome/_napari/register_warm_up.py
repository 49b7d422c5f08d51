"""Importing and compiling what registration and comparison need, in a thread."""

from __future__ import annotations

import gc
from contextlib import suppress
from dataclasses import dataclass

from tomochrome._napari.warm_up import load_torch_library, usable_devices
from tomochrome.runtime import CancelToken, Progress


@dataclass(frozen=True)
class RegisterOffer:
    """What can be chosen in the widget once everything is imported."""

    models: tuple[str, ...]
    devices: tuple[str, ...]


def warm_up(progress: Progress, cancel: CancelToken) -> RegisterOffer:
    """Import what registration needs, and find the models and devices."""
    from tomochrome.errors import TomochromeError
    from tomochrome.runtime import check
    from tomochrome.runtime import report as tell

    tell(progress, 0, 0, "Loading the registration software")
    load_torch_library()
    check(cancel)
    from tomochrome import compare

    _ = compare.checkerboard
    check(cancel)
    from tomochrome.bundles import REGISTRATION, list_cards
    from tomochrome.registration import register, report, transform_kernels  # noqa: F401

    check(cancel)
    from tomochrome.registration import align  # noqa: F401
    from tomochrome.registration.symnet import load_symnet

    check(cancel)
    cards = list_cards(REGISTRATION)
    tell(progress, 0, 0, "Loading the deformation network")
    with suppress(TomochromeError):  # a damaged model is named when it is run
        if cards:
            load_symnet(cards[0].name)  # imports what networks are built of
    check(cancel)
    devices = usable_devices()
    models = tuple(card.name for card in cards)
    gc.freeze()  # see warm_up.py
    return RegisterOffer((*models, "none"), devices)
