"""Give the tissues and the colors of a scan to other programs, and open them again."""

from __future__ import annotations

import tomochrome as tc
from tomochrome.phantom import make_patient
from tomochrome.tissue import Tissue


def main() -> None:
    """Write a segmentation, a surface and a colored scan. Not for diagnosis."""
    volume = make_patient(5, "abdomen", (8.0, 3.0, 3.0), phase="portal").ct
    chroma = tc.colorize(volume, model="transfer-function")
    tissues = chroma.tissue_volume()
    tc.write(tissues, "tissues.seg.nrrd")  # 3D Slicer shows names and colors
    tc.write(tissues, "tissues.nii.gz")  # with tissues.json, the names
    tc.io.write_segmentation(chroma, "tissues.dcm")  # for OHIF, Weasis or an archive
    tc.io.write_surfaces(tissues, "bone.stl", only=[Tissue.CORTICAL_BONE, Tissue.MARROW])

    tc.save_colored(tc.ColoredScan(volume, chroma, tc.Lighting.of(volume)), "case.tomochrome")
    case = tc.open_colored("case.tomochrome")  # anywhere, without the CT and the network
    tc.write(case.lit(case.settings.replace(window="bone")), "bone.png")
    print(f"{case.volume.shape} voxels, colored by {case.chroma.model}")


if __name__ == "__main__":
    main()
