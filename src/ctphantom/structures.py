"""The structures of a phantom: the labels of its label map, with one material each.

They are finer than tissues: aorta, portal vein and pulmonary artery differ in HU, enhancement and
color. `materials` describes each.
"""

from __future__ import annotations

from enum import IntEnum


class Structure(IntEnum):
    """Index of a structure in a phantom's uint8 label map."""

    # outside the body
    OUTSIDE_AIR = 0
    COUCH = 1  # carbon-fiber shell of the table
    COUCH_FOAM = 2  # core of the table, mattress, headrest
    BLANKET = 3  # clothing, sheets
    # envelope, fat, muscle
    SKIN = 4
    SUBCUTANEOUS_FAT = 5
    VISCERAL_FAT = 6
    MUSCLE = 7
    INTERMUSCULAR_FAT = 8
    DIAPHRAGM = 9
    FASCIA = 10  # tendon, ligament, septa
    BREAST_GLAND = 11
    # bone and cartilage
    CORTICAL_BONE = 12
    TRABECULAR_BONE = 13  # red marrow: vertebrae, pelvis, ribs, sternum
    FATTY_MARROW = 14  # long bones of an adult
    DIPLOE = 15  # between the tables of the skull
    TOOTH = 16
    INTERVERTEBRAL_DISC = 17
    CARTILAGE = 18
    CALCIFICATION = 19  # plaque, calcified pineal, node or cartilage
    # chest
    LUNG = 20
    LUNG_DEPENDENT = 21  # denser lung near the back
    LUNG_VESSEL = 22
    AIRWAY_GAS = 23
    AIRWAY_WALL = 24
    MYOCARDIUM = 25
    LEFT_HEART_BLOOD = 26
    RIGHT_HEART_BLOOD = 27
    PERICARDIAL_FAT = 28
    AORTA = 29
    ARTERY = 30
    PULMONARY_ARTERY = 31
    PULMONARY_VEIN = 32
    SUPERIOR_VENA_CAVA = 33
    VENA_CAVA = 34  # inferior
    VEIN = 35
    ESOPHAGUS = 36
    THYROID = 37
    THYMUS = 38
    LYMPH_NODE = 39
    EFFUSION_FLUID = 40
    # abdomen
    LIVER = 41
    HEPATIC_VEIN = 42
    PORTAL_VEIN = 43
    GALLBLADDER = 44  # bile
    GALLBLADDER_WALL = 45
    BILE_DUCT = 46
    SPLEEN = 47
    PANCREAS = 48
    ADRENAL = 49
    KIDNEY_CORTEX = 50
    KIDNEY_MEDULLA = 51
    RENAL_PELVIS = 52
    URETER = 53
    STOMACH_WALL = 54
    STOMACH_CONTENT = 55
    STOMACH_GAS = 56
    SMALL_BOWEL_WALL = 57
    SMALL_BOWEL_CONTENT = 58
    COLON_WALL = 59
    COLON_CONTENT = 60  # stool
    BOWEL_GAS = 61
    ASCITES = 62
    CYST = 63
    LESION = 64  # solid, a tumor or nodule in the liver
    # pelvis
    BLADDER_WALL = 65
    URINE = 66
    PROSTATE = 67
    SEMINAL_VESICLE = 68
    UTERUS = 69
    OVARY = 70
    TESTIS = 71
    VAGINA = 72
    PENIS = 73
    # head and neck
    GREY_MATTER = 74
    WHITE_MATTER = 75
    DEEP_GREY = 76
    CEREBELLUM = 77
    BRAINSTEM = 78
    SPINAL_CORD = 79
    CSF = 80
    DURAL_SINUS = 81
    VITREOUS = 82
    LENS = 83
    SCLERA = 84
    OPTIC_NERVE = 85
    ORBITAL_FAT = 86
    SINUS_GAS = 87
    MASTOID_AIR = 88  # partial volume of gas and bone
    MUCOSA = 89  # of nose, sinuses, pharynx
    PAROTID = 90
    SALIVARY_GLAND = 91
    TONGUE = 92
    PITUITARY = 93
    # foreign
    METAL = 94
    CATHETER = 95
    DURA = 96  # falx, tentorium, and the lining of the skull
    LUNG_SOLID = 97  # consolidation, atelectasis, nodule


N_STRUCTURES = len(Structure)
"""Number of structures; their indices are 0 to ``N_STRUCTURES - 1`` without gaps."""
