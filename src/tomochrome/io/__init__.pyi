from .listing import find
from .reading import read
from .series_item import Found, Item, Skipped
from .writing import check_fits, check_output, write

__all__ = ["Found", "Item", "Skipped", "check_fits", "check_output", "find", "read", "write"]
