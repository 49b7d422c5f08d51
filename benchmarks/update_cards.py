"""Write the figures of `color_accuracy.py` into the cards of a tissue network and the lookup table.

Usage::

    python benchmarks/color_accuracy.py --data ../shared/data --json FILE [--tissue NAME]
    python benchmarks/update_cards.py FILE [--tissue NAME]

Changes the scores in ``configs/metadata.json`` and the list of scores in ``docs/README.md``.
Figures of the calibration, which training measures, stay.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tomochrome.training.export import score_lines

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
ORGANS = ("liver", "spleen", "kidney", "stomach", "pancreas", "gallbladder", "bowel", "vessel")
RATIOS = ("organ_error_to_transfer", "organ_error_to_grey",
          "voxel_error_to_transfer", "voxel_error_to_grey")  # fmt: skip
GROUPS = {"held_out_phantoms": "all", "held_out_abdomen_phantoms": "abdomen"}


def main() -> None:
    """Read the figures, and change the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", type=Path, help="JSON file of color_accuracy.py")
    parser.add_argument("--tissue", default="tissue", help="the network that was measured")
    options = parser.parse_args()
    figures = json.loads(options.figures.read_text(encoding="utf-8"))
    update(WEIGHTS / options.tissue, network_scores(figures))
    update(WEIGHTS / "transfer-function", curve_scores(figures))


def network_scores(figures: dict[str, Any]) -> dict[str, Any]:
    """Return the scores of the network."""
    phantoms, chest = figures["phantoms"], figures["chest_angiography"]
    scores = {name: _errors(phantoms[group]) for name, group in GROUPS.items()}
    organs = phantoms["abdomen"]["network"]["organs"]
    head = figures["head_photograph"]
    return {
        **scores,
        "held_out_abdomen_phantoms_right": {name: organs[name]["right"] for name in ORGANS},
        "colored_outside_the_body": phantoms["colored_outside_body"]["network"],
        "flicker_of_chroma_where_the_ct_is_still": round(
            phantoms["flicker"]["network"]["chroma_where_still"], 2
        ),
        "real_contrast_abdomen": {
            **_errors(figures["contrast_abdomen"]),
            "right_above_a_confidence_of_0.9": round(
                figures["contrast_abdomen"]["right_where_confident"], 4
            ),
        },
        "real_chest_angiography_error_to_transfer": {
            "heart": chest["heart_error_to_transfer"],
            "pulmonary_artery": chest["vessel_error_to_transfer"],
        },
        "real_head_chroma_error_against_photograph": {
            name: head[name] for name in ("network", "grey", "transfer")
        },
    }


def curve_scores(figures: dict[str, Any]) -> dict[str, Any]:
    """Return the scores of the lookup table."""
    return {
        **{name: _means(figures["phantoms"][g]["transfer"]) for name, g in GROUPS.items()},
        "real_contrast_abdomen": _means(figures["contrast_abdomen"]["transfer"]),
        "real_chest_angiography_chroma_error": round(
            figures["chest_angiography"]["transfer"]["voxel_error"], 2
        ),
        "real_head_chroma_error_against_photograph": figures["head_photograph"]["transfer"],
    }


def _errors(group: dict[str, Any]) -> dict[str, float]:
    return {**_means(group["network"]), **{name: group[name] for name in RATIOS}}


def _means(score: dict[str, Any]) -> dict[str, float]:
    return {
        "chroma_error": round(score["voxel_error"], 2),
        "chroma_error_by_organ": round(score["organ_error"], 2),
    }


def update(bundle: Path, scores: dict[str, Any]) -> None:
    """Replace the scores of a bundle and of its card."""
    path, card = bundle / "configs" / "metadata.json", bundle / "docs" / "README.md"
    metadata = json.loads(path.read_text(encoding="utf-8"))
    kept = {name: value for name, value in metadata["scores"].items() if name not in scores}
    metadata["scores"] = {**scores, **kept}
    text = json.dumps(metadata, indent=2, ensure_ascii=False) + "\n"
    page = card.read_text(encoding="utf-8")
    before, _, rest = page.partition("## Scores\n")
    _, _, after = rest.partition("\n\n")
    path.write_text(text, encoding="utf-8")
    lines = score_lines(metadata["scores"])
    card.write_text(f"{before}## Scores\n{lines}\n\n{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
