"""Trousers, shoes and bags."""

from functools import partial

import numpy as np

from datamodules.synthetic.garments.sketch import Sketch, curve, path, sometimes


def trouser(count: int, rng: np.random.Generator) -> Sketch:
    """Two legs, a belt and a fly."""
    draw = partial(rng.uniform, size=count)
    waist, hip, ankle = draw(0.26, 0.38), draw(0.34, 0.46), draw(0.14, 0.26)
    spread, crotch, bottom = draw(0.2, 0.4), draw(-0.5, -0.2), draw(0.85, 0.97)
    outline = path(
        count,
        (0, -0.95),
        (waist, -0.95),
        (hip, crotch - 0.05),
        (spread + ankle / 2, bottom),
        (spread - ankle / 2, bottom),
        (draw(0.02, 0.08), crotch + 0.1),
        (0, crotch),
        mirrored=True,
    )
    belt = path(count, (-waist, -0.84), (waist, -0.84))
    fly = path(count, (0, -0.84), (0, crotch))
    return Sketch(
        fills=[(outline, 1.0)],
        seams=[(belt, 0.3, -draw(0, 0.6)), (fly, 0.3, -draw(0, 0.6))],
    )


def sandal(count: int, rng: np.random.Generator) -> Sketch:
    """A thin sole, flat or on a heel, with toe and ankle straps."""
    draw = partial(rng.uniform, size=count)
    # Flat (0) to high heel (1).
    heel = draw(0, 1) * sometimes(rng, count, 0.65)
    sole, thick = 0.5 + draw(-0.05, 0.1), draw(0.06, 0.14)
    rise = sole - 0.75 * heel
    top = [(-0.93, sole - 0.02), (-0.4, sole - 0.03), (0.15, sole - 0.3 * heel), (0.9, rise)]
    bottom = [(0.92, rise + thick), (0.15, sole - 0.25 * heel + thick), (-0.4, sole + thick)]
    slab = path(count, *top, *bottom, (-0.9, sole + thick))
    stem = path(
        count,
        (0.9, rise + thick * 0.5),
        (0.92, sole + thick + 0.02),
        (0.92 - draw(0.06, 0.2), sole + thick + 0.02),
        (0.55, rise + thick + 0.08 * heel),
    )
    height = draw(0.25, 0.5)
    toe = path(count, (-0.8, sole), (-0.6, sole - height), (-0.25, sole))
    second = path(count, (-0.5, sole), (-0.25, sole - height), (0.05, sole - 0.25 * heel))
    ankle = path(
        count,
        (0.88, rise),
        (0.85, rise - height * 1.2),
        (0.5, rise - height * 1.3),
        (0.3, sole - 0.45 * heel),
    )
    shade = draw(0.6, 1.1)
    wide = draw(0.5, 1.3)
    none = np.float32(0.02)
    return Sketch(
        fills=[(slab, 1.0), (stem, shade)],
        straps=[
            (curve(toe), wide, shade),
            (curve(second), wide, np.where(rng.random(count) < 0.6, shade, none)),
            (curve(ankle), wide * 0.8, np.where(rng.random(count) < 0.75, shade, none)),
        ],
    )


def sneaker(count: int, rng: np.random.Generator) -> Sketch:
    """A low shoe pointing left, with a thick sole, laces and a stripe."""
    draw = partial(rng.uniform, size=count)
    ground, thick = draw(0.4, 0.55), draw(0.1, 0.2)
    # One in eight is a high-top, close to a low boot.
    collar = draw(-0.3, -0.02) - 0.4 * sometimes(rng, count, 0.12)
    tongue, toe = collar - draw(0.02, 0.12), draw(0.1, 0.22)
    tip = ground - thick
    upper = curve(
        path(
            count,
            (-0.95, tip + 0.02),
            (-0.9, tip - toe),
            (-0.5, tip - toe - 0.15),
            (-0.05, tongue + 0.05),
            (0.15, tongue),
            (0.4, collar + 0.12),
            (0.82, collar),
            (0.93, (collar + tip) / 2),
            (0.92, tip + 0.02),
            (0, tip + 0.04),
        ),
        closed=True,
    )
    sole = path(count, (-0.96, tip), (0.95, tip), (0.93, ground), (-0.92, ground))
    stripe = path(count, (draw(-0.1, 0.3), tip), (draw(0.2, 0.6), collar + 0.15))
    laces = path(count, (-0.4, tip - toe - 0.1), (0.05, tongue + 0.12))
    edge = path(count, (-0.93, tip), (0.93, tip))
    return Sketch(
        fills=[(upper, 1.0), (sole, draw(0.5, 1.4))],
        seams=[
            (stripe, draw(0.5, 1.5), sometimes(rng, count, 0.7) * draw(-0.8, 0.5)),
            (laces, draw(0.4, 1.0), draw(-0.7, 0.4)),
            (edge, 0.3, -draw(0, 0.6)),
        ],
    )


def bag(count: int, rng: np.random.Generator) -> Sketch:
    """A box with a flap and, mostly, a handle."""
    draw = partial(rng.uniform, size=count)
    top, bottom = draw(-0.45, 0.0), draw(0.6, 0.9)
    wide, flare = draw(0.6, 0.93), draw(0.8, 1.05)
    round_ = draw(0.03, 0.15)
    body = path(
        count,
        (0, top),
        (wide * flare - round_, top),
        (wide * flare, top + round_),
        (wide, bottom - round_),
        (wide - round_, bottom),
        (0, bottom),
        mirrored=True,
    )
    grip, peak = draw(0.25, 0.6) * wide, np.maximum(top - draw(0.25, 0.7), -0.93)
    handle = path(
        count, (-grip, top + 0.05), (-grip * 0.8, peak + 0.1), (0, peak), (grip * 0.8, peak + 0.1),
        (grip, top + 0.05),
    )  # fmt: skip
    flap = top + draw(0.15, 0.5) * (bottom - top)
    edge = path(count, (-wide * 0.95, flap), (0, flap + draw(0, 0.15)), (wide * 0.95, flap))
    clasp = path(count, (-0.05, flap), (0.05, flap + 0.03))
    shade = np.where(rng.random(count) < 0.85, draw(0.6, 1.1), 0.02)
    return Sketch(
        fills=[(body, 1.0)],
        straps=[(curve(handle), draw(0.5, 1.3), shade)],
        seams=[
            (edge, 0.4, -sometimes(rng, count, 0.7) * draw(0.2, 0.7)),
            (clasp, draw(0.6, 1.3), sometimes(rng, count, 0.4) * draw(-0.7, 0.6)),
        ],
    )


def ankle_boot(count: int, rng: np.random.Generator) -> Sketch:
    """A shoe with a shaft, pointing left, flat or on a heel."""
    draw = partial(rng.uniform, size=count)
    heel = draw(0, 0.28) * sometimes(rng, count, 0.7)
    ground, thick, top = draw(0.78, 0.92), draw(0.06, 0.14), draw(-0.95, -0.2)
    tip, toe, front = ground - thick, draw(0.15, 0.3), draw(-0.15, 0.1)
    arch = ground - thick - heel
    upper = path(
        count,
        (front, top + draw(-0.03, 0.06)),
        (0.8 + draw(-0.05, 0.1), top),
        (0.82, (top + arch) / 2),
        (0.9, arch),
        (0.3, arch + heel * 0.3),
        (-0.2, tip),
        (-0.92, tip),
        (-0.93, tip - toe * 0.7),
        (-0.7, tip - toe - 0.05),
        (-0.25, tip - toe - 0.22),
        (front - 0.05, tip - toe - 0.5),
    )
    sole = path(
        count,
        (-0.93, tip),
        (-0.2, tip),
        (0.3, arch + heel * 0.3),
        (0.92, arch),
        (0.9, ground),
        (0.9 - draw(0.2, 0.45), ground),
        (0.35, arch + heel * 0.4 + thick),
        (-0.2, ground),
        (-0.9, ground),
    )
    side = draw(0.3, 0.55)
    zipper = path(count, (side, top + 0.05), (side + draw(-0.15, 0.1), arch - 0.1))
    strap = path(count, (front - 0.1, tip - toe - 0.4), (0.82, tip - toe - 0.4 - draw(0, 0.2)))
    return Sketch(
        fills=[(upper, 1.0), (sole, draw(0.4, 1.2))],
        seams=[
            (zipper, 0.4, sometimes(rng, count, 0.6) * draw(-0.8, 0.4)),
            (strap, draw(0.4, 1.0), sometimes(rng, count, 0.4) * draw(-0.8, 0.5)),
        ],
    )
