from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from tomochrome.errors import Cancelled, OptionError, TomochromeError
from tomochrome.registration import align as module
from tomochrome.registration.align import Aligned, align
from tomochrome.registration.penalties import least_determinant
from tomochrome.registration.symmetric_network import SymNet
from tomochrome.registration.validation import KnownDeformation, random_diffeomorphism
from tomochrome.registration.velocity import compose
from tomochrome.registration.working_pair import WorkingPair
from tomochrome.runtime import Task, running

SHAPE = (28, 32, 30)


def picture(seed: int = 0) -> np.ndarray:
    """Blobs of several sizes, 0 to 1, fading out towards the edges."""
    rng = np.random.default_rng(seed)
    noise = sum(ndimage.gaussian_filter(rng.standard_normal(SHAPE), s) * s**1.5 for s in (1.5, 3))
    noise = (noise - noise.min()) / np.ptp(noise)
    return np.asarray(noise, np.float32)


def known(mean: float = 1.6, seed: int = 3) -> KnownDeformation:
    return random_diffeomorphism(SHAPE, (1.0, 1.0, 1.0), mean_mm=mean, smooth_mm=14.0, seed=seed)


def pair(fixed: np.ndarray, moving: np.ndarray, masks: torch.Tensor | None = None) -> WorkingPair:
    a, b = (torch.from_numpy(np.ascontiguousarray(x))[None, None] for x in (fixed, moving))
    return WorkingPair(a, b, masks, np.eye(4), np.eye(4))


def length(field: torch.Tensor, margin: int = 3) -> torch.Tensor:
    inner = (slice(None), slice(None), *(slice(margin, -margin),) * 3)
    return field[inner].square().sum(1).sqrt()


@pytest.fixture(scope="module")
def found() -> tuple[Aligned, KnownDeformation]:
    truth = known()
    return align(pair(picture(), truth.apply(picture())), None, iterations=60), truth


def test_a_known_deformation_is_found_without_a_fold(
    found: tuple[Aligned, KnownDeformation],
) -> None:
    done, truth = found
    before = float(length(truth.forward).mean())
    assert float(length(done.fields.forward - truth.forward).mean()) < 0.3 * before
    assert float(length(done.fields.inverse - truth.inverse).mean()) < 0.3 * before
    assert float(least_determinant(torch.cat(list(done.fields))).min()) > 0.0


def test_both_directions_are_inverse_to_each_other(
    found: tuple[Aligned, KnownDeformation],
) -> None:
    fields = found[0].fields
    for outer, inner in ((fields.forward, fields.inverse), (fields.inverse, fields.forward)):
        left = length(compose(outer, inner), margin=2)
        assert float(left.mean()) < 0.1
        assert float(left.quantile(0.99)) < 0.5


def test_the_curve_falls_and_the_stages_are_told() -> None:
    truth, told = known(), []
    calls: list[tuple[str, int, float]] = []
    with running(Task(lambda done, total, stage: told.append(stage))):
        done = align(
            pair(picture(), truth.apply(picture())),
            None,
            iterations=30,
            metric=lambda stage, number, value: calls.append((stage, number, value)),
        )
    assert [(stage, value) for stage, _, value in calls] == list(done.curve)
    assert [number for _, number, _ in calls] == sorted({number for _, number, _ in calls})
    assert done.curve[-1][1] < 0.9 * done.curve[0][1]
    assert set(told) == {"refining", "integrating"}
    assert set(done.seconds) == {"network", "refinement", "integration"}


def test_exchanging_the_images_exchanges_the_directions() -> None:
    torch.manual_seed(0)
    net = SymNet((4, 8), reach=4.0).eval().requires_grad_(False)
    truth = known()
    moved = truth.apply(picture())
    one = align(pair(picture(), moved), net, iterations=12, shrink_by=1)
    other = align(pair(moved, picture()), net, iterations=12, shrink_by=1)
    assert float((one.fields.forward - other.fields.inverse).abs().max()) < 0.01
    assert float((one.fields.inverse - other.fields.forward).abs().max()) < 0.01


def test_the_network_is_not_misled_by_what_was_not_measured() -> None:
    masks = torch.ones(2, 1, *SHAPE)
    masks[1, :, 14:] = 0.0  # the moving scan ends half-way up,
    masks[:, :, :, :6] = 0.0  # and the couch is masked out
    short = picture()
    short[14:] = 0.0
    seen: list[torch.Tensor] = []

    class Net(SymNet):
        def forward(self, *images: torch.Tensor) -> torch.Tensor:
            seen.extend(images)
            return super().forward(*images)

    torch.manual_seed(1)
    net = Net((4, 8), reach=4.0).eval().requires_grad_(False)
    done = align(pair(picture(), short, masks), net, iterations=0, shrink_by=1)
    assert float((seen[0][0] - seen[0][1]).abs().max()) == 0.0
    assert float(done.fields.forward.abs().max()) < 1e-3
    seen.clear()
    align(pair(picture(), short), net, iterations=0, shrink_by=1)
    assert float((seen[0][0] - seen[0][1]).abs().max()) > 0.1


def test_where_a_field_of_view_ends_nothing_drags() -> None:
    truth = known()
    moved, masks = truth.apply(picture()), torch.ones(2, 1, *SHAPE)
    masks[1, :, 16:] = 0.0
    short = np.where(masks[1, 0].numpy() > 0, moved, np.float32(0.0))

    def missed(moving: np.ndarray, seen: torch.Tensor | None) -> float:
        done = align(pair(picture(), moving, seen), None, iterations=40)
        apart = (done.fields.forward - truth.forward)[:, :, 3:13, 3:-3, 3:-3]
        return float(apart.square().sum(1).sqrt().mean())

    assert missed(short, masks) < 1.2 * missed(moved, None)  # hardly worse than with all voxels


def test_no_iterations_leave_the_networks_answer() -> None:
    torch.manual_seed(1)
    net = SymNet((4, 8), reach=4.0).eval().requires_grad_(False)
    done = align(pair(picture(), picture(1)), net, iterations=0, shrink_by=1)
    assert done.curve == () and done.seconds["network"] > 0
    still = align(pair(picture(), picture(1)), None, iterations=0)
    assert float(still.fields.forward.abs().max()) == 0.0


def test_it_stops_when_it_is_told_to() -> None:
    token, seen = Task(), []

    def metric(stage: str, number: int, value: float) -> None:
        seen.append(number)
        token.cancel()

    with running(token), pytest.raises(Cancelled):
        align(pair(picture(), picture(1)), None, iterations=50, metric=metric)
    assert seen == [0]


def test_foreign_options_are_refused() -> None:
    with pytest.raises(OptionError, match="'ssd'"):
        align(pair(picture(), picture()), None, measure="ssd")
    with pytest.raises(OptionError, match="0 or more"):
        align(pair(picture(), picture()), None, iterations=-1)


@pytest.mark.parametrize(
    ("failure", "why"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory"),
        (RuntimeError("MPS backend out of memory"), "out of memory"),
        (
            NotImplementedError("aten::max_pool3d is not implemented for MPS"),
            "does not support all",
        ),
    ],
)
def test_what_the_gpu_cannot_do_the_cpu_does(
    monkeypatch: pytest.MonkeyPatch, failure: Exception, why: str
) -> None:
    real = module.align

    def fails_elsewhere(there: WorkingPair, *given: Any, **how: Any) -> Aligned:
        if there.fixed.device.type != "cpu":
            raise failure
        return real(there, *given, **how)

    monkeypatch.setattr(module, "align", fails_elsewhere)
    both = pair(picture(), picture(1))
    net = SymNet(channels=(4, 4)).eval()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    done, device, notes = module.align_on(torch.device("cpu"), both, net, iterations=2)
    assert (device, notes) == (torch.device("cpu"), [])
    # "meta" has no weights: a network with the same ones replaces that returned from a GPU
    monkeypatch.setattr(SymNet, "to", lambda self, device: self)
    again, device, notes = module.align_on(torch.device("meta"), both, net, iterations=2)
    assert device == torch.device("cpu")
    assert len(notes) == 1
    assert why in notes[0].text
    # mm; the memory alignment of the images changes the last bits of a convolution
    torch.testing.assert_close(again.fields.forward, done.fields.forward, rtol=0, atol=1e-3)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize(
    ("device", "failure", "seen"),
    [
        ("meta", RuntimeError("shapes do not match"), RuntimeError),
        ("cpu", RuntimeError("shapes do not match"), RuntimeError),
        ("cpu", RuntimeError("DefaultCPUAllocator: can't allocate memory"), TomochromeError),
        ("cpu", MemoryError(), TomochromeError),
    ],
)
def test_other_failures_are_not_hidden_and_too_little_memory_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, device: str, failure: Exception, seen: type[Exception]
) -> None:
    def fails(*_: Any, **__: Any) -> Aligned:
        raise failure

    monkeypatch.setattr(module, "align", fails)
    words = "not enough memory" if seen is TomochromeError else "shapes"
    with pytest.raises(seen, match=words):
        module.align_on(torch.device(device), pair(picture(), picture(1)), None)
