"""Augmentations act on whole batches and draw their numbers anew for every image."""

import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from datamodules.augment import (
    HorizontalFlip,
    RandomAffine,
    RandomDistortion,
    RandomErasing,
    RandomShift,
    to_unit_float,
)

STRONG = {
    "distortion": RandomDistortion(),
    "affine": RandomAffine(),
    "elastic": RandomDistortion(0, 0, 0, 0, alpha=1.0),
    "flip": HorizontalFlip(),
    "shift": RandomShift(),
    "erasing": RandomErasing(p=1.0),
}
IDLE = {
    "distortion": RandomDistortion(0, 0, 0, 0, alpha=0),
    "affine": RandomAffine(0, 0, 0, 0),
    "flip": HorizontalFlip(p=0),
    "shift": RandomShift(0),
    "erasing": RandomErasing(p=0),
    "erasing nothing": RandomErasing(size=0, p=1),
}


@pytest.fixture
def images() -> torch.Tensor:
    """64 uint8 images with no symmetry."""
    return torch.randint(0, 256, (64, 1, 28, 28), generator=torch.manual_seed(0)).byte()


def blob(n: int = 64) -> torch.Tensor:
    """n copies of one soft spot in the middle: mass and centre are easy to follow."""
    axis = torch.arange(28) - 13.5
    spot = torch.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / 18)
    return spot.expand(n, 1, 28, 28).clone()


@pytest.mark.parametrize("augment", IDLE.values(), ids=IDLE.keys())
def test_strength_zero_changes_nothing(augment, images):
    torch.testing.assert_close(augment(images), images / 255.0)
    torch.testing.assert_close(augment(images / 255.0), images / 255.0)


def test_a_tiny_distortion_is_nearly_the_identity(images):
    """The sampling grid is aligned with the pixels: no half-pixel shift, no blur."""
    almost = RandomDistortion(1e-4, 1e-5, 1e-5, 1e-6, alpha=1e-5)
    torch.testing.assert_close(almost(images), images / 255.0, atol=1e-3, rtol=0)


@pytest.mark.parametrize("augment", STRONG.values(), ids=STRONG.keys())
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_shape_type_and_range(augment, dtype):
    for shape in [(5, 1, 28, 28), (3, 3, 20, 32), (1, 1, 28, 28)]:
        x = torch.rand(shape, generator=torch.manual_seed(1))
        x = (x * 255).byte() if dtype == torch.uint8 else x
        before = x.clone()
        y = augment(x)
        assert y.shape == shape
        assert y.dtype == torch.float32
        assert y.min() >= 0
        assert y.max() <= 1
        assert torch.equal(x, before), "the data in memory must not change"


@pytest.mark.parametrize("augment", STRONG.values(), ids=STRONG.keys())
def test_every_image_draws_its_own_numbers(augment, images):
    same = images[:1].expand(64, -1, -1, -1)
    different = {tuple(y.flatten().tolist()) for y in augment(same)}
    assert len(different) >= (2 if isinstance(augment, HorizontalFlip) else 15)


@pytest.mark.parametrize("augment", STRONG.values(), ids=STRONG.keys())
def test_a_seed_fixes_the_numbers(augment, images):
    torch.manual_seed(3)
    first = augment(images)
    second = augment(images)
    torch.manual_seed(3)
    assert torch.equal(augment(images), first)
    assert not torch.equal(second, first)


@pytest.mark.parametrize("augment", STRONG.values(), ids=STRONG.keys())
def test_a_passed_generator_leaves_the_global_one_alone(augment, images):
    state = torch.get_rng_state()
    first = augment(images, generator=torch.Generator().manual_seed(4))
    assert torch.equal(augment(images, generator=torch.Generator().manual_seed(4)), first)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", [RandomDistortion, HorizontalFlip, RandomShift, RandomErasing])
def test_the_default_dtype_changes_nothing(kind, images):
    first = kind()(images, generator=torch.Generator().manual_seed(5))
    torch.set_default_dtype(torch.float64)
    try:
        second = kind()(images, generator=torch.Generator().manual_seed(5))
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(second, first)


def test_shift_of_the_affine_map_is_a_fraction_of_the_image():
    torch.manual_seed(0)
    y = RandomAffine(0, 0, 0, shift=0.1)(blob(512))
    mass = y.sum((1, 2, 3))
    centre = (y.sum((1, 2)) * (torch.arange(28) - 13.5)).sum(1) / mass
    assert 2.5 < centre.abs().max() < 2.9  # 0.1 of 28 pixels, uniform
    assert centre.mean().abs() < 0.3


def test_scale_changes_the_area_both_ways():
    torch.manual_seed(0)
    area = RandomAffine(0, scale=0.2, shear=0, shift=0)(blob(512)).sum((1, 2, 3)) / blob(1).sum()
    assert area.min() < 0.8
    assert area.max() > 1.25
    assert area.log().mean().abs() < 0.03


def test_rotation_keeps_the_size_also_where_the_image_is_not_square():
    """A disc in a wide image stays a disc: its extent along both axes is unchanged."""
    y, x = torch.meshgrid(torch.arange(20) - 9.5, torch.arange(40) - 19.5, indexing="ij")
    disc = torch.exp(-(x**2 + y**2) / 18).expand(32, 1, 20, 40)
    turned = RandomAffine(degrees=45, scale=0, shear=0, shift=0)(disc)
    torch.testing.assert_close(turned, disc, atol=0.05, rtol=0)  # bilinear sampling blurs a little


def test_elastic_displacement_has_the_given_size_and_is_smooth():
    """A horizontal ramp shows the displacement: alpha pixels, much the same next door."""
    torch.manual_seed(0)
    ramp = (torch.arange(28) / 28).expand(2000, 1, 28, 28)
    moved = (RandomDistortion(0, 0, 0, 0, alpha=1.0, sigma=4.0)(ramp) - ramp)[..., 8:-8, 8:-8] * 28
    assert 0.93 < moved.std() < 1.03
    neighbour = moved[..., 1:, :] - moved[..., :-1, :]
    assert neighbour.std() < 0.25  # sqrt(2 - 2 exp(-1 / (4 sigma^2))) = 0.18 pixels


def test_half_of_the_images_are_flipped(images):
    torch.manual_seed(0)
    y = HorizontalFlip(0.5)(images)
    x = images / 255.0
    kept = torch.tensor([torch.equal(a, b) for a, b in zip(y, x, strict=True)])
    flipped = torch.tensor([torch.equal(a, b.flip(-1)) for a, b in zip(y, x, strict=True)])
    assert torch.all(kept ^ flipped)
    assert 15 < flipped.sum() < 49


def test_whole_pixel_shift_moves_and_fills_with_zero():
    x = torch.full((200, 2, 6, 6), 255, dtype=torch.uint8)
    y = RandomShift(2)(x)
    kept = y[:, 0].sum((1, 2))
    assert set(kept.int().tolist()) == {36, 30, 24, 25, 20, 16}  # (6 - dy) * (6 - dx)
    assert torch.equal(y[:, 0], y[:, 1])  # the channels of an image move together


def test_erasing_blanks_a_square_of_the_given_size():
    torch.manual_seed(0)
    blank = (RandomErasing(size=6, p=1.0)(torch.ones(300, 1, 28, 28)) == 0).sum((1, 2, 3))
    assert blank.max() == 36
    assert blank.min() >= 9  # the centre is inside the image
    half = (RandomErasing(size=6, p=0.5, value=0.5)(torch.ones(300, 1, 28, 28)) == 0.5).flatten(1)
    assert 110 < half.any(1).sum() < 190


def test_torchvision_transforms_work_on_whole_batches_too(images):
    chain = nn.Sequential(v2.ToDtype(torch.float32, scale=True), v2.RandomAffine(10), RandomShift())
    y = chain(images)
    assert y.shape == images.shape
    torch.testing.assert_close(
        v2.RandomHorizontalFlip(1.0)(images), HorizontalFlip(1.0)(images).mul(255).round().byte()
    )


def test_uint8_and_float_images_mean_the_same():
    x = torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8)
    torch.testing.assert_close(to_unit_float(x), torch.tensor([[[[0.0, 0.2, 1.0]]]]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomAffine(degrees=-1), "degrees"),
        (lambda: RandomDistortion(sigma=0), "sigma"),
        (lambda: HorizontalFlip(p=1.5), "between 0 and 1"),
        (lambda: RandomErasing(size=-2), "size"),
    ],
)
def test_a_wrong_argument_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
