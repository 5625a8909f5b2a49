"""Why this answer: what of a picture or a sentence it rests on, found by hiding one part at a time.

Occlusion (Zeiler and Fergus, 2014, arXiv 1311.2901) asks nothing of a network but its outputs, so
it explains every architecture, a stranger's backbone too.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from datamodules.text import PADDING, UNKNOWN, tokenize
from zoo.errors import UserError
from zoo.network import Network

# A picture is hidden by squares of a fifth of its height and width, each moved by half of that:
# 100 places. Smaller squares hide too little of a large part; larger ones do not tell where.
SHARE_HIDDEN = 5
# Changed pictures at a time: 512 of 3 x 224 x 224 take 300 MB.
CHUNK_PIXELS = 75_000_000
KINDS = ("pixels", "tokens")
PLACES = (("top", "middle", "bottom"), ("left", "centre", "right"))


def explain(model: Network, x: Tensor, target: Tensor | None = None) -> Tensor:
    """Return how much each part of raw examples supports an answer.

    A part is hidden, and the log-odds of the class are compared with those of the whole; of a
    regression, the prediction. Of a picture a square is made black, and white (what is missing
    there can be the reason, too), and what both cost is averaged; what an answer does not lose by
    is zero. Of a sentence a word is left out; what speaks against the answer is negative.

    Args:
        model: A network that reads images or sentences. It is asked in evaluation mode.
        x: The raw batch: images (N, C, H, W), bytes or floats from 0 to 1; token ids (N, T).
        target: The class to explain for each (N,). Default: the predicted one.

    Returns:
        Images: (N, H, W), from 0 on. Token ids: (N, T), 0 where there is no word. Float, on the
        CPU.

    Raises:
        UserError: If the network reads something else.
    """
    if model.spec.kind not in KINDS:
        raise UserError(
            "What an answer rests on is shown for pictures and for sentences; this network reads "
            "neither."
        )
    one = _explain_words if model.spec.kind == "tokens" else _explain_picture
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            parts = []
            for number, example in enumerate(x.to(model.device)):
                chosen = None if target is None else int(target[number])
                parts.append(one(model, example, chosen))
            return torch.stack(parts).float().cpu()
    finally:
        model.train(was_training)


def _explain_picture(model: Network, image: Tensor, target: int | None) -> Tensor:
    _, height, width = image.shape
    sides = [max(1, round(side / SHARE_HIDDEN)) for side in (height, width)]
    places = [
        sorted({*range(0, whole - side + 1, max(1, side // 2)), whole - side})
        for whole, side in zip((height, width), sides, strict=True)
    ]
    masks = torch.zeros(len(places[0]), len(places[1]), height, width, dtype=torch.bool)
    for row, top in enumerate(places[0]):
        for column, left in enumerate(places[1]):
            masks[row, column, top : top + sides[0], left : left + sides[1]] = True
    masks = masks.flatten(0, 1).to(image.device)
    hidden = [
        torch.where(masks[:, None], torch.full_like(image, value), image)
        for value in (0, 255 if image.dtype == torch.uint8 else 1)
    ]
    scores = _scores(model, torch.cat([image[None], *hidden]), target)
    cost = (scores[0] - scores[1:]).clamp(min=0).reshape(2, -1).mean(0)
    weights = masks.flatten(1).float()
    heat = (cost[:, None] * weights).sum(0) / weights.sum(0)
    return heat.reshape(height, width)


def _explain_words(model: Network, ids: Tensor, target: int | None) -> Tensor:
    padding, unknown = (model.spec.preprocessing["vocabulary"].index(w) for w in (PADDING, UNKNOWN))
    places = (ids != padding).nonzero().flatten().tolist()
    left_out = []
    for place in places:
        rest = torch.cat([ids[:place], ids[place + 1 :], ids.new_tensor([padding])])
        if len(places) == 1:
            rest[0] = unknown
        left_out.append(rest)
    scores = _scores(model, torch.stack([ids, *left_out]), target)
    support = torch.zeros(len(ids))
    support[places] = (scores[0] - scores[1:]).float().cpu()
    return support


def _scores(model: Network, x: Tensor, target: int | None) -> Tensor:
    """Return the log-odds of one class (N,): of `target`, else of the first example's.

    Of a regression, the sum of what is predicted. Unlike probabilities log-odds do not stand still
    near 1, where a network is sure.
    """
    size = max(1, CHUNK_PIXELS // max(1, x[0].numel()) // 4)
    outputs = torch.cat([model(part) for part in x.split(min(size, 512))]).float()
    if model.spec.task == "regression":
        return outputs.sum(1)
    if model.spec.task == "binary":
        logit = outputs[:, 0]
        return logit if (logit[0] > 0 if target is None else target) else -logit
    chosen = int(outputs[0].argmax()) if target is None else target
    others = torch.ones(outputs.shape[1], dtype=torch.bool, device=outputs.device)
    others[chosen] = False
    return outputs[:, chosen] - outputs[:, others].logsumexp(1)


def where(heat: Tensor) -> str:
    """Return in words which ninth of a picture supports its answer most, such as `top left`.

    Args:
        heat: (H, W), as `explain` gives it.
    """
    if not float(heat.max()):
        return "nowhere in particular"
    ninths = functional.adaptive_avg_pool2d(heat[None, None], 3).flatten()
    row, column = divmod(int(ninths.argmax()), 3)
    if row == column == 1:
        return "the middle"
    return " ".join(PLACES[axis][place] for axis, place in enumerate((row, column)) if place != 1)


def overlaid(image: Tensor, heat: Tensor, side: int = 224) -> Image.Image:
    """Return a picture in grey with what supports its answer in red.

    Args:
        image: (C, H, W), bytes or floats from 0 to 1.
        heat: (H, W), as `explain` gives it.
        side: The longer side of what comes out, in pixels, if the image is smaller than that.
    """
    pixels = image.detach().cpu().float()
    grey = (pixels / 255 if image.dtype == torch.uint8 else pixels.clamp(0, 1)).mean(0)
    scale = max(1, round(side / max(grey.shape)))
    size = tuple(scale * length for length in grey.shape)
    grey = functional.interpolate(grey[None, None], size)[0, 0]
    red = functional.interpolate(heat[None, None], size, mode="bilinear")[0, 0]
    red = 0.7 * red / red.max().clamp(min=1e-12)
    mixed = torch.stack([grey * (1 - red) + red, grey * (1 - red), grey * (1 - red)], dim=-1)
    return Image.fromarray((mixed * 255).round().numpy().astype(np.uint8))


def words(sentence: str, support: Tensor) -> list[tuple[str, float]]:
    """Return the words of a sentence with what supports its answer, the strongest first.

    Args:
        sentence: As the network was given it; its words beyond what that reads are left out.
        support: (T,), as `explain` gives it.
    """
    pairs = zip(tokenize(sentence), support.tolist(), strict=False)
    return sorted(pairs, key=lambda pair: -abs(pair[1]))
