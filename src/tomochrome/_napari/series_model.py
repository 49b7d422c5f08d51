"""The Qt model of the series list: sorted and filtered rows with their previews."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QAbstractListModel, QModelIndex, Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QWidget

from tomochrome._napari import wording
from tomochrome._napari.series_order import (
    Identities,
    Order,
    Row,
    arranged,
    can_be_opened,
    shown_verdict,
)

if TYPE_CHECKING:
    from tomochrome.io import Item

_NO_INDEX = QModelIndex()


class Role(IntEnum):
    """Data roles of the model in addition to those of Qt."""

    ITEM = int(Qt.ItemDataRole.UserRole) + 1
    PICTURE = ITEM + 1
    OPENED = ITEM + 2
    HEADING = ITEM + 3


class SeriesModel(QAbstractListModel):
    """The items found, in groups; previews are added later, one by one."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._all: list[Item] = []
        self._rows: list[Row] = []
        self._order: Order = "slices"
        self._search = ""
        self._identities: Identities = {}
        # Keyed by item, because sorting changes the rows.
        self._pictures: dict[Item, QPixmap] = {}
        self._opened: set[Item] = set()

    def show(self, items: Sequence[Item]) -> None:
        """List these items, replacing the previous ones."""
        self._all = list(items)
        self._pictures, self._opened, self._identities = {}, set(), {}
        self._arrange()

    def sort_by(self, order: Order) -> None:
        """Sort the items of each group."""
        self._order = order
        self._arrange()

    def search(self, text: str) -> None:
        """List only items that match the search words."""
        self._search = text
        self._arrange()

    def show_identities(self, identities: Identities) -> None:
        """Show the patients' identities in the headings; an empty mapping hides them."""
        self._identities = identities
        self._arrange()

    def _arrange(self) -> None:
        self.beginResetModel()
        self._rows = arranged(self._all, self._order, self._search, self._identities)
        self.endResetModel()

    @property
    def items(self) -> list[Item]:
        """The items that match the search, in the order of the rows."""
        return [row.item for row in self._rows]

    @property
    def found(self) -> Sequence[Item]:
        """All items, including those that do not match."""
        return self._all

    def set_picture(self, item: Item, grey: NDArray[np.uint8]) -> None:
        """Show the preview of an item, uint8 (y, x)."""
        height, width = grey.shape
        image = QImage(
            np.ascontiguousarray(grey).tobytes(), width, height, width,
            QImage.Format.Format_Grayscale8,
        )  # fmt: skip
        self._pictures[item] = QPixmap.fromImage(image)
        self._changed(item)

    def without_picture(self) -> list[Item]:
        """Return the items without a preview, those currently listed first."""
        order = dict.fromkeys((*self.items, *self._all))
        return [item for item in order if item not in self._pictures]

    def mark_opened(self, item: Item) -> None:
        """Mark an item as opened."""
        self._opened.add(item)
        self._changed(item)

    def rowCount(self, parent: QModelIndex = _NO_INDEX) -> int:  # noqa: N802 - Qt's name
        """Return the number of rows."""
        return 0 if parent.isValid() else len(self._rows)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return the data of a row for a role of Qt or of `Role`."""
        if not index.isValid():
            return None
        row = self._rows[index.row()]
        item = row.item
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            return wording.title_of(item)
        if role == Qt.ItemDataRole.ToolTipRole:
            return tool_tip(item)
        known = {
            Role.ITEM: item,
            Role.PICTURE: self._pictures.get(item),
            Role.OPENED: item in self._opened,
            Role.HEADING: row.heading,
        }
        return known.get(role)  # type: ignore[call-overload]

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """Make only items that can be opened selectable."""
        if index.isValid() and can_be_opened(self._rows[index.row()].item):
            return Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        return Qt.ItemFlag.NoItemFlags

    def _changed(self, item: Item) -> None:
        for number, row in enumerate(self._rows):
            if row.item is item:
                index = self.index(number)
                self.dataChanged.emit(index, index)


def facts(item: Item) -> list[str]:
    """Return the lines below the title: modality and size, and spacing."""
    return [
        f"{wording.modality_of(item.modality)} · {wording.size_of(item.shape, item.present)}",
        wording.spacing_of(item.spacing),
    ]


def remark(item: Item) -> str:
    """Return the warnings about an item, or else the explanation of its verdict."""
    slices = item.shape[0] if item.shape else None
    warnings = " ".join(wording.remarks(item))
    return warnings or wording.describe_verdict(item.verdict, (), slices)


def tool_tip(item: Item) -> str:
    """Return the tooltip of an item, with one line for each fact and warning."""
    remarks = wording.remarks(item) or (remark(item),)
    verdict = wording.VERDICTS[shown_verdict(item)]
    lines = [wording.title_of(item), *facts(item), wording.number_of(item), verdict, *remarks]
    return "\n".join(line for line in lines if line)
