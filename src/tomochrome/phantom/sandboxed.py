"""Phantom CTs made in a child process, so that a window stays responsive meanwhile.

Compiling the kernels, the first time, holds Python's global interpreter lock for seconds.
"""

from __future__ import annotations

from typing import Any, Final

from tomochrome.runtime.sandbox import call
from tomochrome.volume import Provenance, Volume

_MEMORY: Final = 16 << 30  # address space; the compiler reserves much more than it uses
_SECONDS: Final = 600.0


def make_ct(region: str, **options: Any) -> Volume:
    """Return the CT of a phantom patient, made in a child process.

    Parameters
    ----------
    region, **options
        As for `tomochrome.phantom.make_patient`.

    Raises
    ------
    SandboxError
        If the child process fails.
    TomochromeError
        As `tomochrome.phantom.make_patient`; also if the task was cancelled.
    """
    voxels, affine, source, history = call(
        _parts, region, options, subject="the sample", memory=_MEMORY, seconds=_SECONDS
    )
    provenance = Provenance(
        source=source, kind="phantom", modality="CT", history=tuple(map(str, history))
    )
    return Volume(voxels, affine, "HU", provenance)


def _parts(region: str, options: dict[str, Any]) -> tuple[Any, Any, str, list[str]]:
    """Make the CT, in the child: only arrays and plain values can be returned."""
    from tomochrome.phantom import make_patient

    ct = make_patient(region=region, **options).ct
    return ct.voxels, ct.affine, ct.provenance.source, list(ct.provenance.history)
