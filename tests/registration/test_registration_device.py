"""No operation mixes GPU and CPU tensors: tested with torch's device ``meta``.

Its tensors have no values, and cannot be mixed with others, also in the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch

from tomochrome.registration import penalties, refine, velocity
from tomochrome.registration.checked_input import SIMILARITIES
from tomochrome.registration.guides import Guides
from tomochrome.registration.similarity_losses import similarity
from tomochrome.registration.symmetric_network import SymNet
from tomochrome.registration.unfold import unfold

SHAPE = (32, 24, 40)
SMALL = (8, 6, 10)


def there(*shape: int) -> torch.Tensor:
    """Return a tensor with gradient on another device than the CPU."""
    return torch.empty(*shape, device="meta", requires_grad=True)


def follows(*results: torch.Tensor, back: Iterable[torch.Tensor] = ()) -> bool:
    """Whether results, and the gradients of their inputs, are on the right device."""
    known = list(results)
    if back:
        sum(r.sum() for r in results).backward()  # type: ignore[union-attr]
        known += [t.grad for t in back if t.grad is not None]
        assert len(known) > len(results)
    return all(t.device.type == "meta" for t in known)


def test_tensors_of_two_devices_do_not_mix() -> None:
    with pytest.raises(RuntimeError, match="device"):
        there(3) + torch.ones(3)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", [n for n in SIMILARITIES if n != "mind"])
def test_similarities(name: str, weighted: bool) -> None:
    loss, _ = similarity(name)
    a, b, weight = there(1, 1, *SHAPE), there(1, 1, *SHAPE), there(1, 1, *SHAPE).detach()
    assert follows(loss(a, b, weight) if weighted else loss(a, b), back=(a, b))


def test_penalties() -> None:
    field = there(1, 3, *SMALL)
    for loss in (penalties.roughness, penalties.small_jacobian):
        assert follows(loss(field), back=(field,))
    assert follows(penalties.least_determinant(field), penalties.folded_cells(field))


def test_velocities_and_what_is_sampled_through_them() -> None:
    one, two = there(1, 3, *SMALL), there(2, 3, *SMALL)
    whole, half = velocity.flow(one)
    assert follows(whole, half, back=(one,))
    assert follows(
        velocity.sample_through(there(2, 1, *SHAPE).detach(), velocity.flow(one)[0]), back=(one,)
    )
    assert follows(velocity.smooth(one), velocity.resize_field(one, SHAPE), back=(one,))
    fields = velocity.pair_fields(two)
    assert follows(
        *fields, *velocity.reduce_inverse_error(fields.forward, fields.inverse), back=(two,)
    )
    assert follows(velocity.shrink(there(1, 1, *SHAPE), SMALL))
    assert follows(velocity.warp_nearest(there(1, 1, *SMALL), one))


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("factor", [2, 4])
def test_the_goal_of_refinement(masked: bool, factor: int, guided: bool) -> None:
    masks = there(2, 1, *SHAPE).detach() if masked else None
    images = there(2, 1, *SHAPE).detach()
    features = there(2, 5, *SMALL).detach() if guided else None
    landmarks = there(2, 3, 3).detach()
    guides = Guides(SHAPE, there(2, 4, 4).detach(), landmarks) if guided else None
    pair = refine._Pairs.of(images, masks, features, *[refine.smaller(SHAPE, factor)] * 2)
    goal = refine._Objective(*similarity("lncc"), 0.6, guides)
    start = there(1, 3, *SMALL)
    assert follows(*goal(start, pair, refine.Stage(4, factor, 1, 0.2)), back=(start,))


def test_unfolding(monkeypatch: pytest.MonkeyPatch) -> None:
    # folds cannot be detected without values, so assume that there are some
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda _: True)
    monkeypatch.setattr(velocity.torch, "equal", lambda *_: False)
    velocities, fields = unfold(there(2, 3, *SMALL).detach(), SHAPE, rounds=1)
    assert follows(velocities, *fields)
    assert tuple(fields.forward.shape) == (1, 3, *SHAPE)


def test_the_network() -> None:
    net = SymNet(channels=(8, 8, 8)).to("meta")
    assert follows(*net(there(1, 1, *SHAPE).detach(), there(1, 1, *SHAPE).detach()))
