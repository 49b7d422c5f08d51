"""What 150 epochs do to the network of the thesis, `scim`, on photographs of sections alone.

Usage::

    python benchmarks/epochs.py --data ../shared/data --picture docs/pictures/epochs.svg

The network gets the lightness of a photograph and learns its (a*, b*), as in the thesis: tanh, mean
squared error of (a*, b*) / 128, Adam with a learning rate of 0.0003, batches of 4, photographs as
they are, not augmented. After each epoch loss and accuracy are measured on the photographs that it
learns from and on those that are left out (see `tomochrome.training.sections.split_sections`).
Accuracy is that of Keras for two outputs: how often the larger of a* and b* is the same.
"""

from __future__ import annotations

import argparse
from itertools import chain
from pathlib import Path
from typing import Final

import torch

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
Curves = dict[str, list[tuple[float, float]]]


def main() -> None:
    """Train, print loss and accuracy, and draw them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the photographs")
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--picture", type=Path, help="SVG file to write")
    options = parser.parse_args()
    curves = train(options.data, options.epochs)
    for name, curve in curves.items():
        losses = [loss for loss, _ in curve]
        best = losses.index(min(losses))
        print(
            f"{name}: least loss {losses[best]:.5f} (accuracy {curve[best][1]:.3f}) after epoch "
            f"{best + 1}, at the end {losses[-1]:.5f} ({curve[-1][1]:.3f})"
        )
    if options.picture is not None:
        options.picture.write_text(drawing(curves), encoding="utf-8")


def train(data: Path, epochs: int) -> Curves:
    """Return loss and accuracy after each epoch on learned and on left-out photographs."""
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

    def measured(images: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, float]:
        ab, known = head.colors(outputs(net, images)), truth[:, 2] > UNKNOWN
        squared = ((ab - truth[:, :2]) / AB_SCALE).square().mean(1)[known]
        return squared.mean(), float((ab.argmax(1) == truth[:, :2].argmax(1))[known].float().mean())

    curves: Curves = {name: [] for name in sets}
    for epoch in range(epochs):
        order = torch.randperm(len(sets["learned"]))
        for chosen in order.split(BATCH):
            images, truths = zip(*(sets["learned"][int(k)] for k in chosen), strict=True)
            loss, _ = measured(torch.cat(images), torch.cat(truths))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.inference_mode():
            for name, pictures in sets.items():
                rows = [measured(*picture) for picture in pictures]
                losses, accuracies = zip(
                    *((float(loss), right) for loss, right in rows), strict=True
                )
                curves[name].append((sum(losses) / len(rows), sum(accuracies) / len(rows)))
        print(epoch + 1, {name: curve[-1] for name, curve in curves.items()}, flush=True)
    return curves


def drawing(curves: Curves) -> str:
    """Return an SVG of loss and accuracy over epochs."""
    wide = 2 * WIDE + 200
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {HIGH + 60}" '
        f'font-family="sans-serif" font-size="13"><rect width="{wide}" height="{HIGH + 60}" '
        'fill="#fff"/>'
    ]
    for k, quantity in enumerate(("loss", "accuracy")):
        lines = {name: [pair[k] for pair in curve] for name, curve in curves.items()}
        low, high = (0.0, 1.0) if k else (0.0, sorted(chain(*lines.values()))[-4])
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
