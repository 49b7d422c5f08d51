"""What a model that colors is to the rest of the program, and how one is registered.

A model is a bundle (see `tomochrome.bundles`) whose metadata names its *kind*: the way in which it
colors. A kind is one class, a `Predictor`, in one file: a module of
`tomochrome.colorization.kinds` called like the kind, or any other module that is imported
before the kind is used. Either way `register_kind` makes it known::

    @register_kind("brightness")
    class Brightness(GridPredictor):
        '''Colors that depend on brightness alone, as an example.'''

        reads = InputSpec(pixel_mm=2.0, slice_mm=3.0, channels=(Channel(40, 400),))

        def predict(self, inputs):
            L = inputs[:, 0]
            return np.stack([30 * L, 20 * L, np.ones_like(L)], axis=-1)

Networks on a grid of their own are best made from `tomochrome.colorization.grid_predictor`, torch
networks from `tomochrome.colorization.torch_predictor`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from tomochrome.bundles import ModelCard
from tomochrome.errors import ModelError, OptionError
from tomochrome.notices import Notice

if TYPE_CHECKING:
    from tomochrome.color.codes import Table
    from tomochrome.colorization.inputs import InputSpec
    from tomochrome.colorization.scan import Colors, Scan

_KINDS = "tomochrome.colorization.kinds"
_registered: dict[str, type[Predictor]] = {}


class Predictor(Protocol):
    """One way of coloring, made from a bundle and ready on a device.

    Attributes
    ----------
    names_tissues
        Whether its codes are mixtures of tissues, so that palettes apply; otherwise they are
        colors (a*, b*). Known of the class, before any weights are loaded.
    reads
        What it sees of a scan: windows, spacing, the slices around or blocks with overlap. None
        if it sees nothing but each voxel's HU.
    table
        What its codes stand for.
    device
        Device that it ran on last, for example ``"cuda"``.
    warnings
        What the user should know of the last run.
    """

    names_tissues: ClassVar[bool]
    reads: InputSpec | None
    device: str
    warnings: tuple[Notice, ...]

    def __init__(self, card: ModelCard, *, device: str = "auto", batch: int | None = None) -> None:
        """Load the model of a bundle.

        Parameters
        ----------
        card
            The bundle.
        device
            ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
        batch
            Slices or blocks read at once; by default what suits the device.

        Raises
        ------
        ModelError
            If metadata or weights cannot be used.
        DeviceError, OptionError
            If the device is not there or unknown.
        """

    @property
    def table(self) -> Table:
        """What the codes stand for."""

    def color(self, scan: Scan) -> Colors:
        """Give each voxel of a scan a code and a confidence.

        Parameters
        ----------
        scan
            Upright CT with its body.

        Raises
        ------
        Cancelled
            If the user stopped it.
        """


P = TypeVar("P", bound=type[Any])


def register_kind(kind: str) -> Callable[[P], P]:
    """Make a class the predictor of all bundles whose metadata name this ``kind``.

    Raises
    ------
    ModelError
        If another class has the kind already.
    """

    def enter(predictor: P) -> P:
        known = _registered.get(kind)
        if known is not None and known.__qualname__ != predictor.__qualname__:
            raise ModelError(f"there are two predictors of the kind '{kind}'")
        _registered[kind] = predictor
        return predictor

    return enter


def kinds() -> tuple[str, ...]:
    """Return all kinds of models that color: those of this program and those registered."""
    found = pkgutil.iter_modules(import_module(_KINDS).__path__)
    return tuple(sorted({module.name.replace("_", "-") for module in found} | set(_registered)))


def needs_reference(card: ModelCard) -> bool:
    """Whether the model colors by a photograph that the user gives, see `exemplar.Reference`.

    Its class says so by an attribute ``needs_reference`` and is made with a ``reference``.
    """
    return bool(getattr(predictor_class(card), "needs_reference", False))


def check_reference(card: ModelCard, given: bool) -> None:
    """Refuse a photograph that the model does not use, and the lack of one that it needs.

    Raises
    ------
    OptionError
        If there is one too many or too few.
    """
    if given == needs_reference(card):
        return
    if given:
        raise OptionError(
            f"the model '{card.name}' has colors of its own and uses no photograph; leave the "
            "reference out, or choose the model 'exemplar'"
        )
    raise OptionError(
        f"the model '{card.name}' takes its colors from a photograph; give one (--reference "
        "photo.png, in Python reference='photo.png')"
    )


def predictor_class(card: ModelCard) -> type[Predictor]:
    """Return the class that colors by this bundle.

    Raises
    ------
    ModelError
        If its kind is unknown.
    """
    if card.kind not in _registered and card.kind in kinds():
        import_module(f"{_KINDS}.{card.kind.replace('-', '_')}")
    if card.kind not in _registered:
        raise ModelError(f"the model '{card.name}' is of the unknown kind '{card.kind}'")
    return _registered[card.kind]
