"""pint's units, which napari needs with the first layer, read by a worker beforehand."""

from __future__ import annotations

from typing import Any


def load_units() -> Any:
    """Return a registry of pint's own units, or None if the application has one already.

    Reading them takes some tenths of a second. Call it in a worker, and `use_units` in the GUI
    thread: pint's own registry must not be read by two threads at once.
    """
    from pint import UnitRegistry

    return UnitRegistry() if _unread() else None


def use_units(registry: Any) -> None:
    """Make it the application's registry, unless that has been read or replaced meanwhile."""
    import pint

    if registry is not None and _unread():
        pint.set_application_registry(registry)


def _unread() -> bool:
    import pint
    from pint.registry import LazyRegistry

    return isinstance(pint.application_registry.get(), LazyRegistry)
