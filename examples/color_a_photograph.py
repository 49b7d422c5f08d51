"""Give a grey photograph of a section its colors, and compare them with its own."""

from __future__ import annotations

import tomochrome as tc
from tomochrome.color import ciede2000, srgb_to_lab
from tomochrome.phantom import make_patient


def main() -> None:
    """Color the lightness of a phantom's section."""
    patient = make_patient(3, "abdomen", (6.0, 2.0, 2.0))
    middle = patient.ct.shape[0] // 2
    photograph = patient.cryosection()[middle]
    body = patient.tissue.voxels[middle] > 0
    colored = tc.colorize_photograph(photograph, "unet", mask=body)
    own, predicted = srgb_to_lab(photograph), srgb_to_lab(colored)
    grey = own * (1, 0, 0)
    print(f"CIEDE2000: {ciede2000(own, predicted)[body].mean():.1f}, "
          f"of grey: {ciede2000(own, grey)[body].mean():.1f}")  # fmt: skip


if __name__ == "__main__":
    main()
