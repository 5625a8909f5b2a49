"""Drawings found, turned round and centred as MNIST's digits were made."""

import numpy as np
import pytest
import torch
from photographs import photograph
from PIL import Image, ImageDraw

import zoo
from datamodules.image_files.cropping import ImageReader

MASS = ImageReader((1, 28, 28), "mass", "light_on_dark")


def drawn(pen: int, paper: int, at: tuple[int, int]) -> Image.Image:
    image = Image.new("L", (200, 150), paper)
    left, top = at
    ImageDraw.Draw(image).rectangle((left, top, left + 20, top + 50), pen)
    return image


@pytest.mark.parametrize(("pen", "paper"), [(20, 230), (230, 20)])
@pytest.mark.parametrize("at", [(10, 10), (150, 80)])
def test_what_is_drawn_is_20_of_28_high_light_on_dark_with_its_mass_in_the_middle(
    pen: int, paper: int, at: tuple[int, int]
) -> None:
    (pixels,), done = MASS(drawn(pen, paper, at))
    rows, _ = np.nonzero(pixels > 128)
    assert rows.max() - rows.min() + 1 == pytest.approx(20, abs=1)
    centre = [(pixels.sum(1 - axis) * np.arange(28)).sum() / pixels.sum() for axis in (0, 1)]
    assert centre == pytest.approx([13.5, 13.5], abs=1)
    assert pixels[0].max() == 0
    assert ("turned round" in done) == (pen < paper)


def test_without_a_crop_a_picture_stays_whole_on_its_own_background() -> None:
    (pixels,), done = ImageReader((1, 30, 30))(drawn(20, 230, (90, 50)))
    assert (pixels[0, 0], pixels[15, 15]) == (230, 20)
    assert done == "200 x 150 grey, scaled to 30 x 30"


def test_an_empty_page_is_said_to_be_empty() -> None:
    pixels, done = MASS(Image.new("RGB", (60, 40), (240, 240, 240)))
    assert pixels.shape == (1, 28, 28)
    assert "nothing drawn was found" in done


def test_box_cuts_off_empty_margins() -> None:
    pixels, _ = ImageReader((1, 51, 21), "box", "keep")(drawn(20, 230, (90, 50)))
    assert (pixels < 100).mean() > 0.9


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["mnist_net", "conv_net"])
def test_photographed_digits_are_read_after_cropping_and_not_before(name: str) -> None:
    """Of 500 99.6 % (mnist_net) and 99.8 % (conv_net); uncropped 8 and 7 %."""
    x, y = zoo.create_datamodule("mnist", source="real").splits["test"]
    photos = [photograph(x[i, 0].numpy(), i) for i in range(100)]
    model = zoo.load_weights(name)
    accuracy = {}
    for reader in (ImageReader.of(model.spec), ImageReader(model.spec.input_shape)):
        batch = torch.from_numpy(np.stack([reader(photo)[0] for photo in photos]))
        with torch.inference_mode():
            accuracy[reader.crop] = (model(batch).argmax(1) == y[:100]).double().mean().item()
    assert accuracy["mass"] >= 0.9
    assert accuracy["none"] < 0.5


@pytest.mark.real_data
def test_garments_are_turned_round_only_from_a_light_background() -> None:
    images = zoo.create_datamodule("fashion_mnist").splits["train"][0][:2000, 0].numpy()
    read = ImageReader((1, 28, 28), "none", "light_on_dark")
    for image in images:
        assert np.array_equal(read(Image.fromarray(image))[0][0], image)
        assert np.array_equal(read(Image.fromarray(255 - image))[0][0], image)
