"""Networks of torchvision, timm or the user's own: found by name, their classifier taken off.

No weights are downloaded; those of a local file are read as data.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from datamodules.folders import expand_home
from zoo.errors import UserError, nearest
from zoo.extras import require_extra
from zoo.loading.building import WRAPPERS
from zoo.loading.checkpoints import DAMAGED
from zoo.loading.classes import class_at, class_in_data
from zoo.transfer import adapt_channels

TORCHVISION, TIMM = "torchvision.models.", "timm."
# Of ImageNet's pixels from 0 to 1: what torchvision's networks were trained with.
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Arguments that would fetch weights from elsewhere, or read files.
REFUSED = ("weights", "weights_backbone", "pretrained", "progress", "checkpoint_path", "cache_dir",
           "pretrained_cfg", "pretrained_cfg_overlay", "num_classes", "in_chans")  # fmt: skip
# Where files of weights keep them, and what may stand before every name.
PARTS = ("state_dict", "model_state_dict", "model", "state_dict_ema", "model_ema")
# torchvision's files of DenseNets are older than its names: `norm.1` is `norm1` now.
OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


@dataclass
class OtherNetwork:
    """A network that gives features.

    Attributes:
        module: Images (N, C, H, W), or what else it reads -> features, of any shape.
        classifier: What stood before the names of the layer that was taken off; nothing if none
            was.
        mean: By which it expects the channels of its images to be shifted; None if it says nothing.
        std: By which they are divided after that.
    """

    module: nn.Module
    classifier: tuple[str, ...] = ()
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None


def library_of(name: str) -> str:
    """Return which library defines a name: `torchvision`, `timm`, or nothing if neither does.

    Nothing but these two is imported.
    """
    from torchvision import models

    short = name.removeprefix(TORCHVISION)
    if (name.startswith(TORCHVISION) or "." not in name) and short in models.list_models(models):
        return "torchvision"
    if (name.startswith(TIMM) or "." not in name) and find_spec("timm"):
        import timm

        if timm.is_model(name.removeprefix(TIMM)):
            return "timm"
    return ""


def make_network(name: str, options: Mapping[str, Any], channels: int | None) -> OtherNetwork:
    """Make a network by its name, untrained.

    Args:
        name: `torchvision.models.resnet18`, a name of timm's such as `timm.convnext_atto`, or the
            class path of a module. torchvision's and timm's may be given alone: `resnet18`.
        options: Arguments of the network.
        channels: Of the images; None of other data. A network of three channels is left as it is
            for grey images; for others its first layer is made anew.

    Raises:
        UserError: If there is no such network, or it does not take the arguments.
    """
    if wrong := [key for key in REFUSED if key in options]:
        raise UserError(
            f"--model.options sets {wrong[0]}: the head is the zoo's, and weights come from a "
            "file, by --model.weights."
        )
    library = library_of(name)
    try:
        if library == "timm":
            return _of_timm(name.removeprefix(TIMM), options, channels)
        if library == "torchvision":
            from torchvision import models

            made = models.get_model_builder(name.removeprefix(TORCHVISION))(weights=None, **options)
            found = OtherNetwork(made, (), *IMAGENET)
        else:
            _refuse_unknown(name)
            found = OtherNetwork(class_at(name, nn.Module)(**options))
    except (TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{name} cannot be made: {error}. --model.options has its arguments."
        ) from error
    if channels is not None:
        _read_channels(found.module, channels)
    return found


def check_name_in_data(name: Any, options: Any, place: str) -> None:
    """Refuse a network that weights, a card or a checkpoint name, unless it is known or allowed.

    Args:
        name: What stands in the file: a network of torchvision's or timm's, else one that the
            caller allows.
        options: Its arguments there: of a library's network numbers alone, for nobody has looked
            what a text would be taken for.
        place: Where that is, for the error.

    Raises:
        UserError: If it is anything else. Nothing of it was imported.
    """
    if not isinstance(name, str) or not library_of(name):
        class_in_data(name, nn.Module, place)
    elif not isinstance(options, dict) or not all(map(_is_plain, options.values())):
        raise UserError(f"{place} gives {name} arguments that are no numbers: {options}.")


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float))


def _refuse_unknown(name: str) -> None:
    from torchvision import models

    known = models.list_models(models)
    if "." in name and not name.startswith((TORCHVISION, TIMM)):
        return
    if not name.startswith(TORCHVISION):
        require_extra("timm", f"A network of timm's, if '{name}' is one,", "timm")
        import timm

        known += timm.list_models()
    close = nearest(name.removeprefix(TORCHVISION).removeprefix(TIMM), known)
    raise UserError(
        f"There is no network '{name}'. "
        + (f"Did you mean {' or '.join(close)}? " if close else "")
        + "--model.name takes one of torchvision.models, one of timm's, or a class path."
    )


def _of_timm(name: str, options: Mapping[str, Any], channels: int | None) -> OtherNetwork:
    import timm

    in_chans = 3 if channels in (None, 1) else channels
    made = timm.create_model(name, pretrained=False, num_classes=0, in_chans=in_chans, **options)
    about: dict[str, Any] = made.pretrained_cfg  # type: ignore[assignment]  # no parameter
    classifier = about.get("classifier") or ()
    return OtherNetwork(
        made,
        (classifier,) if isinstance(classifier, str) else tuple(classifier),
        about.get("mean"),
        about.get("std"),
    )


def _read_channels(module: nn.Module, channels: int) -> None:
    """Replace the first convolution by one that reads other channels, if it does not read these."""
    for name, layer in module.named_modules():
        if not isinstance(layer, nn.Conv2d):
            continue
        if layer.in_channels != channels and (layer.in_channels, channels) != (3, 1):
            options = ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
            given = {option: getattr(layer, option) for option in options}
            new = nn.Conv2d(channels, layer.out_channels, bias=layer.bias is not None, **given)
            parent, _, last = name.rpartition(".")
            setattr(module.get_submodule(parent), last, new)
        return


def channels_read(module: nn.Module) -> int | None:
    """Return how many channels the first convolution reads; None if there is none."""
    return next((m.in_channels for m in module.modules() if isinstance(m, nn.Conv2d)), None)


def take_off_classifier(network: OtherNetwork, output: Any, last: Any) -> None:
    """Replace the last linear layer, if what it gives is what the network gives.

    Args:
        network: The network; its classifier is noted.
        output: What it gave.
        last: The name of the last linear layer that was called, and what that gave; None if none.
    """
    if network.classifier or last is None:
        return
    name, given = last
    if name and given is output:
        parent, _, attribute = name.rpartition(".")
        setattr(network.module.get_submodule(parent), attribute, nn.Identity())
        network.classifier = (name,)


def load_file(network: OtherNetwork, file: str, name: str) -> str:
    """Load weights of a file, all but the classifier's.

    Args:
        network: Where to.
        file: A .safetensors file or one of `torch.save`, with a state_dict; nothing in it is
            executed.
        name: The network's, for messages.

    Returns:
        A sentence on what was loaded.

    Raises:
        UserError: If there is no such file, it holds something else, or it does not fit.
    """
    own = network.module.state_dict()
    found = _without_prefix(_read(expand_home(file)), own)
    auxiliary = ("aux", "Aux")  # GoogLeNet's and Inception's further classifiers
    left_out = tuple(f"{classifier}." for classifier in network.classifier)
    loaded = {}
    for key, value in found.items():
        if key in own:
            loaded[key] = _by_channels(value, own[key])
        elif not key.startswith((*left_out, *auxiliary)):
            raise UserError(f"'{file}' is not of {name}: that has no {key}.")
    for key, value in own.items():
        if key not in loaded and not key.endswith("num_batches_tracked"):
            raise UserError(f"'{file}' is not of {name}: it lacks {key}.")
        if key in loaded and loaded[key].shape != value.shape:
            raise UserError(
                f"'{file}' is not of {name}: {key} is {tuple(loaded[key].shape)}, not "
                f"{tuple(value.shape)}."
            )
    network.module.load_state_dict(loaded, strict=False)
    dropped = len(found) - len(loaded)
    classifier = f", its classifier ({network.classifier[0]}) left out" if dropped else ""
    return f"weights of {file}: {len(loaded)} tensors of {name}{classifier}"


def _by_channels(value: Tensor, own: Tensor) -> Tensor:
    differ = [
        i for i in range(value.ndim) if value.ndim != own.ndim or value.shape[i] != own.shape[i]
    ]
    if value.ndim == own.ndim == 4 and differ == [1]:
        return adapt_channels(value, value.shape[1], own.shape[1]).reshape(own.shape)
    return value


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"There is no file of weights '{path}'.")
    content: Any
    try:
        if path.suffix == ".safetensors":
            content = safetensors.torch.load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, RecursionError, *DAMAGED) as error:
        raise UserError(
            f"'{path}' holds no weights, or more than weights, which is not opened: save the "
            "network's state_dict(), or as .safetensors."
        ) from error
    for part in PARTS:
        if isinstance(content, dict) and isinstance(content.get(part), dict):
            content = content[part]
    if not isinstance(content, dict) or not content:
        raise UserError(f"'{path}' holds no state_dict.")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise UserError(f"'{path}' holds no state_dict: '{key}' is no tensor.")
    return {OLD_DENSENET.sub(r"\1\2", key): value for key, value in content.items()}


def _without_prefix(found: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors by the network's names, where a wrapper's stands before all of them."""
    for prefix in (*WRAPPERS, "model.", "backbone.", "encoder."):
        if all(key.startswith(prefix) and key not in own for key in found):
            found = {key.removeprefix(prefix): value for key, value in found.items()}
    return found
