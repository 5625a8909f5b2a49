"""Garments for the upper body: they share a torso, and overlap as they do in FashionMNIST."""

from functools import partial

import numpy as np

from datamodules.synthetic.garments.sketch import Array, Number, Sketch, curve, path, sometimes


def _top(
    count: int,
    rng: np.random.Generator,
    sleeve: Array,
    length: tuple[float, float],
    hem: tuple[float, float],
    neck_depth: tuple[float, float],
    width: float = 1.0,
    tail: Number = 0.02,
) -> tuple[Sketch, dict[str, Array]]:
    """A torso with two sleeves; `sleeve` is the sleeves' length, 0 for none to 1 for full.

    `tail` is how far the hem hangs lower in the middle than at the sides.
    """
    draw = partial(rng.uniform, size=count)
    bottom = draw(*length)
    shoulder, waist = width * draw(0.46, 0.58), width * draw(0.36, 0.5)
    skirt = waist * draw(*hem)
    neck, depth = draw(0.14, 0.26), draw(*neck_depth)
    # A short sleeve stands off the body, a long one hangs down beside it.
    angle = 0.75 + 0.5 * sleeve + rng.normal(0, 0.1, count)
    reach = 0.12 + 1.38 * sleeve
    wide = draw(0.26, 0.34) * (1 - 0.4 * sleeve)
    across, down = np.cos(angle), np.sin(angle)
    tip_x, tip_y = shoulder + reach * across, -0.82 + reach * down
    inner_x, inner_y = tip_x - wide * down, tip_y + wide * across
    pit = -0.82 + draw(0.36, 0.46)
    # The inner seam leaves the body at the armpit, outside of the waist.
    inner_x = np.maximum(inner_x, waist + 0.03)
    inner_y = np.maximum(inner_y, pit)
    outline = path(
        count,
        (0, -0.95 + depth),
        (neck * 0.7, -0.95 + depth * 0.75),
        (neck, -0.95),
        (shoulder, -0.82),
        (tip_x, tip_y),
        (inner_x, inner_y),
        (waist + 0.01, pit),
        (waist, (pit + bottom) / 2),
        (skirt, bottom),
        (skirt * 0.5, bottom + tail),
        (0, bottom + tail),
        mirrored=True,
    )
    sketch = Sketch(fills=[(outline, 1.0)])
    # A fold where long sleeves lie along the body.
    fold = path(count, (waist, pit), (waist, pit + 0.9 * (inner_y - pit)))
    strength = -0.5 * np.clip(sleeve * 1.5 - 0.4, 0, 1) * draw(0.3, 1)
    sketch.seams += [(fold, 0.4, strength), (fold * np.float32([-1, 1]), 0.4, strength)]
    return sketch, {"bottom": bottom, "neck": neck, "depth": depth, "waist": waist}


def _front(sketch: Sketch, cut: dict[str, Array], half_width: Number, strength: Array) -> None:
    """Adds a front opening from neck to hem."""
    count = len(strength)
    line = path(count, (0, -0.95 + cut["depth"]), (0, cut["bottom"]))
    sketch.seams.append((line, half_width, strength))


def _collar(sketch: Sketch, cut: dict[str, Array], drop: Number, strength: Array) -> None:
    """Adds two collar points, or a coat's lapels where `drop` is long."""
    count = len(strength)
    right = path(
        count,
        (cut["neck"], -0.93),
        (cut["neck"] * 0.9, -0.95 + cut["depth"] + drop * 0.6),
        (0, -0.95 + cut["depth"] + drop),
    )
    sketch.seams += [(right, 0.3, strength), (right * np.float32([-1, 1]), 0.3, strength)]


def t_shirt(count: int, rng: np.random.Generator) -> Sketch:
    """Short sleeves, an open neck, a print on the chest for a third."""
    sleeve = np.clip(rng.normal(0.2, 0.09, count), 0, 0.45)
    sketch, _ = _top(count, rng, sleeve, (0.72, 0.95), (0.9, 1.15), (0.05, 0.3))
    chest = curve(path(count, (-0.18, -0.2), (0.15, -0.25), (0.15, 0.05), (-0.15, 0.1)), True)
    strength = sometimes(rng, count, 0.35) * rng.uniform(-0.7, 0.6, count)
    sketch.seams.append((chest, rng.uniform(0.8, 2.2, count), strength))
    return sketch


def pullover(count: int, rng: np.random.Generator) -> Sketch:
    """Long sleeves, a closed neck, a knitted hem."""
    sleeve = np.clip(rng.normal(0.92, 0.08, count), 0.6, 1.05)
    sketch, cut = _top(count, rng, sleeve, (0.6, 0.84), (0.88, 1.06), (0.02, 0.16))
    cuff = path(count, (-cut["waist"], cut["bottom"] - 0.1), (cut["waist"], cut["bottom"] - 0.1))
    sketch.seams.append((cuff, 0.4, -rng.uniform(0, 0.5, count)))
    _collar(sketch, cut, 0.03, -sometimes(rng, count, 0.4) * 0.4)
    return sketch


def dress(count: int, rng: np.random.Generator) -> Sketch:
    """A long narrow body with a waist; sleeves to the elbow for four in ten."""
    draw = partial(rng.uniform, size=count)
    chest, waist, hem = draw(0.24, 0.36), draw(0.18, 0.28), draw(0.26, 0.62)
    neck, depth, middle = draw(0.1, 0.16), draw(0.08, 0.35), draw(-0.35, -0.1)
    # Four in ten have sleeves, down to the elbow at most.
    sleeve = sometimes(rng, count, 0.4) * draw(0.1, 0.5)
    shoulder = neck + draw(0.08, 0.16)
    outline = path(
        count,
        (0, -0.97 + depth),
        (neck, -0.97),
        (shoulder, -0.92),
        (np.maximum(chest, shoulder) + 0.45 * sleeve, -0.86 + 1.1 * sleeve),
        (chest + 0.25 * sleeve, -0.7 + 1.1 * sleeve),
        (chest, -0.55),
        (waist, middle),
        ((waist + hem) / 2 + draw(-0.02, 0.06), (middle + 0.95) / 2),
        (hem, 0.95),
        (0, 0.97),
        mirrored=True,
    )
    belt = path(count, (-waist, middle), (waist, middle))
    pleat = path(count, (waist * 0.4, middle), (hem * 0.5, 0.95))
    strength = -sometimes(rng, count, 0.4) * 0.35
    return Sketch(
        fills=[(outline, 1.0)],
        seams=[
            (belt, 0.4, sometimes(rng, count, 0.5) * draw(-0.7, 0.4)),
            (pleat, 0.3, strength),
            (pleat * np.float32([-1, 1]), 0.3, strength),
        ],
    )


def coat(count: int, rng: np.random.Generator) -> Sketch:
    """Long sleeves, a long body that opens at the front, lapels and pockets."""
    sleeve = np.clip(rng.normal(0.98, 0.07, count), 0.7, 1.1)
    sketch, cut = _top(count, rng, sleeve, (0.84, 0.97), (1.0, 1.25), (0.04, 0.2))
    _front(sketch, cut, rng.uniform(0.3, 0.6, count), -rng.uniform(0.2, 0.8, count))
    _collar(sketch, cut, rng.uniform(0.1, 0.5, count), -rng.uniform(0, 0.7, count))
    pocket = path(count, (cut["waist"] * 0.4, 0.4), (cut["waist"] * 0.85, 0.33))
    strength = -sometimes(rng, count, 0.6) * 0.5
    sketch.seams += [(pocket, 0.3, strength), (pocket * np.float32([-1, 1]), 0.3, strength)]
    return sketch


def shirt(count: int, rng: np.random.Generator) -> Sketch:
    """A collar, a row of buttons and a tail."""
    # Short sleeves for three in ten, which makes them nearly T-shirts; the others are cut closer
    # than pullovers and coats, with a collar, buttons and a tail.
    short = rng.random(count) < 0.3
    sleeve = np.where(short, rng.normal(0.26, 0.08, count), rng.normal(0.86, 0.1, count))
    sketch, cut = _top(
        count,
        rng,
        np.clip(sleeve, 0.05, 1.05),
        (0.7, 0.88),
        (0.9, 1.1),
        (0.06, 0.26),
        width=0.8,
        tail=rng.uniform(0.04, 0.16, count),
    )
    _front(sketch, cut, rng.uniform(0.3, 0.5, count), rng.uniform(-0.6, 0.3, count))
    _collar(sketch, cut, rng.uniform(0.02, 0.15, count), -rng.uniform(0.1, 0.7, count))
    pocket = path(count, (0.12, -0.2), (0.32, -0.2), (0.32, 0.02), (0.12, 0.02), (0.12, -0.2))
    sketch.seams.append((pocket, 0.2, -sometimes(rng, count, 0.4) * 0.4))
    return sketch
