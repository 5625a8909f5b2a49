"""Data in memory as the raw batch that a network reads: arrays, DataFrames, sentences."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_utilities.core.apply_func import apply_to_collection
from PIL import Image
from torch import Tensor

from datamodules.spec import KIND_NAMES, DataSpec
from zoo.errors import UserError


def as_batch(data: Any, spec: DataSpec) -> Any:
    """Return data in memory as the raw batch that a network reads.

    Args:
        data: Arrays or tensors (N, *input_shape), a DataFrame or sentences; pictures of Pillow's or
            their files; the numbers of FizzBuzz.
        spec: What the network reads.

    Raises:
        UserError: If they are something else.
    """
    described, shape = dict(spec.preprocessing), spec.input_shape
    is_array = isinstance(data, (Tensor, np.ndarray))
    if spec.kind == "table" and not is_array:
        return _rows(data, described)
    if spec.kind == "tokens" and not is_array:
        from datamodules.text import token_ids, tokenize

        sentences = [data] if isinstance(data, str) else list(data)
        if not all(isinstance(sentence, str) for sentence in sentences):
            raise UserError("The network reads sentences: a list of str.")
        words = [tokenize(sentence) for sentence in sentences]
        return token_ids(words, described["vocabulary"], shape[0])
    if spec.kind == "pixels" and not is_array:
        from zoo.inputs import read_pictures

        pictures = list(data) if isinstance(data, (list, tuple)) else [data]
        if pictures and all(isinstance(p, (str, Path, Image.Image)) for p in pictures):
            return read_pictures(spec, pictures)
    if "binary_digits" in described and np.ndim(data) < 2:
        from zoo.inputs import read_inputs

        return read_inputs(spec, [str(number) for number in np.atleast_1d(data).tolist()]).x
    if not isinstance(shape, tuple):
        return apply_to_collection(data, np.ndarray, torch.from_numpy)
    try:
        x = torch.as_tensor(data if is_array else np.asarray(data))
    except (TypeError, ValueError) as error:
        raise UserError(f"The network reads {KIND_NAMES[spec.kind]}: {error}.") from error
    if x.shape[1:] == shape[1:] and shape[0] == 1:  # grey images, without their one channel
        x = x.unsqueeze(1)
    if spec.kind == "pixels" and x.shape[1:] == (*shape[1:], shape[0]) != shape:
        x = x.movedim(-1, 1)  # the channels behind height and width
    if x.shape[1:] != shape:
        raise UserError(
            f"The network reads examples of the shape {shape}: (N, {', '.join(map(str, shape))}) "
            f"in all; these data have {tuple(x.shape)}."
        )
    if spec.kind == "pixels" and not x.is_floating_point():
        if x.numel() and (int(x.min()) < 0 or int(x.max()) > 255):
            raise UserError(f"Images as whole numbers are from 0 to 255, not {int(x.max())}.")
        return x.to(torch.uint8)  # bytes, however wide they came
    return x.to(torch.get_default_dtype()) if x.dtype == torch.float64 else x


def _rows(data: Any, described: dict[str, Any]) -> Tensor:
    import pandas as pd

    from datamodules.tabular.anomalies import Anomalies, warn
    from datamodules.tabular.encode import check_columns, encode_frame

    frame = data if isinstance(data, pd.DataFrame) else pd.DataFrame(data)
    frame = frame.set_axis(frame.columns.astype(str), axis=1)
    check_columns(list(frame.columns), described, "The table")
    anomalies = Anomalies(described)
    rows = encode_frame(frame, described, anomalies=anomalies)
    warn(anomalies.lines(), "The table")
    return rows
