"""What 150 epochs do to the network of the thesis, `scim`, on photographs of sections alone.

Usage::

    python benchmarks/epochs.py --data ../shared/data --picture docs/pictures/epochs.svg

The network gets the lightness of a photograph and learns its (a*, b*), as in the thesis: tanh, mean
squared error of (a*, b*) / 128, Adam with a learning rate of 0.0003, batches of 4, photographs as
they are, not augmented. After each epoch loss, accuracy and CIEDE2000 are measured on the
photographs that it learns from and on those that are left out (see
`tomochrome.training.sections.split_sections`). Accuracy is that of Keras for two outputs: how often
the larger of a* and b* is the same. CIEDE2000 is on the pixels of the network, at the lightness of
the photograph.
"""

from __future__ import annotations

import argparse
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
import torch

from tomochrome.color.perception import ciede2000
from tomochrome.colorization.color_heads import AB_SCALE, make_head
from tomochrome.colorization.network_builder import build_network
from tomochrome.training.color_data import SECTIONS
from tomochrome.training.color_samples import UNKNOWN, SectionSamples, stacked
from tomochrome.training.sections import read_clean_sections, split_sections
from tomochrome.training.task_interface import load_config
from tomochrome.training.tasks.color_task import outputs

SHAPE: Final = (224, 288)
BODY_PIXELS: Final = 256
BATCH: Final = 4
WIDE: Final = 300
HIGH: Final = 200
COLORS: Final = {"learned": "#06c", "left out": "#d80"}
Figures = tuple[float, float, float]
Curves = dict[str, list[Figures]]


def main() -> None:
    """Train, print loss and accuracy, and draw them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the photographs")
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--picture", type=Path, help="SVG file to write")
    options = parser.parse_args()
    curves = train(options.data, options.epochs)
    for name, curve in curves.items():
        for k, quantity in ((0, "loss"), (2, "CIEDE2000")):
            values = [figures[k] for figures in curve]
            best = values.index(min(values))
            print(
                f"{name}: least {quantity} {values[best]:.5f} (accuracy {curve[best][1]:.3f}) "
                f"after epoch {best + 1}, at the end {values[-1]:.5f} ({curve[-1][1]:.3f})"
            )
    if options.picture is not None:
        options.picture.write_text(drawing(curves), encoding="utf-8")


def train(data: Path, epochs: int) -> Curves:
    """Return the figures after each epoch on learned and on left-out photographs."""
    sections = read_clean_sections(data / SECTIONS)
    parts = split_sections(sections)
    sets: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {name: [] for name in COLORS}
    for section, part in zip(sections, parts, strict=True):
        sample = SectionSamples([section], 1, BODY_PIXELS, SHAPE, 0, augment=False)[0]
        image, truth = (torch.from_numpy(array) for array in stacked([sample]))
        sets["learned" if part == "learn" else "left out"].append((image, truth))
    torch.manual_seed(1)
    config = load_config("scim")
    net = build_network(config.network).to(memory_format=torch.channels_last)
    head = make_head(config.head)
    optimizer = torch.optim.Adam(net.parameters(), 3e-4)

    def predicted(images: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        ab, known = head.colors(outputs(net, images)), truth[:, 2] > UNKNOWN
        return ab, ((ab - truth[:, :2]) / AB_SCALE).square().mean(1)[known].mean()

    def measured(images: torch.Tensor, truth: torch.Tensor) -> Figures:
        ab, loss = predicted(images, truth)
        known = truth[:, 2] > UNKNOWN
        right = (ab.argmax(1) == truth[:, :2].argmax(1))[known].float().mean()
        lab = [
            torch.cat([100 * images[:, :1], colors], 1).movedim(1, -1)[known].numpy()
            for colors in (ab, truth[:, :2])
        ]
        return float(loss), float(right), float(np.mean(ciede2000(*lab)))

    curves: Curves = {name: [] for name in sets}
    for epoch in range(epochs):
        order = torch.randperm(len(sets["learned"]))
        for chosen in order.split(BATCH):
            images, truths = zip(*(sets["learned"][int(k)] for k in chosen), strict=True)
            _, loss = predicted(torch.cat(images), torch.cat(truths))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.inference_mode():
            for name, pictures in sets.items():
                loss, right, error = np.mean([measured(*picture) for picture in pictures], axis=0)
                curves[name].append((float(loss), float(right), float(error)))
        print(epoch + 1, {name: curve[-1] for name, curve in curves.items()}, flush=True)
    return curves


def drawing(curves: Curves) -> str:
    """Return an SVG of loss, accuracy and CIEDE2000 over epochs."""
    wide = 3 * WIDE + 275
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {HIGH + 60}" '
        f'font-family="sans-serif" font-size="13"><rect width="{wide}" height="{HIGH + 60}" '
        'fill="#fff"/>'
    ]
    for k, quantity in enumerate(("loss", "accuracy", "CIEDE2000")):
        lines = {name: [figures[k] for figures in curve] for name, curve in curves.items()}
        low, high = 0.0, 1.0 if quantity == "accuracy" else sorted(chain(*lines.values()))[-4]
        left = 55 + k * (WIDE + 75)
        parts.append(
            f'<path d="M{left} 25v{HIGH}h{WIDE}" stroke="#333" fill="none"/>'
            f'<text x="{left}" y="16">{quantity}</text>'
            f'<text x="{left - 50}" y="34">{high:.2g}</text>'
            f'<text x="{left - 50}" y="{HIGH + 25}">{low:.2g}</text>'
            f'<text x="{left + WIDE - 80}" y="{HIGH + 45}">{len(lines["learned"])} epochs</text>'
        )
        for name, values in lines.items():
            step = WIDE / max(1, len(values) - 1)
            points = " ".join(
                f"{left + i * step:.1f},"
                f"{25 + HIGH * (1 - (min(value, high) - low) / (high - low)):.1f}"
                for i, value in enumerate(values)
            )
            parts.append(
                f'<polyline points="{points}" fill="none" stroke="{COLORS[name]}" '
                'stroke-width="2"/>'
            )
    for k, (name, color) in enumerate(COLORS.items()):
        parts.append(f'<text x="{wide - 65}" y="{40 + 20 * k}" fill="{color}">{name}</text>')
    return "".join(parts) + "</svg>\n"


if __name__ == "__main__":
    main()
