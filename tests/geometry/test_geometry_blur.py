"""A blur in slabs is the blur of the whole."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from tomochrome.errors import Cancelled
from tomochrome.geometry import blur as blur_module
from tomochrome.geometry.blur import blur
from tomochrome.runtime import Task, running


def test_a_blur_slab_by_slab_is_the_blur_of_the_whole_and_can_be_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blur_module, "_SLAB", 500)
    voxels = np.random.default_rng(0).normal(0, 500, (41, 11, 12)).astype(np.int16)
    for sigma in ((1.3, 0.0, 2.0), (0.0, 0.9, 0.7), (0.0, 0.0, 0.0)):
        whole = ndimage.gaussian_filter(voxels.astype(np.float32), sigma, mode="nearest")
        np.testing.assert_array_equal(blur(voxels, np.array(sigma)), whole)

    class Counting(Task):
        looks = 0

        @property
        def cancelled(self) -> bool:
            self.looks += 1
            return self.looks > 2

    with running(Counting()), pytest.raises(Cancelled):
        blur(voxels, np.array((1.3, 0.0, 2.0)))
