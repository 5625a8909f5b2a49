"""`fit`: every override of the command line, listings and help."""

import textwrap
from pathlib import Path

import pytest
from fit_options import FASHION, QUICK, Run, card, only_run, settings, words

from zoo import list_models, load_weights

# What is documented


def test_the_recipe_is_the_documents(run_cli: Run) -> None:
    """003, "Example: Classification with FashionMNIST", class FeedForwardNN."""
    shown = settings(run_cli, "--model", "fashion_ffnn")
    model, optimizer = shown["model"]["init_args"], shown["optimizer"]
    assert (model["hidden_dim"], model["num_hidden"], model["dropout"]) == (512, 2, 0.2)
    assert model["activation"] == "relu"
    assert optimizer["class_path"] == "torch.optim.SGD"
    assert (optimizer["init_args"]["lr"], optimizer["init_args"]["momentum"]) == (0.1, 0.9)
    assert shown["data"]["init_args"]["batch_size"] == 64
    assert shown["trainer"]["max_epochs"] == 10
    assert shown["trainer"]["val_check_interval"] == 500


# Overrides, one line of the documentation after the other


@pytest.mark.parametrize(
    ("argv", "path", "value"),
    [
        (["--model.hidden_dim", "256"], "model.init_args.hidden_dim", 256),
        (["--model.hidden_dim", "[256, 64]"], "model.init_args.hidden_dim", [256, 64]),
        (["--model.dropout=0.5"], "model.init_args.dropout", 0.5),
        (["--data.batch_size", "128"], "data.init_args.batch_size", 128),
        (["--trainer.max_epochs", "3"], "trainer.max_epochs", 3),
        (["--trainer.precision", "bf16-mixed"], "trainer.precision", "bf16-mixed"),
        (["--seed", "7"], "seed_everything", 7),
        (["--seed=7"], "seed_everything", 7),
        (["--seed_everything", "7"], "seed_everything", 7),
        (["--lr", "0.02"], "optimizer.init_args.lr", 0.02),
        (["--lr=0.02"], "optimizer.init_args.lr", 0.02),
        (["--optimizer.lr", "0.02"], "optimizer.init_args.lr", 0.02),
        (["--optimizer.momentum", "0.5"], "optimizer.init_args.lr", 0.1),
        (["--optimizer", "Adam"], "optimizer.class_path", "torch.optim.Adam"),
        (["--optimizer", "Adam"], "optimizer.init_args.lr", 0.001),  # not SGD's 0.1
        (["--optimizer=Adam", "--optimizer.lr", "3e-3"], "optimizer.init_args.lr", 3e-3),
        (["--optimizer", "Adam", "--lr", "3e-3"], "optimizer.init_args.lr", 3e-3),
        (["--lr", "3e-3", "--optimizer", "Adam"], "optimizer.init_args.lr", 3e-3),
        (["--optimizer", "torch.optim.AdamW"], "optimizer.class_path", "torch.optim.AdamW"),
        (
            ["--lr_scheduler", "StepLR", "--lr_scheduler.step_size", "3"],
            "lr_scheduler.init_args.step_size",
            3,
        ),
        (
            ["--lr_scheduler", "zoo.optimization.OneCycle"],
            "lr_scheduler.class_path",
            "zoo.optimization.OneCycle",
        ),
        (
            ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=loss/val"],
            "trainer.callbacks.0.init_args.monitor",
            "loss/val",
        ),
        (["--trainer.limit_train_batches", "1"], "trainer.limit_train_batches", 1),  # not 1.0, all
        (["--trainer.limit_val_batches=0.5"], "trainer.limit_val_batches", 0.5),
        (["--data", "mnist"], "data.class_path", "datamodules.MNIST"),
        (["--data", "mnist"], "data.init_args.batch_size", 64),  # the network's, not the data's
        (["--freeze", "backbone.1.*"], "learning.freeze", ["backbone.1.*"]),
        (["--head_lr", "0.5"], "learning.head_lr", 0.5),
        (["--layer_decay", "0.7"], "learning.layer_decay", 0.7),
    ],
    ids=words,
)
def test_an_override_arrives(run_cli: Run, argv: list[str], path: str, value: object) -> None:
    found = settings(run_cli, "--model", "fashion_ffnn", *argv)
    for key in path.split("."):
        found = found[int(key)] if isinstance(found, list) else found[key]
    assert found == value


def test_a_batch_size_that_follows_a_table_is_not_for_other_data(run_cli: Run) -> None:
    shown = settings(run_cli, "--model", "tabular_mlp.tuned", "--data", "mnist")
    assert shown["data"]["init_args"]["batch_size"] == 64


@pytest.mark.parametrize("argv", [["--lr_scheduler", "none"], ["--lr_scheduler=none"]])
def test_a_schedule_can_be_taken_away(run_cli: Run, tmp_path: Path, argv: list[str]) -> None:
    recipe = tmp_path / "stepped.yaml"
    recipe.write_text("lr_scheduler: {class_path: StepLR, init_args: {step_size: 2}}")
    base = ["--model", "fashion_ffnn", "--config", recipe]
    assert "lr_scheduler" in settings(run_cli, *base)
    shown = settings(run_cli, *base, *argv, "--data.batch_size", "8")
    assert "lr_scheduler" not in shown
    assert shown["data"]["init_args"]["batch_size"] == 8


def test_one_batch_is_one_batch_and_all_of_them_is_all(run_cli: Run, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("trainer: {limit_train_batches: 1}")
    (tmp_path / "all.yaml").write_text("trainer: {limit_train_batches: 1.0}")
    for given, whole in {"one": True, "all": False}.items():
        base = ["--model", "fashion_ffnn", "--config", f"{given}.yaml"]
        limit = settings(run_cli, *base)["trainer"]["limit_train_batches"]
        assert isinstance(limit, int) == whole


def test_printed_settings_can_be_fed_back(run_cli: Run, tmp_path: Path) -> None:
    changes = ["--model.hidden_dim", "32", "--optimizer", "Adam", "--data.val_size", "500"]
    changes += ["--lr_scheduler", "StepLR", "--lr_scheduler.step_size", "2", "--seed", "5"]
    printed = run_cli("fit", "--model", "fashion_ffnn", *changes, "--print_config").out
    (tmp_path / "mine.yaml").write_text(printed)
    assert run_cli("fit", "--config", "mine.yaml", "--print_config").out == printed
    assert run_cli("fit", "--model", "./mine.yaml", "--print_config").out == printed


def test_part_of_the_settings_in_a_file(run_cli: Run, tmp_path: Path) -> None:
    (tmp_path / "part.yaml").write_text(
        textwrap.dedent("""
        model: {hidden_dim: 32}
        optimizer: {lr: 0.05}
        trainer: {max_epochs: 2}
        """)
    )
    shown = settings(run_cli, "--model", "fashion_ffnn", "--config", "part.yaml", "--lr", "0.3")
    assert shown["model"]["init_args"]["hidden_dim"] == 32
    assert shown["model"]["init_args"]["dropout"] == 0.2
    assert shown["optimizer"]["init_args"]["lr"] == 0.3  # the command line has the last word
    assert shown["optimizer"]["init_args"]["momentum"] == 0.9
    assert shown["trainer"]["max_epochs"] == 2
    assert shown["trainer"]["val_check_interval"] == 500


def test_a_recipe_and_a_network_of_ones_own(run_cli: Run, tmp_path: Path) -> None:
    (tmp_path / "my_networks.py").write_text(
        textwrap.dedent('''
        from torch import nn
        from zoo import DataSpec, ZooModule

        class Mine(ZooModule):
            """A network of one's own.

            Args:
                width: Its width.
            """
            def __init__(self, spec: DataSpec, width: int = 4):
                super().__init__(spec)
                self.backbone = nn.Sequential(nn.Flatten(), nn.Linear(784, width), nn.ReLU())
                self.head = nn.Linear(width, self.num_outputs)
        ''')
    )
    (tmp_path / "mine.yaml").write_text(
        textwrap.dedent("""
        summary: my own
        model: {class_path: my_networks.Mine, init_args: {width: 8}}
        data: {class_path: datamodules.MNIST}
        """)
    )
    result = run_cli("fit", "--model", "./mine.yaml", *QUICK, "--model.width", 6)
    assert result.status == 0, result.err
    loaded = load_weights(only_run(), trust=["my_networks.Mine"])
    assert loaded.head.in_features == 6
    assert "mine on MNIST" in result.out


def test_another_dataset_decides_shapes_and_names(run_cli: Run) -> None:
    result = run_cli("fit", *FASHION, "--data", "mnist", "--data.classes", "[3, 7, 8]")
    assert result.status == 0, result.err
    model = load_weights(only_run())
    assert model.class_names == ["3", "7", "8"]
    assert model.head.out_features == 3


def test_a_yes_or_no_question_about_images(run_cli: Run) -> None:
    result = run_cli("fit", *FASHION, "--data.positive_classes", "[5, 7, 9]")
    assert result.status == 0, result.err
    assert load_weights(only_run()).spec.task == "binary"


# Training options


@pytest.mark.parametrize(
    "argv",
    [
        ["--trainer.precision", "bf16-mixed"],
        ["--trainer.accumulate_grad_batches", "2"],
        ["--trainer.gradient_clip_val", "1.0"],
        ["--optimizer", "Adam", "--optimizer.lr", "1e-3"],
        ["--optimizer", "RMSprop", "--lr_scheduler", "zoo.optimization.OneCycle"],
        ["--lr_scheduler", "ReduceLROnPlateau", "--lr_scheduler.monitor", "loss/val"],
        ["--model.norm", "batch", "--model.activation", "tanh", "--learning.init", "xavier_normal"],
        ["--learning.l1_penalty", "1e-4", "--learning.l2_penalty", "1e-4"],
        ["--trainer.logger", "false"],
        ["--trainer.limit_val_batches", "0"],
        ["--trainer.limit_test_batches", "0"],
        ["--trainer.enable_checkpointing", "false"],
        ["--trainer.max_steps", "3"],
        ["--trainer.max_epochs", "0"],
        ["--trainer.num_sanity_val_steps", "2"],
        ["--inspect", "basic"],
        ["--inspect", "full"],
    ],
    ids=" ".join,
)
def test_trains_with(run_cli: Run, argv: list[str]) -> None:
    result = run_cli("fit", *FASHION, *argv)
    assert result.status == 0, result.err
    assert (only_run() / "weights.safetensors").exists()


def test_a_trial_leaves_nothing_behind(run_cli: Run, tmp_path: Path) -> None:
    result = run_cli("fit", *FASHION, "--trainer.fast_dev_run", "true")
    assert result.status == 0, result.err
    assert not list(tmp_path.iterdir())


def test_a_callback_stops_early(run_cli: Run) -> None:
    stop = ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=loss/train"]
    stop += ["--trainer.callbacks.check_on_train_epoch_end=true"]
    stop += ["--trainer.callbacks.stopping_threshold=100", "--trainer.max_epochs", "5"]
    result = run_cli("fit", *FASHION, *stop)
    assert result.status == 0, result.err
    assert card(only_run())["epochs"] == 1


@pytest.mark.parametrize(("part", "share"), [("1", "batch"), ("3", "3 batches"), ("0.02", "2 %")])
def test_overfitting_is_said_in_one_sentence(run_cli: Run, part: str, share: str) -> None:
    result = run_cli("fit", *FASHION, "--trainer.overfit_batches", part)
    assert result.status == 0, result.err
    sentence = f"Every epoch reads the same first {share} of the training data, unshuffled."
    assert result.out.count(sentence) == 1
    assert "overfit" not in result.err


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(run_cli: Run) -> None:
    for seed in (1, 1, 2):
        assert run_cli("fit", *FASHION, "--seed", seed).status == 0
    first, again, other = (
        (
            Path("runs") / "fashion_ffnn-synthetic" / f"version_{n}" / "weights.safetensors"
        ).read_bytes()
        for n in range(3)
    )
    assert first == again
    assert first != other


# Listings and help


def test_lists_every_network_with_its_summary(run_cli: Run) -> None:
    for listing in (run_cli("fit", "--list").out, run_cli("models").out):
        assert [line.split()[0] for line in listing.splitlines()] == list_models()
        assert "two hidden layers of 512" in listing


def test_help_of_a_network_lists_every_argument_with_its_docstring(run_cli: Run) -> None:
    result = run_cli("fit", "--model", "fashion_ffnn", "--help")
    assert result.status == 0
    text = " ".join(result.out.split())
    for option, documented in {
        "--model.hidden_dim": "Width of every hidden layer",
        "--learning.label_smoothing": "Share of the probability",
        "--data.source": "never touches the network",
        "--data.batch_size": "Images in a training batch",
        "--optimizer": "",
        "--lr_scheduler": "",
    }.items():
        assert option in text
        assert documented in text
    assert "RandomAffine" in text
    assert "--lr VALUE" in text
    # All networks have the same trainer.
    assert "--trainer." not in text
    trainer = run_cli("fit", "--model", "fashion_ffnn", "--help", "trainer").out
    assert "--trainer.max_epochs" in trainer
    assert "--model." not in trainer
