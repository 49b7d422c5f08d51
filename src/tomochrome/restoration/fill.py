"""Filling of defects, and finding them, slice by slice with the networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from tomochrome.bundles import (
    DEFECTS,
    METAL_MODEL,
    RESTORATION,
    ModelCard,
    Purpose,
    find_card,
    fitted,
    load_state,
    reading_metadata,
)
from tomochrome.restoration.classical import interpolate_slices, without_network
from tomochrome.restoration.defects import WHOLE, MetalReduction, Part, code_of
from tomochrome.restoration.dose import noise_of_slice
from tomochrome.restoration.networks import (
    MULTIPLE,
    STEP_HU,
    build_network,
    filler_input,
    finder_input,
    uses_nnpack,
)
from tomochrome.restoration.noise import (
    USUAL_NOISE_HU,
    as_measured_on_average,
    network_share,
    noise_map,
    non_local_means,
)
from tomochrome.restoration.rules import (
    air_of_scan,
    reduce_metal,
    streak_evidence,
    streaks_in_air,
)
from tomochrome.restoration.simulation import AIR_HU, BODY_HU, MAX_HU, MIN_CHANGE_HU
from tomochrome.runtime import ThreadPool, check, choose_device, report
from tomochrome.runtime.device import compute_threads, kernel_threads

FINDER: Final = "defects"  #: name of the model that finds defects
MIN_PROBABILITY: Final = 0.35  #: of a streak, with the best Dice on phantoms of the training
_ODDS: Final = (1.44, 0.75, -0.65, 2.41, 0.21, -11.2)
"""Weights for the log odds of a streak, by logistic regression on the same phantoms: of
`streak_evidence`, of the network's log odds of a defect, and a constant."""
_MIN_IN_AIR_HU: Final = 8.0
"""Mean of the streaks in the air of a slice from which the air itself tells where they are; below,
a cushion that changes along the patient could be taken for them."""
_CUBIC_SHARE: Final = 0.4
"""Of what cubic interpolation of missing slices adds to the linear one that the network sees; with
the least error on phantoms of the training."""
_OPENED_PX: Final = 3  # without which noise in air counts as the patient
_MARGIN: Final = 40  # pixels that a network sees around a defect
_LARGE_PX: Final = 100_000  # of a defect, which shows the network enough itself
_LARGE_MARGIN: Final = 16
_MAX_AT_ONCE: Final = 8  # slices, for each of which a network needs memory
_FILTER_PX: Final = 11  # around noise for `non_local_means` and what follows it


def fill(
    hu: NDArray[np.float32],
    code: NDArray[np.uint8],
    spacing: tuple[float, float, float],
    model: str | None,
    device: str = "auto",
    reduction: MetalReduction | None = None,
    twice: bool = True,
) -> NDArray[np.float32]:
    """Fill defects, with a network unless there is none.

    Slices with metal are filled twice: the second time from the interpolation of the sinogram with
    the first filling as prior, as Zhang and Yu (2018), "Convolutional neural network based metal
    artifact reduction in X-ray computed tomography", IEEE Trans. Med. Imaging 37:1370.

    Parameters
    ----------
    hu
        HU (z, y, x) of axial slices.
    code
        The defects, uint8 (z, y, x), as in `DefectMap`.
    spacing
        Spacing (z, y, x) in mm.
    model
        Name of a restoration model, or the folder of its bundle. None for `without_network`, with
        `non_local_means` where there is noise.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    reduction
        What finding the defects gave already.
    twice
        False to fill slices with metal once.

    Returns
    -------
    ndarray
        HU, float32 (z, y, x), changed only where there is a defect. Metal stays as measured, and
        so does noise far from the patient.

    Raises
    ------
    ModelError
        If there is no such model, or it is damaged.
    Cancelled
        If the user cancelled.
    """
    place = choose_device(device)
    net = None if model is None else _network(model, RESTORATION)[0].to(place)
    metallic = (code == code_of("metal")).any(axis=(1, 2))
    of_metal = net
    if model is not None and metallic.any():
        other = _network(model, RESTORATION)[1].metadata.get(METAL_MODEL, model)
        of_metal = _network(str(other), RESTORATION)[0].to(place)
    if reduction is None and metallic.any():
        reduction = reduce_metal(hu, metallic, spacing[2])
    filled = without_network(hu, code, spacing, reduction)
    out = filled.copy()
    missing = (code == code_of("missing")).all(axis=(1, 2))
    cubic = interpolate_slices(filled, missing, 3) - filled if missing.any() else None
    if net is None:
        code = np.where(code == code_of("noise"), code, np.uint8(0))

    def fill_slice(z: int) -> None:
        where = _filled_where(code[z], filled[z])
        if not where.any():
            return
        values = filled[z].copy()
        share = where.astype(np.float32)
        noisy = where & (code[z] == code_of("noise"))
        near = _around(noisy, _FILTER_PX) if noisy.any() else None
        if near is not None:
            sd, usual = (part[near] for part in _noise(filled[z], spacing[2]))
            smooth = non_local_means(filled, z, sd, near)
            np.copyto(values[near], smooth, where=noisy[near])
            np.copyto(share[near], network_share(sd, smooth), where=noisy[near])
        own = of_metal if metallic[z] else net
        if own is not None and share.any():
            part = _around(share > 0)
            images = torch.from_numpy(filler_input(hu, filled, code, z, part))
            change = _outputs(own, images, place)[0] * STEP_HU
            values[part] += share[part] * (filled[z][part] + change - values[part])
            if cubic is not None:
                values += _CUBIC_SHARE * cubic[z]
        if near is not None:
            even = as_measured_on_average(values[near], filled[z][near], sd, usual)
            np.copyto(values[near], even, where=noisy[near])
        if reduction is not None and metallic.any():
            where &= ~reduction.metal[z]
        out[z][where] = np.clip(values, AIR_HU, MAX_HU)[where]

    if twice and net is not None and metallic.any():
        _for_each(fill_slice, np.flatnonzero(metallic), place, "estimating slices without metal")
        filled = without_network(hu, code, spacing, reduction, prior=out)
    _for_each(fill_slice, np.flatnonzero(code.any(axis=(1, 2))), place, "filling defects")
    return out


def _for_each(
    work: Callable[[int], None], slices: NDArray[np.intp], place: torch.device, stage: str
) -> None:
    """Call a function for each slice, on a CPU several at a time.

    Within a slice many steps use one core only; and between the others torch's threads would wait
    for each other.
    """
    at_once = min(kernel_threads(), _MAX_AT_ONCE, len(slices)) if place.type == "cpu" else 1
    if not at_once:
        return

    def checked(z: int) -> None:
        check()
        work(z)

    report(0, len(slices), stage)
    with compute_threads(kernel_threads() // at_once), ThreadPool(at_once) as pool:
        for done, _ in enumerate(pool.map(checked, map(int, slices)), 1):
            report(done, len(slices), stage)


def _noise(
    hu: NDArray[np.float32], pixel_mm: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the standard deviation of the noise of a slice, and what it is at the full dose.

    Both follow from the paths of the rays and the dose; where that cannot be told, as there is no
    even tissue, the noise itself is mapped.
    """
    noise = noise_of_slice(hu, pixel_mm)
    return noise or (noise_map(hu), np.full(hu.shape, USUAL_NOISE_HU, np.float32))


def confirm_streaks(
    hu: NDArray[np.float32],
    code: NDArray[np.uint8],
    reduction: MetalReduction,
    pixel_mm: float,
    device: str = "auto",
) -> None:
    """Keep streaks of metal only where the interpolation and the finder make them probable.

    Strong streaks in air are where it differs from the air of other slices.

    Parameters
    ----------
    hu
        HU (z, y, x) of axial slices.
    code
        The defects, uint8 (z, y, x), as in `DefectMap`; changed in place. Metal itself stays.
    reduction
        What the interpolation of the sinogram makes of the slices.
    pixel_mm
        Size of a pixel, which is square.
    device
        As for `fill`.
    """
    streak, noise = code_of("metal"), code_of("noise")
    slices = np.flatnonzero((code == streak).any(axis=(1, 2)))
    air = air_of_scan(reduction)

    def confirm(z: int) -> None:
        judged = (code[z] == streak) & ~reduction.metal[z]
        if not judged.any():
            return
        otherwise = np.uint8(noise if (code[z] == noise).any() else 0)
        in_air, change = streaks_in_air(reduction, z, air)
        if in_air.any() and change[in_air].mean() >= _MIN_IN_AIR_HU:
            free = in_air & np.isin(code[z], (0, streak, noise))
            code[z][free] = np.where(change[free] >= MIN_CHANGE_HU, np.uint8(streak), otherwise)
            judged &= ~in_air
        seen = np.zeros(judged.shape, np.float32)  # without evidence far from the patient
        near = judged & _around_patient(hu[z])
        if near.any():
            part = _around(near)
            no_defect = np.clip(probabilities(hu, z, device, part)[0], 1e-3, 1 - 1e-3)
            seen[part] = np.log(1 / no_defect - 1)
        evidence = (*streak_evidence(reduction, z, pixel_mm, change[in_air]), seen)
        odds = _ODDS[-1] + sum(w * values for w, values in zip(_ODDS[:-1], evidence, strict=True))
        improbable = odds < np.log(MIN_PROBABILITY / (1 - MIN_PROBABILITY))
        code[z][judged & improbable] = otherwise

    _for_each(confirm, slices, choose_device(device), "finding defects")


def probabilities(
    hu: NDArray[np.float32], z: int, device: str = "auto", part: Part = WHOLE
) -> NDArray[np.float32]:
    """Return the probability of each kind of defect in a slice, as the finder sees it.

    Parameters
    ----------
    hu
        HU (z, y, x) of axial slices.
    z
        The slice.
    device
        As for `fill`.
    part
        Rows and columns of it.

    Returns
    -------
    ndarray
        float32 (kinds + 1, y, x) of the part, calibrated; the first is for no defect.
    """
    net, card = _network(FINDER, DEFECTS)
    place = choose_device(device)
    logits = _outputs(net.to(place), torch.from_numpy(finder_input(hu, z, part)), place)
    scaled = np.exp((logits - logits.max(axis=0)) / float(card.metadata["temperature"]))
    shares: NDArray[np.float32] = scaled / scaled.sum(axis=0)
    return shares


def _outputs(
    net: torch.nn.Module, images: torch.Tensor, place: torch.device
) -> NDArray[np.float32]:
    """Return the outputs (channels, y, x) for the input of a slice of any size."""
    height, width = images.shape[1:]
    pad = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
    padded = functional.pad(images[None], pad, mode="replicate")
    padded = padded.to(place, memory_format=_memory_format())
    with torch.inference_mode():
        raw: NDArray[np.float32] = net(padded)[0].float().cpu().numpy()
    return raw[:, :height, :width]


def _filled_where(code: NDArray[np.uint8], hu: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where a network fills a slice (y, x).

    Noise and streaks only around the patient, which saves time; rings not at all, as what remains
    after their subtraction is less than after the network.
    """
    where = (code > 0) & (code != code_of("ring"))
    everywhere = (code == code_of("noise")) | (code == code_of("metal"))
    if everywhere.any():
        where &= _around_patient(hu) | ~everywhere
    return where


def _around_patient(hu: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the box around the patient in a slice (y, x), booleans (y, x)."""
    body = ndimage.binary_opening(hu > BODY_HU, iterations=_OPENED_PX)
    around = np.zeros(hu.shape, np.bool_)
    if body.any():
        around[_around(body, _MARGIN)] = True
    return around


def _around(damaged: NDArray[np.bool_], margin: int | None = None) -> Part:
    """Return the rows and columns with the damaged pixels (y, x) and a margin."""
    if margin is None:
        margin = _MARGIN if np.count_nonzero(damaged) < _LARGE_PX else _LARGE_MARGIN
    rows, columns = ndimage.find_objects(damaged.astype(np.uint8))[0]
    first, second = (
        slice(max(side.start - margin, 0), min(side.stop + margin, size))
        for side, size in zip((rows, columns), damaged.shape, strict=True)
    )
    return first, second


@lru_cache(4)
def _network(model: str, purpose: Purpose) -> tuple[torch.nn.Module, ModelCard]:
    card = find_card(model, purpose)
    with reading_metadata(card.path):
        net = build_network(card.metadata.get("network", {}))
    net = fitted(net, load_state(card), card)
    return net.to(memory_format=_memory_format()), card  # type: ignore[call-overload]


def _memory_format() -> torch.memory_format:
    """Return the layout in which a CPU evaluates networks fastest."""
    return torch.contiguous_format if uses_nnpack() else torch.channels_last
