"""White balance and the tissue of photographs of frozen sections."""

import numpy as np
import pytest

from tomochrome.io.section_photograph import body_in_gel, clean_section

CAST = (0.8, 1.0, 0.7)  # of the light


def photograph(height=304, width=512):
    """A black frame, gel that gets darker to one side, a body in it, a grey scale below."""
    rgb = np.full((height, width, 3), 6, np.uint8)
    shade = np.linspace(1.0, 0.25, width - 40)
    rgb[10 : height - 60, 20 : width - 20] = np.array([30, 70, 130]) * shade[:, None]
    rgb[80:200, 150:350] = (190, 160, 110)  # fat
    rgb[100:180, 170:330] = (90, 50, 40)  # muscle
    rgb[120:140, 200:240] = (30, 70, 130)  # gel in a cavity
    rgb[150:170, 280:310] = (40, 22, 16)  # dark blood
    return rgb


def with_grey_scale(rgb):
    """Add the scale, and the cast of the light."""
    out = rgb.copy()
    for k, level in enumerate(np.linspace(15, 250, 20)):
        out[-50:-20, 100 + 12 * k : 112 + 12 * k] = level
    out[-40:-28, 400:412] = 250  # something bright, and smaller, with wide edges
    out[-34:-28, 400:412] = 60
    linear = (out / 255.0) ** 2.2 * CAST
    return np.rint(255 * linear ** (1 / 2.2)).astype(np.uint8)


def test_dark_gel_is_not_tissue_and_dark_blood_is():
    _, tissue = clean_section(photograph())
    assert not tissue[20:70].any() and not tissue[:, 360:].any()  # bright and dark gel
    assert not tissue[122:138, 202:238].any()
    assert tissue[155:165, 285:305].all() and tissue[105:115, 175:325].all()


@pytest.mark.parametrize("reduction", [1, 2])
def test_the_grey_scale_is_grey_afterwards(reduction):
    cast = with_grey_scale(photograph(304 * reduction, 512 * reduction))
    balanced, _ = clean_section(cast)
    scale = balanced[-40:-30, 130:300].reshape(-1, 3).astype(int)
    used = scale[(scale.max(axis=1) < 240) & (scale.min(axis=1) > 30)]
    assert len(used) > 500 and np.ptp(used, axis=1).max() <= 5
    assert np.ptp(cast[-40:-30, 130:300].reshape(-1, 3).astype(int), axis=1).max() > 20


def test_the_frame_at_the_side_is_not_body():
    rgb = photograph()
    rgb[40:120, :26] = (120, 118, 110)  # bright metal at the edge of the photograph
    rgb[60:110, 400:470] = (4, 4, 4)  # a black part of the frame in the gel
    _, tissue = clean_section(rgb)
    assert not tissue[:, :100].any() and not tissue[:, 380:].any() and tissue[90, 200]


def test_without_a_grey_scale_colors_are_unchanged():
    rgb = np.full((200, 300, 3), (20, 60, 160), np.uint8)
    rgb[50:150, 80:220] = (150, 70, 60)
    same, tissue = clean_section(rgb)
    assert same is rgb and tissue[60:140, 90:210].all() and not tissue[:45].any()


def test_an_arm_at_the_edge_of_the_block_is_body():
    gel = np.zeros((120, 160), bool)
    gel[10:110, 10:150] = True
    gel[30:80, 50:110] = False  # trunk
    gel[40:70, 125:158] = False  # an arm that reaches beyond the edge
    gel[112:, 40:100] = False  # something below the block
    body = body_in_gel(gel)
    assert body[50, 80] and body[55, 130] and not body[20, 80] and not body[115, 60]


def test_photographs_of_the_visible_human(shared_data):
    """White in the grey scale has the same gains in all of them, and their tissue is never blue."""
    from tomochrome.io.picture_files import read_photograph

    paths = sorted((shared_data / "cryosection" / "sections").glob("avf*.png"))[::6]
    assert len(paths) == 5
    gains = []
    for path in paths:
        rgb = read_photograph(path)
        balanced, tissue = clean_section(rgb)
        before, after = (image[tissue].astype(float).mean(axis=0) for image in (rgb, balanced))
        gains.append(after / before)
        assert 0.02 < tissue.mean() < 0.4
        assert (rgb[tissue][:, 2].astype(int) <= rgb[tissue][:, 0] + 10).mean() > 0.98
    assert np.ptp(gains, axis=0).max() < 0.1
