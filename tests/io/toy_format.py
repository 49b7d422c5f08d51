"""A toy format of image files, registered through the public protocol: a text and bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tomochrome.io.image_file import ImageFile
from tomochrome.io.image_formats import ImageFormat, register


def open_toy(path: Path) -> ImageFile:
    """Return the header of a file such as ``TOY 4 5 6`` (z, y, x), with int16 behind the line."""
    with path.open("rb") as file:
        line = file.readline(100)
    shape = tuple(int(word) for word in line.split()[1:])

    def read(first, count):
        yield np.fromfile(path, "<i2", int(np.prod(shape)), offset=len(line)).reshape(shape)

    return ImageFile(path, "toy", np.dtype("<i2"), shape, np.diag([3.0, 2.0, 1.0, 1.0]), read)


register(ImageFormat("toy", lambda head, name: head.startswith(b"TOY "), open_toy))
