"""The results of the pairs of layers that were registered, each for as long as its layers live."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from tomochrome._napari.metric_curve import Sample
from tomochrome._napari.register_job import Alignment


@dataclass(eq=False)
class PairResult:
    """What a registration or a loaded transform gave for one pair of layers.

    Parameters
    ----------
    fixed, moving
        The two layers.
    alignment
        The transform and its report. Its ``layer`` is None once that layer was removed.
    message
        What is said of it in one line.
    settings
        What distinguishes it from other results of the same pair, in words.
    number
        1 for the first result of the pair that is kept, 2 for the next.
    samples
        The curve of the run; empty for a loaded transform.
    shown
        What of it was on screen when another pair was chosen: ``"comparison"``, ``"jacobian"``,
        ``"grid"``.
    copies
        Layers that it was applied to: the layer, whether to the fixed image, and the moved copy.
    """

    fixed: Any
    moving: Any
    alignment: Alignment
    message: str
    settings: str = ""
    number: int = 1
    samples: list[Sample] = field(default_factory=list)
    shown: frozenset[str] = frozenset({"comparison"})
    copies: list[tuple[Any, bool, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What to call it in a list of results."""
        return f"{self.number}: {self.settings}"

    def is_of(self, fixed: Any, moving: Any) -> bool:
        """Whether it is the result of these two layers, in these roles."""
        return self.fixed is fixed and self.moving is moving

    def copy_of(self, layer: Any, to_fixed: bool) -> Any:
        """Return the moved copy of a layer, or None."""
        return next((c for x, to, c in self.copies if x is layer and to == to_fixed), None)

    def add_copy(self, layer: Any, to_fixed: bool, copy: Any) -> None:
        """Remember a moved copy instead of an earlier one of the same layer."""
        self.copies = [c for c in self.copies if c[:2] != (layer, to_fixed)]
        self.copies.append((layer, to_fixed, copy))

    def forget(self, layer: Any) -> None:
        """Let go of a layer that was removed, which is neither of the pair."""
        if self.alignment.layer is layer:
            self.alignment = replace(self.alignment, layer=None)
        self.copies = [c for c in self.copies if layer is not c[0] and layer is not c[2]]


class PairResults:
    """The results of all pairs."""

    def __init__(self) -> None:
        self._all: list[PairResult] = []

    def __iter__(self) -> Iterator[PairResult]:
        return iter(self._all)

    def of(self, fixed: Any, moving: Any) -> list[PairResult]:
        """Return the results of a pair, the oldest first."""
        return [result for result in self._all if result.is_of(fixed, moving)]

    def add(self, result: PairResult) -> None:
        """Keep a result."""
        self._all.append(result)

    def drop(self, result: PairResult) -> None:
        """Let go of a result."""
        self._all.remove(result)

    def forget(self, layer: Any) -> None:
        """Let go of a layer that was removed, and of all results of its pairs."""
        self._all = [x for x in self._all if x.fixed is not layer and x.moving is not layer]
        for result in self._all:
            result.forget(layer)

    def clear(self) -> None:
        """Let go of everything."""
        self._all = []
