from __future__ import annotations

from ctphantom.structures import N_STRUCTURES, Structure


def test_indices_run_without_gaps_and_fit_uint8() -> None:
    assert [int(s) for s in Structure] == list(range(N_STRUCTURES))
    assert N_STRUCTURES <= 255
    assert Structure.OUTSIDE_AIR == 0
