"""Why this answer: on planted cases, where what a class is told by is known."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor

from datamodules import TextCSV
from zoo import DataSpec, UserError, ZooModule
from zoo.architectures import ConvNet, FeedForward, Recurrent
from zoo.explanation import explain, overlaid, where
from zoo.preprocessing import as_batch

SIDE, CORNER = 28, 6
PLANTED = {
    "top left": (slice(0, CORNER), slice(0, CORNER)),
    "bottom right": (slice(SIDE - CORNER, SIDE), slice(SIDE - CORNER, SIDE)),
    "right": (slice(11, 17), slice(SIDE - CORNER, SIDE)),
}


def told_by(place: str, channels: int, count: int = 256) -> tuple[Tensor, Tensor]:
    """Return noise, in which a bright (grey) or red (RGB) square makes the second class."""
    generator = torch.Generator().manual_seed(0)
    shape = (count, channels, SIDE, SIDE)
    x = torch.randint(0, 150, shape, generator=generator, dtype=torch.uint8)
    y = torch.randint(0, 2, (count,), generator=generator)
    rows, columns = PLANTED[place]
    if channels == 3:  # green or red, equally bright
        x[:, :, rows, columns] = 0
    for image, label in zip(x, y.tolist(), strict=True):
        if channels == 3 or label:
            image[label if channels == 3 else 0, rows, columns] = 230
    return x, y


def trained(model: ZooModule, x: Tensor, y: Tensor, epochs: int = 6) -> ZooModule:
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(epochs):
        for rows, target in zip(x.split(32), y.split(32), strict=True):
            optimizer.zero_grad()
            model.loss(model.logits(rows), target).backward()
            optimizer.step()
    return model.eval()


@pytest.mark.parametrize("place", PLANTED)
@pytest.mark.parametrize("channels", [1, 3], ids=["grey", "RGB"])
@pytest.mark.parametrize(("task", "network"), [("binary", FeedForward), ("multiclass", ConvNet)])
def test_a_class_that_one_place_tells(
    place: str, channels: int, task: str, network: type[ZooModule]
) -> None:
    x, y = told_by(place, channels)
    torch.manual_seed(0)
    spec = DataSpec(
        (channels, SIDE, SIDE), task, 1 if task == "binary" else 2, None, {"kind": "pixels"}
    )
    model = trained(network(spec), x, y.float() if task == "binary" else y)
    heat = explain(model, x[:10])
    assert heat.shape == (10, SIDE, SIDE)
    assert heat.min() >= 0
    # What is missing is a reason, too: both classes look at the same place.
    assert [where(one) for one in heat] == [place] * 10
    torch.testing.assert_close(explain(model, x[:10].float() / 255), heat, rtol=1e-3, atol=1e-3)


def test_another_class_can_be_asked_about() -> None:
    x, y = told_by("top left", 1)
    torch.manual_seed(0)
    model = trained(FeedForward(DataSpec((1, 28, 28), "multiclass", 2, None, {"kind": "pixels"})),
                    x, y)  # fmt: skip
    said = model(x[:2]).argmax(1)
    torch.testing.assert_close(explain(model, x[:2], said), explain(model, x[:2]))
    assert not torch.allclose(explain(model, x[:2], 1 - said), explain(model, x[:2]))
    assert not model.training


def test_the_picture_over_which_the_reason_is_laid() -> None:
    image, heat = torch.zeros(3, 20, 30, dtype=torch.uint8), torch.zeros(20, 30)
    heat[:5, :5] = 2.0
    drawn = overlaid(image, heat)
    assert (drawn.mode, drawn.size) == ("RGB", (210, 140))
    assert drawn.getpixel((3, 3)) == (178, 0, 0)
    assert drawn.getpixel((200, 130)) == (0, 0, 0)
    assert overlaid(image, torch.zeros(20, 30)).getextrema() == ((0, 0), (0, 0), (0, 0))
    assert where(torch.zeros(20, 30)) == "nowhere in particular"


def test_the_word_that_tells(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    filler = ["one", "two", "three", "four", "five", "six"]
    rows = []
    for i in range(300):
        words = [filler[j] for j in torch.randint(0, 6, (5,), generator=generator)]
        words[i % 5] = "dreadful" if i % 2 else "superb"
        rows.append((" ".join(words), ["good", "bad"][i % 2]))
    path = str(tmp_path / "reviews.csv")
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(path, index=False)
    data = TextCSV(path, max_length=8)
    data.setup()
    torch.manual_seed(0)
    model = Recurrent(data.spec, hidden_dim=16, num_layers=1)
    model = trained(model, *(part[:192] for part in data.splits["train"]), epochs=25)
    sentences = ["five superb one two", "dreadful six six", "superb"]
    batch = as_batch(sentences, data.spec)
    support = explain(model, batch)
    assert support.argmax(1).tolist() == [1, 0, 0]
    assert (support[:, 4:] == 0).all()
    # The word is what speaks against the other answer.
    assert explain(model, batch, 1 - model(batch).argmax(1) if data.spec.num_outputs > 1 else
                   (model(batch)[:, 0] < 0).long()).argmin(1).tolist() == [1, 0, 0]  # fmt: skip


def test_a_network_of_numbers_has_no_places() -> None:
    with pytest.raises(UserError, match="pictures and for sentences"):
        explain(FeedForward(DataSpec((4,))), torch.zeros(1, 4))
