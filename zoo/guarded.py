"""What a network refuses: data that it would read wrongly, and checkpoints that do not fit."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

from datamodules.following import check, same_encoding
from zoo.errors import UserError
from zoo.loading.building import check_fit, unwrapped
from zoo.loading.checkpoints import check_hparams
from zoo.network import Network


class GuardedNetwork(Network):
    """A network that a Trainer and a checkpoint cannot give what it would read wrongly."""

    def setup(self, stage: str) -> None:
        """Refuse data that the network would read wrongly; a head without names takes theirs."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if data is None:
            return
        check(self.spec, data)
        names = getattr(data, "class_names", None)
        if stage == "fit" and self.spec.class_names is None and names:
            self._set_spec(replace(self.spec, class_names=list(names)))

    def on_train_start(self) -> None:
        """Refuse loaders whose data the network would read wrongly."""
        self._check_loaders(self.trainer.train_dataloader)

    def on_validation_start(self) -> None:
        """Refuse such loaders."""
        self._check_loaders(self.trainer.val_dataloaders)

    def on_test_start(self) -> None:
        """Refuse such loaders."""
        self._check_loaders(self.trainer.test_dataloaders)

    def on_predict_start(self) -> None:
        """Refuse such loaders."""
        self._check_loaders(self.trainer.predict_dataloaders)

    def _check_loaders(self, loaders: Any) -> None:
        if self.trainer.datamodule is not None:  # type: ignore[attr-defined]
            return  # `setup` has checked it
        for loader in loaders if isinstance(loaders, list) else [loaders]:
            if getattr(loader, "spec", None) is not None:
                check(self.spec, loader.spec)

    # Checkpoints

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Self:
        """Make the network of a checkpoint, as Lightning does; the checkpoint is data.

        Args:
            checkpoint_path: The file.
            args: Lightning's further arguments.
            kwargs: Lightning's further arguments, and arguments of the network to change.

        Raises:
            UserError: If it says itself what to make of it, or does not fit. Nothing in it is
                executed.
        """
        content = check_hparams(checkpoint_path)
        hparams = content.get("hyper_parameters") or {}
        given = {key: value for key, value in hparams.items() if key not in kwargs}
        cls.check_arguments_in_data(given, f"The checkpoint '{checkpoint_path}'")
        options = {"weights_only": True, **kwargs}
        if options.get("strict", True):
            check_fit(cls, content, f"'{checkpoint_path}'", args, kwargs)
        try:
            return super().load_from_checkpoint(checkpoint_path, *args, **options)
        except TypeError as error:  # of an argument that the network does not take
            raise UserError(f"'{checkpoint_path}' does not fit {cls.__name__}: {error}.") from error

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Load parameters, also those saved from a compiled or a DDP-wrapped network."""
        return super().load_state_dict(unwrapped(state_dict, self), *args, **kwargs)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of other data.

        Raises:
            UserError: If it was written with other columns or another vocabulary, whose places
                mean nothing here.
        """
        hparams = checkpoint.get("hyper_parameters") or {}
        written = hparams.get("spec", {}).get("preprocessing")
        own = self.spec.preprocessing
        if written and own["kind"] in ("table", "tokens") and not same_encoding(written, own):
            raise UserError(
                "The checkpoint was written with other columns, categories or words than this "
                "network has. Go on with the data that it was written with, or load its weights "
                "with zoo.load_weights or load_from_checkpoint and train those."
            )
        super().on_load_checkpoint(checkpoint)
