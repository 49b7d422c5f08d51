"""The interface of colorization models, and their registration.

A model is a bundle (see `tomochrome.bundles`) whose metadata names its *kind*: how it computes
color. A kind is one class, a `Predictor`, in one file: a module of
`tomochrome.colorization.kinds` with the kind's name, or any other module that is imported
before the kind is used. In both cases `register_kind` registers it::

    @register_kind("brightness")
    class Brightness(GridPredictor):
        '''An example: the color depends on brightness only.'''

        reads = InputSpec(pixel_mm=2.0, slice_mm=3.0, channels=(Channel(40, 400),))

        def predict(self, inputs):
            L = inputs[:, 0]
            return np.stack([30 * L, 20 * L, np.ones_like(L)], axis=-1)

Derive networks that work on a coarse grid from `tomochrome.colorization.grid_predictor`, and
torch networks from `tomochrome.colorization.torch_predictor`.
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
    """A model loaded from a bundle onto a device.

    Attributes
    ----------
    names_tissues
        Whether the codes are mixtures of tissues, so that palettes apply; otherwise they are
        colors (a*, b*). A class attribute, available before any weights are loaded.
    reads
        The model's input: windows, spacing, and adjacent slices or overlapping blocks. None
        if the only input is each voxel's HU.
    table
        The meaning of the codes.
    device
        Device of the last run, for example ``"cuda"``.
    warnings
        Warnings of the last run, for the user.
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
            Batch size in slices or blocks; by default it depends on the device.

        Raises
        ------
        ModelError
            If metadata or weights cannot be used.
        DeviceError, OptionError
            If the device is unavailable or unknown.
        """

    @property
    def table(self) -> Table:
        """The meaning of the codes."""

    def color(self, scan: Scan) -> Colors:
        """Compute a code and a confidence for each voxel of a scan.

        Parameters
        ----------
        scan
            CT in axial orientation with its body mask.

        Raises
        ------
        Cancelled
            If the user cancelled.
        """


P = TypeVar("P", bound=type[Any])


def register_kind(kind: str) -> Callable[[P], P]:
    """Register the decorated class as the predictor of bundles of this ``kind``.

    Raises
    ------
    ModelError
        If another class is already registered for the kind.
    """

    def decorate(predictor: P) -> P:
        earlier = _registered.get(kind)
        if earlier is not None and earlier.__qualname__ != predictor.__qualname__:
            raise ModelError(f"there are two predictors of the kind '{kind}'")
        _registered[kind] = predictor
        return predictor

    return decorate


def kinds() -> tuple[str, ...]:
    """Return all kinds of colorization models, built-in and registered."""
    modules = pkgutil.iter_modules(import_module(_KINDS).__path__)
    return tuple(sorted({module.name.replace("_", "-") for module in modules} | set(_registered)))


def needs_reference(card: ModelCard) -> bool:
    """Whether the model needs a reference photograph from the user, see `Reference`.

    Such a class has an attribute ``needs_reference`` and takes a ``reference`` on construction.
    """
    return bool(getattr(predictor_class(card), "needs_reference", False))


def check_reference(card: ModelCard, given: bool) -> None:
    """Check that a photograph is given if and only if the model needs one.

    Raises
    ------
    OptionError
        If it is missing, or given to a model that does not use it.
    """
    if given == needs_reference(card):
        return
    if given:
        raise OptionError(
            f"the model '{card.name}' uses no reference photograph; omit the reference, or "
            "choose the model 'exemplar'"
        )
    raise OptionError(
        f"the model '{card.name}' takes its colors from a photograph; provide one (--reference "
        "photo.png, in Python reference='photo.png')"
    )


def predictor_class(card: ModelCard) -> type[Predictor]:
    """Return the predictor class of a bundle.

    Raises
    ------
    ModelError
        If its kind is unknown.
    """
    if card.kind not in _registered and card.kind in kinds():
        import_module(f"{_KINDS}.{card.kind.replace('-', '_')}")
    if card.kind not in _registered:
        raise ModelError(f"the model '{card.name}' has the unknown kind '{card.kind}'")
    return _registered[card.kind]
