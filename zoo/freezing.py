"""Which parameters learn: chosen by name, and seen through to norm layers and dropout."""

import fnmatch

from torch import nn

from zoo.errors import UserError


def matching(module: nn.Module, head: nn.Module, pattern: str) -> dict[str, nn.Parameter]:
    """Return the parameters that a pattern names.

    Args:
        module: The whole network.
        head: Its last layer.
        pattern: `backbone` for everything but the head, else a glob pattern over parameter names.

    Raises:
        UserError: If the pattern matches nothing.
    """
    named = dict(module.named_parameters())
    if pattern == "backbone":
        in_head = {id(p) for p in head.parameters()}
        return {name: p for name, p in named.items() if id(p) not in in_head}
    matched = {name: p for name, p in named.items() if fnmatch.fnmatchcase(name, pattern)}
    if not matched:
        layers = dict.fromkeys(f"{name.rpartition('.')[0]}.*" for name in named)
        raise UserError(
            f"--freeze {pattern} matches no parameter of this network. "
            f"Use backbone, or one of {', '.join(layers)}."
        )
    return matched


def keep_frozen_layers_in_evaluation(module: nn.Module, head: nn.Module) -> None:
    """Put frozen layers into evaluation mode, and all of a frozen backbone.

    A frozen batch norm would otherwise go on moving its averages, and a frozen backbone would go
    on dropping units out.
    """
    in_head = set(head.modules())
    backbone = [p for name, p in module.named_parameters() if p not in set(head.parameters())]
    backbone_frozen = bool(backbone) and not any(p.requires_grad for p in backbone)
    for layer in module.modules():
        parameters = list(layer.parameters())
        frozen = bool(parameters) and not any(p.requires_grad for p in parameters)
        if frozen or (backbone_frozen and not parameters and layer not in in_head):
            layer.training = False
