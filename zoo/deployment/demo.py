"""A page in the browser on which a network is tried: draw, upload, fill in, type."""

import math
import os
from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from datamodules.fizzbuzz import NUM_BITS, encode
from datamodules.image_files.cropping import ImageReader
from datamodules.tabular.anomalies import Anomalies
from datamodules.tabular.columns import Column
from datamodules.tabular.encode import encode_frame
from datamodules.text import token_ids, tokenize
from zoo.errors import UserError
from zoo.explanation import explain, overlaid
from zoo.fitted.calibration import UNKNOWN
from zoo.network import Network

# Before gradio is imported: it would ask its makers for news.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
import gradio as gr

#: More numbers than this make no form.
MOST_NUMBERS = 64
MISSING = "(missing)"
WHY = "What it rests on"  # on a phone a longer label covers the picture
# The pad comes with no tool in hand.
TAKE_BRUSH = """() => {
  const timer = setInterval(() => {
    const brush = document.querySelector('#pad button[aria-label="Brush"]');
    if (brush) { brush.click(); clearInterval(timer); }
  }, 100);
  setTimeout(() => clearInterval(timer), 20000);
}"""


class Shares(dict[str, float]):
    """Probabilities by class, and whether the input is none of these."""

    is_unknown = False


def shares_label() -> gr.Label:
    """Return probabilities under the likeliest class as a title, or under `unknown`."""
    label = gr.Label(label="Probabilities", elem_id="answer", num_top_classes=5)
    plain = label.postprocess

    def postprocess(value: Any) -> Any:
        drawn: Any = plain(value)
        if isinstance(value, Shares) and value.is_unknown:
            drawn.label = UNKNOWN
        return drawn

    # No subclass: gradio would write a `demo.pyi` beside this file at every import.
    label.postprocess = postprocess  # type: ignore[method-assign]
    return label


class Page:
    """Builds the page of one network.

    Args:
        model: The network, in evaluation mode.
    """

    def __init__(self, model: Network) -> None:
        self.model = model
        self.is_regression = model.spec.task == "regression"
        data = (model.card.recipe if model.card else {}).get("data") or {}
        self.data = str(data.get("class_path", "")).rpartition(".")[2]
        self.title = model.card.name if model.card else type(model).__name__

    def build(self) -> gr.Blocks:
        """Return the page.

        Raises:
            UserError: If there is no form for what the network reads.
        """
        forms = {"pixels": self._images, "table": self._table, "tokens": self._text}
        with gr.Blocks(analytics_enabled=False, title=self.title) as page:
            gr.Markdown(f"# {self.title}\n\n{self.model.card.summary if self.model.card else ''}")
            forms.get(self.model.spec.kind, self._numbers)()
            page.load(js=TAKE_BRUSH)
        return page

    def answer(self, x: torch.Tensor) -> Any:
        """Return what the page shows for one raw example.

        Returns:
            Probabilities by class, with `unknown` as their title if it is none of the classes; of a
            regression the values.
        """
        with torch.inference_mode():
            answer = self.model.answer(self.model(x))
        if not self.is_regression:
            shares = answer["probabilities"][0].tolist()
            of_classes = Shares(zip(self.model.class_names, shares, strict=True))
            of_classes.is_unknown = "unknown" in answer and bool(answer["unknown"][0])
            return of_classes
        values = answer["prediction"][0].tolist()
        target = self.model.spec.preprocessing.get("target", {})
        names = target.get("names") or [f"output {i + 1}" for i in range(len(values))]
        return "\n".join(f"{name}: {value:.6g}" for name, value in zip(names, values, strict=True))

    def _output(self) -> Any:
        if self.is_regression:
            return gr.Textbox(label="Prediction", elem_id="answer", interactive=False)
        return shares_label()

    # Images

    def _images(self) -> None:
        channels, height, width = self.model.spec.input_shape

        def read(picture: np.ndarray | dict[str, Any] | None) -> np.ndarray | None:
            drawn = isinstance(picture, dict)
            pixels = picture["composite"] if isinstance(picture, dict) else picture
            if pixels is None or (drawn and not np.ptp(pixels)):
                return None
            return self.read_picture(pixels, drawn)

        def shown(picture: np.ndarray | dict[str, Any] | None) -> tuple[Any, Any]:
            if (array := read(picture)) is None:
                return None, None
            seen = array[0] if channels == 1 else array.transpose(1, 2, 0)
            large = Image.fromarray(seen).resize((8 * width, 8 * height), Image.Resampling.NEAREST)
            return self.answer(torch.from_numpy(array)[None]), large

        def looked(picture: np.ndarray | dict[str, Any] | None) -> Image.Image | None:
            if (array := read(picture)) is None:
                return None
            x = torch.from_numpy(array)[None]
            return overlaid(x[0], explain(self.model, x)[0], 8 * max(height, width))

        with gr.Row():
            with gr.Column():
                pad = gr.Sketchpad(
                    label="Draw",
                    elem_id="pad",
                    type="numpy",
                    image_mode="RGB",
                    canvas_size=(280, 280),
                    height=420,
                    brush=gr.Brush(default_size=10, colors=["#000000"], color_mode="fixed"),
                    layers=False,
                )
            with gr.Column():
                answer = self._output()
                with gr.Row():
                    seen, why = (
                        gr.Image(label=label, elem_id=name, format="png", min_width=130, buttons=[])
                        for name, label in (("shown", "What it was shown"), ("why", WHY))
                    )
        upload = gr.Image(
            label="Or upload", elem_id="upload", type="numpy", image_mode="RGB",
            sources=["upload"], height=220,
        )  # fmt: skip
        for source in (pad, upload):
            answered = source.change(shown, source, [answer, seen], show_progress="hidden")
            # It takes 200 times as long as the answer, which must not wait for it.
            answered.then(looked, source, why, show_progress="hidden")

    def read_picture(self, pixels: np.ndarray, drawn: bool = False) -> np.ndarray:
        """Turn a drawing or a picture into what the network reads, as `predict` reads files.

        Args:
            pixels: (height, width, 3) uint8.
            drawn: Whether it is dark ink on a white pad, which grey networks read turned round.

        Returns:
            (channels, height, width) uint8.
        """
        reader, picture = ImageReader.of(self.model.spec), Image.fromarray(pixels.astype(np.uint8))
        if drawn and reader.shape[0] == 1:
            picture = ImageOps.invert(picture)
        return reader(picture)[0]

    # Tables, sentences, numbers

    def _form(
        self,
        fields: list[Any],
        answer: Callable[..., Any],
        say_more: Callable[..., Any] | None = None,
        more: Any = None,
    ) -> None:
        """Lay out what has been made of fields, and answer whenever one changes.

        Args:
            fields: The fields.
            answer: Returns the answer for their values.
            say_more: Returns what there is to say besides.
            more: The part of the page that shows it, not yet drawn.
        """
        output = self._output()
        if more is not None:
            more.render()
        # One event for all fields: with one for each, the answer to an earlier state may come last.
        changed = gr.on(
            [field.change for field in fields],
            answer,
            fields,
            output,
            show_progress="hidden",
            trigger_mode="always_last",
        )
        clicked = gr.Button("Predict", variant="primary").click(answer, fields, output)
        if say_more is not None:
            for answered in (changed, clicked):
                answered.then(say_more, fields, more, show_progress="hidden")

    def _table(self) -> None:
        import pandas as pd

        described = self.model.spec.preprocessing
        columns = [Column(**column) for column in described["columns"]]
        numeric = {entry["name"]: entry for entry in described["numeric"]}
        categories = {entry["name"]: entry["vocabulary"] for entry in described["categorical"]}

        def encoded(values: Any, anomalies: Anomalies | None = None) -> torch.Tensor:
            texts = ["" if value in (None, MISSING) else str(value) for value in values]
            cells = pd.DataFrame([texts], columns=[column.name for column in columns])
            return encode_frame(cells, described, decimal=".", anomalies=anomalies)

        def answer(*values: Any) -> Any:
            return self.answer(encoded(values))

        def remarks(*values: Any) -> str:
            anomalies = Anomalies(described)
            encoded(values, anomalies)
            return "\n".join(f"- {line}" for line in anomalies.lines())

        with gr.Row():
            fields = [_field(c, numeric.get(c.name), categories.get(c.name)) for c in columns]
        remarked = gr.Markdown(elem_id="remarks", render=False)
        self._form(fields, answer, remarks, remarked)

    def _text(self) -> None:
        described = self.model.spec.preprocessing
        (length,) = self.model.spec.input_shape

        def answer(sentence: str) -> Any:
            if not tokenize(sentence):
                return None
            return self.answer(token_ids([tokenize(sentence)], described["vocabulary"], length))

        def why(sentence: str) -> list[tuple[str, float]] | None:
            if not (words := tokenize(sentence)[:length]):
                return None
            ids = token_ids([words], described["vocabulary"], length)
            support = explain(self.model, ids)[0, : len(words)]
            return list(
                zip(words, (support / support.abs().max().clamp(min=1e-9)).tolist(), strict=True)
            )

        marked = gr.HighlightedText(label=WHY, elem_id="why", show_legend=True, render=False)
        self._form([gr.Textbox(label="Text", lines=4, elem_id="field-0")], answer, why, marked)

    def _numbers(self) -> None:
        shape = self.model.spec.input_shape
        if self.data == "FizzBuzz":
            last = 2**NUM_BITS - 1
            field = gr.Number(
                label=f"A number from 1 to {last}", value=15, precision=0, elem_id="field-0"
            )

            def of_number(n: int | None) -> Any:
                return self.answer(encode(torch.tensor([n]))) if n and 1 <= n <= last else None

            self._form([field], of_number)
            return
        if not isinstance(shape, tuple) or math.prod(shape) > MOST_NUMBERS:
            raise UserError(
                f"{self.title} reads {shape} numbers, which make no form; the page is for images, "
                f"tables, text, or at most {MOST_NUMBERS} numbers."
            )
        with gr.Row():
            fields = [
                gr.Number(label=f"input {i + 1}", value=0, elem_id=f"field-{i}", min_width=120)
                for i in range(math.prod(shape))
            ]

        def answer(*values: float | None) -> Any:
            numbers = torch.tensor([float(value or 0) for value in values])
            return self.answer(numbers.reshape(1, *shape))

        self._form(fields, answer)


def _field(column: Column, entry: dict[str, Any] | None, words: list[str] | None) -> Any:
    """Return the field of a table's column: its categories, its range, or how a date is written."""
    options: dict[str, Any] = {"elem_id": f"field-{column.name}", "min_width": 200}
    if words is not None:
        return gr.Dropdown([*words, MISSING], value=MISSING, label=column.name, **options)
    if column.kind == "boolean":
        return gr.Dropdown(["yes", "no", MISSING], value=MISSING, label=column.name, **options)
    if column.kind == "date":
        example = datetime(2024, 12, 31).strftime(column.format or "%Y-%m-%d")
        return gr.Textbox(label=f"{column.name} ({column.format})", placeholder=example, **options)
    label = column.name
    if entry and entry.get("low") is not None and entry.get("high") is not None:
        low, high = (entry[key] + column.offset for key in ("low", "high"))
        label += f" ({low:.6g} to {high:.6g})"
    # No gr.Number: gradio 6 shows and sends 0 where there is none.
    return gr.Textbox(label=label, placeholder=MISSING, **options)
