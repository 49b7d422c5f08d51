"""Model cards: what a model is, what it was trained on, its scores and its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tomochrome.training.config import TrainingConfig

_NETWORK = """# {name}

**Not for diagnosis.** This network guesses the tissue of each voxel of a CT; color follows from
the guess through a palette. The luminance of a colored picture is the scanner's, never the
network's.

## What it is
A MONAI `{architecture}` ({parameters:.2f} million parameters, stored as float16) that reads, for
each slice, {channels} luminance channels: the slice through a lung, soft-tissue, bone and narrow
window, and its neighbours 3, 9 and 18 mm above and below through the soft-tissue window, on
pixels of 2 mm. It gives logits of {classes} tissues. Probabilities are softmax(logits /
{temperature:.3f}); the temperature was fitted on phantom patients held out from training. At full
resolution they are multiplied by `hu_likelihood` (how likely a voxel's HU is in each tissue, in
bins named by `hu_edges`) and renormalized. `configs/metadata.json` describes input and network as
data; nothing in the bundle is ever evaluated.

## What it was trained on
{trained_on}

Left out of all training: every other scan of the development data, among them the chest CT
angiography, the Visible Human head with its photograph, and the contrast-enhanced abdomen
`abdomen_contrast_j2k`, which is only looked at.

## How
{steps} steps of {batch} slices of {height} x {width} pixels in {minutes:.0f} minutes of wall-clock
time on a shared two-core CPU (bfloat16), AdamW {rate:g} with a cosine to zero, running mean of the
weights ({ema:g}), gradient norm at most 1. Loss: cross-entropy weighted by frequency^-{power:g}
plus {ab_weight:g} x (expected chroma error under the palette `natural` / 10). Each sample is drawn
anew: tilt, scale 0.8 to 1.3, elastic deformation, organs swelling and shrinking, HU of every
structure (any contrast phase, arteries up to far above 400 HU, each organ on its own), texture, gas
and contents of the gut, bone density, arms, couch, field of view, slice thickness, blur, noise,
streaks, volumes that end nearby. Never mirrored. `configs/train.json` holds the settings,
`docs/log.csv` the course.

Again: `tomochrome train {name} --data DIR --out RUN`.
{notes}
## Scores
{scores}

Measured by `python benchmarks/color_accuracy.py --data DIR`. Errors are mean distances in (a*, b*);
`... to transfer` divides by the lookup curve's error, `... to grey` by that of a picture without
color. The held-out phantoms are other patients from the same generator as the training's: expect
less on real scans. The chest angiography was never trained on, but it was looked at when the
dense boluses of the augmentation and the width of the vessels' likelihood were chosen.

## Limits
- Trained on one real scan and on procedural patients: children, operated or deformed anatomy,
  large tumours and rare positions were never seen; neither were animals.
- Esophagus counts as stomach, glands and lymph nodes as muscle, the breast's gland and thymus as
  fat, the optic nerve as brain.
- Small organs (adrenal, pancreas, gallbladder without fat around it) and collapsed gut are often
  missed; what is uncertain fades towards grey.
- Metal streaks, a very small field of view and a single slice without neighbours cost accuracy.
- It shows what an organ usually looks like, never whether it is healthy.

Licence: BSD-3-Clause (see `LICENSE`). The labelled CT is from wasserth/TotalSegmentator
(Apache-2.0); no part of it is contained here.
"""

_TRANSFER = """# transfer-function

**Not for diagnosis.** The best lookup curve from Hounsfield units to color, without a network: for
each HU bin the share of each tissue among the voxels inside a body, counted on the very samples
that the network `tissue` is trained on. No curve can do better on them. It is the baseline in
every comparison, and a fallback that always works.

- Weights: `probability`, float32 (HU bins, tissues); bins (`hu_edges`) and tissue names (`classes`)
  are in `configs/metadata.json`.
- Fitted on: {trained_on}
- Scores: {scores}
- Limits: tissues of the same HU share one mixed color; it cannot tell liver from spleen, nor a
  vessel full of contrast agent from bone.

Licence: BSD-3-Clause (see `LICENSE`).
"""


def summarize(figures: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the figures of ``benchmarks/color_accuracy.py`` that go on the two cards.

    Parameters
    ----------
    figures
        What the benchmark wrote as JSON.

    Returns
    -------
    tuple of dict
        Scores of the network and of the lookup curve. Errors are mean distances in (a*, b*);
        ratios are to the lookup curve's error or to a grey picture's.
    """
    network: dict[str, Any] = {}
    transfer: dict[str, Any] = {}
    phantoms = figures["phantoms"]
    for group, title in (("all", "held_out_phantoms"), ("abdomen", "held_out_abdomen_phantoms")):
        found = phantoms[group]
        network[title] = {
            "chroma_error": found["network"]["voxel_error"],
            "chroma_error_by_organ": found["network"]["organ_error"],
            **{key: found[key] for key in _RATIOS},
        }
        transfer[title] = {
            "chroma_error": found["transfer"]["voxel_error"],
            "chroma_error_by_organ": found["transfer"]["organ_error"],
        }
    organs = phantoms["abdomen"]["network"]["organs"]
    network["held_out_abdomen_phantoms_right"] = {
        name: organs[name]["right"] for name in _SHOWN if name in organs
    }
    network["colored_outside_the_body"] = phantoms["colored_outside_body"]["network"]
    network["flicker_of_chroma_where_the_ct_is_still"] = phantoms["flicker"]["network"][
        "chroma_where_still"
    ]
    if "chest_angiography" in figures:
        found = figures["chest_angiography"]
        network["real_chest_angiography_error_to_transfer"] = {
            "heart": found["heart_error_to_transfer"],
            "pulmonary_artery": found["vessel_error_to_transfer"],
        }
        transfer["real_chest_angiography_chroma_error"] = found["transfer"]["voxel_error"]
    if "head_photograph" in figures:
        found = figures["head_photograph"]
        network["real_head_chroma_error_against_photograph"] = dict(found)
        transfer["real_head_chroma_error_against_photograph"] = found["transfer"]
    return network, transfer


_RATIOS = (
    "organ_error_to_transfer",
    "organ_error_to_grey",
    "voxel_error_to_transfer",
    "voxel_error_to_grey",
)
_SHOWN = ("liver", "spleen", "kidney", "stomach", "pancreas", "gallbladder", "bowel", "vessel")


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _figures(scores: Mapping[str, Any]) -> str:
    rows = []
    for key, value in scores.items():
        name = key.replace("_", " ")
        if isinstance(value, Mapping):
            inner = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in value.items())
            rows.append(f"{name}: {inner}")
        else:
            rows.append(f"{name}: {value}")
    return _bullets(rows)


def network_card(
    config: TrainingConfig,
    trained_on: Sequence[str],
    scores: Mapping[str, Any],
    temperature: float,
    net: torch.nn.Module,
    log: Sequence[str],
    notes: Sequence[str] = (),
) -> str:
    """Return the card of a network; ``log`` are the lines of its run's CSV."""
    step, seconds = (log[-1].split(",")[:2]) if len(log) > 1 else ("0", "0")
    return _NETWORK.format(
        name=config.name,
        architecture=config.network["name"],
        parameters=sum(p.numel() for p in net.parameters()) / 1e6,
        channels=config.network["in_channels"],
        classes=config.network["out_channels"],
        temperature=temperature,
        trained_on=_bullets(trained_on),
        steps=step,
        batch=config.batch,
        height=config.shape[0],
        width=config.shape[1],
        minutes=float(seconds) / 60,
        rate=config.learning_rate,
        ema=config.ema,
        power=config.frequency_power,
        ab_weight=config.ab_weight,
        scores=_figures(scores),
        notes="".join(f"\n{note}\n" for note in notes),
    )


def transfer_card(trained_on: Sequence[str], scores: Mapping[str, Any]) -> str:
    """Return the card of the lookup curve."""
    return _TRANSFER.format(
        trained_on="; ".join(trained_on),
        scores=_figures(scores).replace("\n", "\n  ") or "beside the network's in its card",
    )
