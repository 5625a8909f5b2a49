"""The embedded default data: shapes, balance, determinism, speed, and how hard they are."""

import time

import matplotlib
import numpy as np
import pytest
import torch
from torch import nn

from datamodules.synthetic import KINDS, LETTERS, SIZES, synthetic_images, synthetic_letters


@pytest.fixture(scope="module", params=KINDS)
def splits(request: pytest.FixtureRequest) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Images and labels by split, of either kind."""
    return {split: synthetic_images(request.param, split) for split in SIZES}


def test_images_and_labels_look_like_mnist(splits):
    for split, count in {"train": 12_000, "test": 2_000}.items():
        images, labels = splits[split]
        assert images.shape == (count, 1, 28, 28)
        assert images.dtype == torch.uint8
        assert labels.shape == (count,)
        assert labels.dtype == torch.int64
        assert labels.bincount().tolist() == [count // 10] * 10
        # Bright things on black, in every single picture.
        assert images.float().mean((1, 2, 3)).gt(2).all()
        assert images.amax((1, 2, 3)).gt(60).all()
        assert images[:, :, :2, :2].float().mean() < 20
        # Classes come mixed: a slice of the data is a fair sample.
        assert labels[:500].bincount(minlength=10).min() > 20


def test_digits_are_centred():
    images = synthetic_images("digits", "test")[0].float()
    rows = images.sum((1, 3)) / images.sum((1, 2, 3))[:, None]
    columns = images.sum((1, 2)) / images.sum((1, 2, 3))[:, None]
    for mass in (rows, columns):
        centre = (mass * torch.arange(28)).sum(1)
        assert abs(centre.mean() - 13.5) < 0.7
        assert 0.5 < centre.std() < 2.5


@pytest.mark.parametrize("kind", KINDS)
def test_every_call_gives_the_same_bytes_whatever_is_set_globally(kind):
    threads = torch.get_num_threads()
    first = synthetic_images(kind, "test")
    torch.manual_seed(2)
    np.random.seed(2)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(threads + 1)
    try:
        with matplotlib.rc_context({"font.family": "cursive", "font.size": 33}):
            second = synthetic_images(kind, "test")
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_num_threads(threads)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])


def test_no_image_occurs_twice_not_even_across_the_splits(splits):
    both = [image.numpy().tobytes() for images, _ in splits.values() for image in images]
    assert len(set(both)) == sum(SIZES.values())


def test_train_and_test_come_from_one_distribution(splits):
    means = [
        torch.stack([images[labels == c].float().mean(0) for c in range(10)])
        for images, labels in splits.values()
    ]
    # 200 test images per class: the mean images differ by noise, a few grey levels of 255.
    assert (means[0] - means[1]).abs().mean() < 4


def test_test_images_are_no_copies_of_training_images(splits):
    """The nearest training image is far, and of another class for every tenth."""
    images, labels = splits["train"]
    test_images, test_labels = (part[:1000] for part in splits["test"])
    distances = torch.cdist(test_images.flatten(1) / 255, images.flatten(1) / 255)
    nearest, index = distances.min(1)
    # Distances of grey levels from 0 to 1: at least 1.6, median 3.9 (digits) and 3.3 (garments);
    # as many real images have 1.2 and 4.9 (MNIST), 1.4 and 3.9 (FashionMNIST).
    assert nearest.min() > 0.9
    assert nearest.median() > 3
    assert 0.8 < (labels[index] == test_labels).float().mean() < 0.93


@pytest.mark.parametrize("kind", KINDS)
def test_making_them_is_fast(kind):
    start = time.process_time()
    for split in SIZES:
        synthetic_images(kind, split)
    # 0.2 s (digits) and 0.5 s (garments) of one core, which is why nothing is cached.
    assert time.process_time() - start < 2


def test_wrong_names_are_refused_with_the_right_ones():
    with pytest.raises(ValueError, match=r"'hats'.*digits, garments"):
        synthetic_images("hats", "test")
    with pytest.raises(ValueError, match=r"'val'.*train, test"):
        synthetic_images("digits", "val")


def test_one_epoch_of_the_documented_network_learns_but_does_not_finish(splits):
    """784-512-512-10, dropout 0.2, SGD 0.1, momentum 0.9, batch 64: 84-91 %."""
    x, y = splits["train"]
    x_test, y_test = splits["test"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Flatten(),
            *(nn.Linear(784, 512), nn.ReLU(), nn.Dropout(0.2)),
            *(nn.Linear(512, 512), nn.ReLU(), nn.Dropout(0.2)),
            nn.Linear(512, 10),
        )
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        for index in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(x[index] / 255), y[index])
            loss.backward()
            optimizer.step()
    network.eval()
    with torch.no_grad():
        accuracy = (network(x_test / 255).argmax(1) == y_test).float().mean().item()
    assert 0.7 < accuracy < 0.97


def test_letters_are_of_all_kinds_and_the_same_every_time():
    images, letters = synthetic_letters(500)

    assert images.shape == (500, 1, 28, 28)
    assert letters.unique().tolist() == list(range(len(LETTERS)))
    assert torch.equal(images, synthetic_letters(500)[0])
