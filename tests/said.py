"""What a program said, without the digits that chance put there."""

from __future__ import annotations

import re

_CHANCE = re.compile(r"2\.25\.\d+|0x[0-9a-f]+|\b[0-9a-f]{16,}\b")


def without_chance(text: str) -> str:
    """Leave out random UIDs, hashes and addresses: any four digits turn up in them sometimes."""
    return _CHANCE.sub("", text)
