"""Whether the features of the default model tell arterial from venous vessels.

Usage::

    python benchmarks/arteries_and_veins.py --pool DIR --data ../shared/data [--slices 700]

``DIR`` is the folder ``pool`` of a run of ``tomochrome train``. A small network learns from the
features of `tissue`, at all resolutions of its decoder, at vessels of the phantoms whose seeds do
not end with 8 or 9. It is judged on the others and on the labelled scan of a living person (no
contrast agent), which it has not learned from. Pulmonary arteries hold venous blood.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from tomochrome.colorization import find_model
from tomochrome.colorization.network_builder import build_network
from tomochrome.phantom import Structure
from tomochrome.training.start import start_from
from tomochrome.training.task_interface import load_config
from tomochrome.training.tasks.tissue_task import CALIBRATION, TissueSamples, real_patients

ARTERIAL = (Structure.AORTA, Structure.ARTERY, Structure.PULMONARY_VEIN)
VENOUS = (
    Structure.PULMONARY_ARTERY, Structure.SUPERIOR_VENA_CAVA, Structure.VENA_CAVA, Structure.VEIN,
    Structure.HEPATIC_VEIN, Structure.PORTAL_VEIN,
)  # fmt: skip
EACH = 150  # pixels of a slice
HIDDEN, EPOCHS, BATCH, RATE = 96, 12, 512, 2e-3
SURE = 0.9


class Pixels(NamedTuple):
    """Pixels of vessels: features (n, channels), venous or not (n,), and structures (n,)."""

    features: NDArray[np.float32]
    is_venous: NDArray[np.bool_]
    structure: NDArray[np.uint8]


class Features:
    """The default model with the features of its decoder."""

    def __init__(self) -> None:
        self.config = load_config(find_model("tissue").path / "configs" / "train.json")
        self.net = build_network(self.config.network).eval()
        start_from(self.net, "tissue")
        self._levels: list[torch.Tensor] = []
        for module in self.net.modules():
            if type(module).__name__ == "SkipConnection":
                module.register_forward_hook(lambda _, given, out: self._levels.append(out[0]))

    def at(
        self, image: NDArray[np.float32], row: NDArray[np.intp], column: NDArray[np.intp]
    ) -> NDArray[np.float32]:
        """Return the features and luminances of an image (channels, y, x) at pixels."""
        self._levels = [torch.from_numpy(image)]
        with torch.no_grad():
            self.net(self._levels[0][None])
        factors = [len(image[0]) // level.shape[1] for level in self._levels]
        parts = [
            level[:, row // by, column // by]
            for level, by in zip(self._levels, factors, strict=True)
        ]
        return torch.cat(parts).T.numpy()

    def gather(self, samples: TissueSamples, count: int) -> Pixels:
        """Return pixels of the vessels in random slices."""
        found, rng = [], np.random.default_rng(0)
        image = np.empty((len(samples.sampler.spec.channels), *self.config.shape), np.float32)
        names = np.empty(self.config.shape, np.uint8)
        for k in range(count):
            samples.sampler.rng = samples.rng = np.random.default_rng([samples.seed, k])
            structures = samples.sampler.sample(samples.patient(), image, names)
            places = np.argwhere(np.isin(structures, ARTERIAL + VENOUS))
            row, column = rng.permutation(places)[:EACH].T
            if len(row):
                here = structures[row, column]
                found.append((self.at(image, row, column), np.isin(here, VENOUS), here))
        return Pixels(*map(np.concatenate, zip(*found, strict=True)))


def learned(pixels: Pixels) -> torch.nn.Module:
    """Train the network that tells venous from arterial; it standardizes its input."""
    mean = torch.from_numpy(pixels.features.mean(axis=0))
    sd = torch.from_numpy(pixels.features.std(axis=0) + 1e-3)
    norm = torch.nn.BatchNorm1d(len(mean), affine=False, momentum=None)
    norm.running_mean, norm.running_var = mean, sd.square()
    norm.eval()
    body = torch.nn.Sequential(
        torch.nn.Dropout(0.2), torch.nn.Linear(len(mean), HIDDEN), torch.nn.ReLU(),
        torch.nn.Dropout(0.3), torch.nn.Linear(HIDDEN, 1), torch.nn.Flatten(0),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(body.parameters(), RATE, weight_decay=0.05)
    given, truth = norm(torch.from_numpy(pixels.features)), torch.from_numpy(pixels.is_venous)
    for _ in range(EPOCHS):
        for part in torch.randperm(len(given)).split(BATCH):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                body(given[part]), truth[part].float()
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return torch.nn.Sequential(norm, body).eval()


def tell(name: str, net: torch.nn.Module, pixels: Pixels) -> None:
    """Print how often the network is right."""
    with torch.no_grad():
        venous = torch.sigmoid(net(torch.from_numpy(pixels.features))).numpy()
    right = (venous > 0.5) == pixels.is_venous
    sure = np.maximum(venous, 1 - venous) > SURE
    print(f"{name}: {right.mean():.1%} right; sure of {sure.mean():.0%}, {right[sure].mean():.1%}")
    for structure in np.unique(pixels.structure):
        here = pixels.structure == structure
        wrong = (sure & ~right)[here].mean()
        text = f"{right[here].mean():.1%} right, sure and wrong {wrong:.1%}"
        print(f"  {Structure(structure).name.lower():20} {text} ({here.sum()} pixels)")


def main() -> None:
    """Learn and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pool", type=Path, required=True, help="folder of phantoms")
    parser.add_argument("--data", type=Path, required=True, help="folder with the real scans")
    parser.add_argument("--slices", type=int, default=700, help="slices to learn from")
    options = parser.parse_args()
    torch.manual_seed(0)
    features = Features()
    spec, no_phantoms = features.config.spec, Path("no-phantoms")

    def samples(seed: int, digits: tuple[int, ...]) -> TissueSamples:
        return TissueSamples(
            features.config, options.pool, [], seed, CALIBRATION if seed > 11 else None,
            spec=spec, last_digits=digits,
        )  # fmt: skip

    net = learned(features.gather(samples(11, tuple(range(8))), options.slices))
    tell("other phantoms", net, features.gather(samples(12, (8, 9)), options.slices // 5))
    real = TissueSamples(
        features.config, no_phantoms, real_patients(options.data), 13, CALIBRATION, spec=spec
    )
    tell("labelled scan", net, features.gather(real, options.slices // 10))


if __name__ == "__main__":
    main()
