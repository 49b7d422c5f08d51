"""Evaluation of a registration network, without refinement, on held-out pairs.

The score is the share of the mean length of the true deformation in the body that the network
removes. Real scans (a CT, a pair of brains) are evaluated if the data folder has them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from tomochrome.io import read
from tomochrome.registration.align import align
from tomochrome.registration.checked_input import checked_pair
from tomochrome.registration.symmetric_network import SymNet, predict
from tomochrome.registration.validation import deform, errors_mm, random_diffeomorphism
from tomochrome.registration.velocity import pair_fields, warp
from tomochrome.registration.working_pair import make_pair
from tomochrome.runtime import check
from tomochrome.training.pairs import PairSamples, Sample

CT = "ct/abdomen_3mm.nii.gz"
BRAINS = ("registration/brain_a.nii.gz", "registration/brain_b.nii.gz")
MEANS_MM = (6.0, 9.0, 12.0)
SHRINK_BY = 2
"""Downsampling factor from the working grid to the shipped network's input."""
PAIRS = 24  # of each kind
_SEEDS = 2  # deformations of the CT to average over
_BODY_HU = -300.0
_NOISE_HU = 15.0


def measure_symnet(
    net: SymNet,
    held_out: PairSamples,
    data: Path | None = None,
) -> dict[str, Any]:
    """Evaluate a network on held-out pairs.

    Parameters
    ----------
    net
        The network.
    held_out
        Samples of held-out phantoms.
    data
        Folder with `CT` and `BRAINS`; missing files are skipped.

    Returns
    -------
    dict
        Scores for the model card.
    """
    removed = {}
    for kind, name in (("phantom", "held_out_phantoms"), ("shapes", "random_shapes")):
        if kind == "phantom" and not len(held_out.pool):
            continue
        lengths = []
        for _ in range(PAIRS):
            check()
            lengths.append(_lengths(net, held_out.draw_kind(kind)))
        after, before = np.sum(lengths, axis=0)
        removed[name] = round(float(1.0 - after / before), 3)
    scores: dict[str, Any] = {"share_of_the_deformation_removed_by_the_network_alone": removed}
    if data is not None and (data / CT).is_file():
        for mean_mm in MEANS_MM:
            check()
            share = removed_on_ct(net, data / CT, mean_mm)
            removed[f"abdomen_ct_warped_by_{mean_mm:g}_mm"] = round(share, 3)
    if data is not None and all((data / name).is_file() for name in BRAINS):
        check()
        first, second = (data / name for name in BRAINS)
        scores["ncc_of_two_brains_by_the_network_alone"] = brains(net, first, second)
    return scores


def _lengths(net: SymNet, sample: Sample) -> tuple[float, float]:
    """Return the mean length of the residual and of the true deformation in the body."""
    assert sample.truth is not None
    half = (sample.body.shape[2], sample.body.shape[3], sample.body.shape[4])
    velocities = predict(net, sample.inputs[:1], sample.inputs[1:], half, 1)
    fields = pair_fields(velocities, 6)
    both = torch.cat([fields.forward, fields.inverse])
    inside = sample.body.sum().clamp(min=1.0)
    lengths = [v.square().sum(1, keepdim=True).sqrt() for v in (both - sample.truth, sample.truth)]
    after, before = (float((length * sample.body).sum() / inside) for length in lengths)
    return after, before


def removed_on_ct(net: SymNet, scan: Path, mean_mm: float) -> float:
    """Return the share of known deformations of a real CT that the network alone removes.

    Parameters
    ----------
    net
        The network.
    scan
        A CT, which is warped and given noise to make the moving image.
    mean_mm
        Mean length of the deformations in the body in mm.
    """
    volume = read(scan)
    body = np.asarray(volume.voxels) > _BODY_HU
    after = before = 0.0
    for seed in range(_SEEDS):
        truth = random_diffeomorphism(
            volume.shape, volume.spacing, mean_mm=mean_mm, seed=seed, body=body
        )
        moving = deform(volume, truth, noise=_NOISE_HU, seed=seed)
        scans = checked_pair(volume, moving)
        alignment = align(make_pair(*scans), net, iterations=0, shrink_by=SHRINK_BY)
        identity = torch.zeros_like(truth.forward)
        left = errors_mm(alignment.fields.forward, truth.forward, volume.spacing)
        after += float(left[body].mean())
        before += float(errors_mm(identity, truth.forward, volume.spacing)[body].mean())
    return 1.0 - after / before


def brains(net: SymNet, first: Path, second: Path) -> dict[str, float]:
    """Return the correlation of two images on one grid before and after the network alone."""
    pair = make_pair(*checked_pair(read(first), read(second)))
    alignment = align(pair, net, iterations=0, shrink_by=SHRINK_BY)
    moved = warp(pair.moving, alignment.fields.forward)
    return {
        name: round(float(np.corrcoef(pair.fixed.ravel(), image.ravel())[0, 1]), 4)
        for name, image in (("before", pair.moving), ("after", moved))
    }
