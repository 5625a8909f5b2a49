"""Which parameters learn: chosen by name, and seen through to norm layers and dropout."""

import fnmatch
from typing import Any, Self

from lightning.pytorch import LightningModule
from torch import nn

from zoo.errors import UserError


class FreezableModule(LightningModule):
    """A module with a head, whose parameters can be kept from learning by their names.

    What is frozen stays so through checkpoints.
    """

    head: nn.Module

    def freeze(self, *patterns: str) -> Self:
        """Stop the parameters with these names from learning.

        Args:
            patterns: `backbone` for everything but the head, or glob patterns over parameter names
                (`backbone.0.*`).

        Raises:
            UserError: If a pattern matches nothing.
        """
        for pattern in patterns:
            for parameter in matching(self, self.head, pattern).values():
                parameter.requires_grad_(False)
        return self.train(self.training)

    def freeze_backbone(self) -> Self:
        """Let only the head learn."""
        return self.freeze("backbone")

    def unfreeze(self, *patterns: str) -> Self:
        """Let parameters learn again: all of them, or those that match."""
        for pattern in patterns or ("*",):
            for parameter in matching(self, self.head, pattern).values():
                parameter.requires_grad_(True)
        return self.train(self.training)

    @property
    def frozen(self) -> list[str]:
        """The names of the parameters that do not learn."""
        return [name for name, p in self.named_parameters() if not p.requires_grad]

    def train(self, mode: bool = True) -> Self:
        """Set training mode, but keep frozen layers in evaluation mode."""
        super().train(mode)
        if mode and self.frozen:
            keep_frozen_layers_in_evaluation(self, self.head)
        return self

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember what is frozen."""
        checkpoint["frozen"] = self.frozen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Freeze what was frozen when the checkpoint was written, and nothing else."""
        frozen = set(checkpoint.get("frozen", ()))
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name not in frozen)
        self.train(self.training)


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
