"""Any network of torchvision or timm, or a module of one's own, under the zoo's head."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from datamodules.spec import DataSpec
from zoo.errors import UserError
from zoo.module import ZooModule
from zoo.other_networks import (
    OtherNetwork,
    channels_read,
    check_name_in_data,
    load_file,
    make_network,
    take_off_classifier,
)


class Backbone(ZooModule):
    """A network that somebody else has written, its classifier replaced by a head of ours.

    Document 002, "Layer Initialization and Fine Tuning": layers of a network that was trained on
    another task, with a new output. Features that are maps are averaged over their places, those
    that are sequences over their steps.

    Shape: (N, *input_shape) -> (N, num_outputs).

    Args:
        spec: The data that it is for.
        name: A network of torchvision (`torchvision.models.resnet18`), one of timm where that is
            installed (`timm.convnext_atto`), or the class path of any `nn.Module`
            (`my_network.Net`). One that does not end in a linear layer is kept whole.
        weights: A local file with weights of it: .safetensors, or a state_dict by `torch.save`.
            Nothing is downloaded. Its classifier is left out.
        options: Arguments of the network, such as `{"image_size": 64}` of torchvision's `vit_b_16`.
        mean: What is subtracted from the channels, of pixels from 0 to 1. Default: what the network
            was trained with by its library; nothing of a module of one's own.
        std: What they are divided by after that. Default: likewise.
        dropout: Share of the features before the head that are dropped out in training.

    Raises:
        UserError: If there is no such network, it cannot read these data, or the weights do not
            fit.
    """

    #: What is in it may not be made of shapes alone.
    holds_others = True

    def __init__(
        self,
        spec: DataSpec,
        name: str = "torchvision.models.resnet18",
        weights: str | None = None,
        options: dict[str, Any] = {},  # noqa: B006
        mean: list[float] | None = None,
        std: list[float] | None = None,
        dropout: float = 0.0,
    ) -> None:
        spec = DataSpec.of(spec)
        if spec.kind == "pixels":  # scaled once: as the network wants it, not as the data would
            plain = {**spec.preprocessing, "mean": 0.0, "std": 1.0}
            spec = replace(spec, preprocessing=plain)
        super().__init__(spec)
        self.hparams["weights"] = None  # what was read of that file is in ours from now on
        is_image = spec.kind == "pixels" and len(self.feature_shape) == 3
        channels = self.feature_shape[0] if is_image else None
        network = make_network(name, options, channels)
        if channels is None and network.mean is not None:
            raise UserError(
                f"{name} reads images (channels, height, width), but these data have the shape "
                f"{tuple(self.feature_shape)}."
            )
        normalize: nn.Module = nn.Identity()
        if channels is not None:
            read = channels_read(network.module) or channels
            normalize = Normalize(mean or network.mean, std or network.std, read)
        self.backbone = nn.Sequential(normalize, network.module, Pooled())
        features = self._features_without_classifier(network, normalize, name)
        if weights is not None:
            print(load_file(network, weights, name), file=sys.stderr)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, self.num_outputs)

    def _features_without_classifier(
        self, network: OtherNetwork, normalize: nn.Module, name: str
    ) -> int:
        """Take the classifier off, and return how many features there are."""
        last: list[Any] = [None]

        def keep(layer: str) -> Any:
            return lambda _, __, output: last.__setitem__(0, (layer, output))

        hooks = [
            layer.register_forward_hook(keep(path))
            for path, layer in network.module.named_modules()
            if isinstance(layer, nn.Linear)
        ]
        self.eval()
        example = self.example_input_array
        try:
            with torch.no_grad():
                read = normalize(self.preprocess(example))
                take_off_classifier(network, network.module(read), last[0])
                features = self.backbone(self.preprocess(example))
        except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as error:
            if example.is_meta:  # of shapes alone not every module can be asked
                raise
            shape = " x ".join(map(str, self.feature_shape))
            why = " ".join(str(error).split()) or type(error).__name__
            raise UserError(
                f"{name} cannot read examples of {shape}: {why}. Give pictures of another "
                "--data.size, or arguments by --model.options."
            ) from error
        finally:
            for hook in hooks:
                hook.remove()
            self.train()
        return features.shape[1]

    @classmethod
    def check_arguments_in_data(cls, arguments: Mapping[str, Any], place: str) -> None:
        """Refuse what a stranger's file names, unless torchvision or timm has it, or it is allowed.

        Raises:
            UserError: If it names something else, or a file to read.
        """
        if "name" in arguments:
            check_name_in_data(arguments["name"], arguments.get("options", {}), place)
        if arguments.get("weights") is not None:
            raise UserError(f"{place} names another file to read, '{arguments['weights']}'.")

    def forward_head(self, features: Tensor) -> Tensor:
        """Return the head's outputs."""
        return self.head(self.dropout(features))


class Normalize(nn.Module):
    """Shift and scale each channel; grey images are given to all channels of a network for RGB.

    Shape: (N, C, H, W) -> (N, channels, H, W).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Any, std: Any, channels: int) -> None:
        super().__init__()
        self.channels = channels
        for name, values, default in (("mean", mean, 0.0), ("std", std, 1.0)):
            if values is not None and len(values) not in (1, channels):
                if channels in (1, 3):
                    raise UserError(f"--model.{name} has {len(values)} numbers, not {channels}.")
                values = [sum(values) / len(values)]
            numbers = torch.tensor(values or [default], dtype=torch.get_default_dtype())
            self.register_buffer(name, numbers.reshape(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the images as the network reads them."""
        if x.shape[1] == 1 and self.channels != 1:
            x = x.expand(-1, self.channels, -1, -1)
        return (x - self.mean) / self.std


class Pooled(nn.Module):
    """Average maps (N, C, H, W) over their places, sequences (N, T, C) over their steps.

    Of several outputs, such as those of an Inception in training, the first is taken.
    """

    def forward(self, x: Any) -> Tensor:
        """Return features (N, C)."""
        if isinstance(x, dict):
            x = next(iter(x.values()))
        if isinstance(x, (tuple, list)):
            x = x[0]
        if x.ndim == 3:
            return x.mean(1)
        return x.flatten(2).mean(2) if x.ndim > 2 else x
