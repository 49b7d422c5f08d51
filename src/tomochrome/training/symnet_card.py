"""The model card of a registration network: what it is, has seen, scores, and cannot do."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tomochrome.training.symnet_config import SymNetConfig

_CARD = """# {name}

**Not for diagnosis.** This network says where two volumes have to move to meet half-way. Its answer
is the start of a registration, which refinement then improves on the pair itself; look at the
checkerboard and at the measures before a result is trusted.

## What it is
A `SymNet` after Mok and Chung (CVPR 2020): one U-Net over the pair, two heads with softsign, a
velocity for each image ({parameters:.2f} million parameters, channels {channels}, stored as
float16). It reads both images at half the resolution of the working grid, 0 to 1 (HU by fixed
knots, anything else by its percentiles), already aligned by an affine map, and gives velocities at
half of that, up to {reach:g} of their voxels. Unlike the published decoder this one ends at half
resolution, and unlike the published network it looks more than once: on a grid twice as coarse (of
volumes large enough), {passes} time(s) on its own, and twice as fine (of small volumes). Each look
sees both images warped as far as they have come, and its answer is added to the last. Both orders
of the images are predicted and averaged, so that exchanging them exchanges the answer exactly.
`configs/metadata.json` describes the network as data; nothing in the bundle is ever evaluated.

## What it was trained on
{trained_on}

It has **never seen a real pair** (two scans of one patient, or of two), never MR, and of real scans
only the CT named above, each against a warped copy of itself. Left out of all training:
`abdomen_3mm`, both brains (`brain_a`, `brain_b`), the contrast-enhanced abdomen
`abdomen_contrast_j2k`, and everything else of the development data.

## How
{steps} steps of {batch} pair(s) in {minutes:.0f} minutes of wall-clock time on one core of a shared
two-core CPU (bfloat16), AdamW {rate:g} along a cosine, gradient norm at most 1, running mean of the
weights ({ema:g}); grids of {shape} voxels, velocities of {low:g} to {high:g} voxels of half the
grid{opening}. Looks after the first are practised on what the network itself found before, through
which nothing is learned. About a third of the pairs are random shapes of random contrast
(SynthMorph), half are phantoms (one seen through two deformations, or two of one region), the rest
real CT; contrast, noise and bias differ between the two. Loss: 1 - local correlation of hidden
twins of one contrast (at both ends and half-way) + {truth:g} x distance to the true deformation
where it is known + {roughness:g} x roughness + {imbalance:g} x imbalance of the halves +
{folds:g} x small Jacobians. `configs/train.json` holds the settings, `docs/log.csv` the course.

Again: `tomochrome train {name} --data DIR --out RUN`.
{notes}
## Scores
{scores}

Shares are of the mean length of the true deformation in the body, and of the network alone:
refinement comes after it. Phantoms and shapes are drawn as in training, from patients held out of
it; the CT and the brains were never trained on, but they were looked at when it was chosen how
often, and how finely, the network looks.

## Limits
- The network alone leaves a good part of a deformation; it is meant to be refined.
- Displacements beyond a few voxels of its grid are not found: align affinely first.
- Trained on adult procedural anatomy: children, operated or grossly deformed bodies, large
  tumours were never seen. Sliding organs and tissue that is in one image only (a resection, a
  new lesion) break the assumption that each point has a partner.
- Nothing here measures how well anatomy matches: similarity can rise where anatomy does not.
"""


def _lines(scores: Mapping[str, Any]) -> str:
    rows = []
    for key, value in scores.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in value.items())
        rows.append(f"- {key.replace('_', ' ')}: {value}")
    return "\n".join(rows) or "- not measured yet"


def _opening(config: SymNetConfig) -> str:
    part = config.opening
    if part is None:
        return ""
    shape = " x ".join(map(str, part.shape))
    return (
        f". The first {100 * part.share:.0f} % of the time: {shape} voxels, {part.sizes[0]:g} to "
        f"{part.sizes[1]:g}, a single look"
    )


def symnet_card(
    config: SymNetConfig,
    trained_on: Sequence[str],
    scores: Mapping[str, Any],
    net: torch.nn.Module,
    log: Sequence[str],
    notes: Sequence[str] = (),
) -> str:
    """Return the card; ``log`` are the lines of the run's CSV."""
    step, seconds = (log[-1].split(",")[:2]) if len(log) > 1 else ("0", "0")
    text = _CARD.format(
        name=config.name,
        parameters=sum(p.numel() for p in net.parameters()) / 1e6,
        channels=", ".join(map(str, config.network["channels"])),
        reach=config.network.get("reach", 16.0),
        passes=config.network.get("passes", 1),
        opening=_opening(config),
        trained_on="\n".join(f"- {line}" for line in trained_on),
        steps=step,
        batch=config.batch,
        minutes=float(seconds) / 60,
        rate=config.learning_rate,
        ema=config.ema,
        shape=" x ".join(map(str, config.shape)),
        low=config.sizes[0],
        high=config.sizes[1],
        truth=config.truth,
        roughness=config.roughness,
        imbalance=config.imbalance,
        folds=config.folds,
        notes="".join(f"\n{note}\n" for note in notes),
        scores=_lines(scores),
    )
    return "\n\n".join(_refilled(part) for part in text.strip().split("\n\n")) + "\n"


def _refilled(paragraph: str) -> str:
    """Break a paragraph's lines anew, headings and list items each on their own."""
    items: list[str] = []
    for line in paragraph.splitlines():
        if items and not items[-1].startswith("#") and not line.startswith(("- ", "#")):
            items[-1] += " " + line.strip()
        else:
            items.append(line)
    return "\n".join(
        textwrap.fill(
            item,
            10_000 if item.startswith("#") else 100,
            subsequent_indent="  " if item.startswith("- ") else "",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for item in items
        if item.strip()
    )
