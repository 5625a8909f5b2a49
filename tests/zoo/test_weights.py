"""Weights files: the same bytes every time, and nothing damaged, foreign or dangerous is loaded."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from zoo import DataSpec, ZooModule, load_weights, save_weights
from zoo.architectures import FeedForward
from zoo.cards import METADATA_KEY, read_card
from zoo.errors import UserError
from zoo.transfer import load_backbone
from zoo.weights import to_bytes

PIXELS = {"kind": "pixels", "mean": 0.3, "std": 0.5}


def network(class_names: list[str] | None = None, **options: object) -> FeedForward:
    torch.manual_seed(0)
    spec = DataSpec((1, 4, 4), "multiclass", 3, class_names, PIXELS)
    return FeedForward(spec, **{"hidden_dim": 8, "norm": "batch", **options})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "net.safetensors"
    save_weights(network(), path, name="net", metrics={"accuracy/test": 0.5})
    return path


def without_card(path: Path) -> Path:
    path.with_suffix(".json").unlink()
    return path


def test_what_is_loaded_computes_what_was_saved(saved: Path) -> None:
    model, x = load_weights(saved), torch.randint(256, (5, 1, 4, 4), dtype=torch.uint8)
    assert not model.training
    assert torch.equal(model(x), network().eval()(x))


def test_loading_draws_no_first_values(saved: Path) -> None:
    torch.manual_seed(0)
    undisturbed = torch.rand(1)
    torch.manual_seed(0)
    load_weights(saved)
    assert torch.equal(torch.rand(1), undisturbed)


def test_a_new_head_on_loaded_weights_has_first_values(saved: Path) -> None:
    model = load_weights(saved)
    model.reset_head(40)
    bound = model.head.in_features**-0.5  # of nn.Linear's uniform first values
    assert 0.1 * bound < model.head.weight.std() < bound
    assert model.head.weight.abs().max() <= bound


def test_preprocessing_and_class_names_travel_with_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_weights(network(["a", "b", "c"]), path)
    model = load_weights(path)
    assert model.class_names == ["a", "b", "c"]
    assert (model.preprocess.mean, model.preprocess.std) == (torch.tensor(0.3), torch.tensor(0.5))


def test_bytes_are_the_same_on_every_save(saved: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    card = save_weights(network(), again)
    assert again.read_bytes() == saved.read_bytes()
    assert card.bytes == again.stat().st_size
    # Loading and saving changes nothing either.
    assert to_bytes(load_weights(saved)) == saved.read_bytes()


def test_what_belongs_to_a_training_is_not_in_the_file() -> None:
    optimizer = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.5}}
    learning = {"optimizer": optimizer, "freeze": ["backbone"], "head_lr": 0.1}
    learning |= {"class_weights": [1.0, 2.0, 3.0], "loss": "nll"}
    assert to_bytes(network().learn(learning)) == to_bytes(network())


def test_the_card_describes_the_file(saved: Path) -> None:
    card = read_card(saved.with_suffix(".json"))
    assert (card.name, card.metrics, card.input_shape) == ("net", {"accuracy/test": 0.5}, [1, 4, 4])
    assert card.parameters == sum(p.numel() for p in network().parameters())


@pytest.mark.parametrize("position", [0, 9, 200, -1])
@pytest.mark.parametrize("with_card", [True, False])
def test_a_flipped_byte_loads_nothing_wrong(saved: Path, position: int, with_card: bool) -> None:
    content = bytearray(saved.read_bytes())
    content[position] ^= 0xFF
    saved.write_bytes(content)
    if with_card:
        with pytest.raises(UserError, match="sha256"):
            load_weights(saved)
    elif position in (0, 9, 200):  # in the header; a weight cannot be checked without the card
        with pytest.raises(UserError, match=r"net\.safetensors"):
            load_weights(without_card(saved))


@pytest.mark.parametrize("length", [0, 5, 8, 100, -1])
def test_a_truncated_file_is_named(saved: Path, length: int) -> None:
    saved.write_bytes(saved.read_bytes()[:length])
    with pytest.raises(UserError, match=r"net\.safetensors.*sha256"):
        load_weights(saved)
    with pytest.raises(UserError, match=r"net\.safetensors.*damaged"):
        load_weights(without_card(saved))


class Bomb:
    """A pickle that leaves a file behind if it is ever opened."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.target,)


def test_a_pickle_under_another_name_is_not_executed(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    with pytest.raises(UserError, match="not a weights file"):
        load_weights(path)
    torch.save({"state_dict": network().state_dict()}, path)
    with pytest.raises(UserError, match="not a weights file"):
        load_weights(path)
    assert not (tmp_path / "exploded").exists()


def test_a_file_cannot_name_a_class_that_is_no_network(tmp_path: Path) -> None:
    described = {
        "class_path": "subprocess.Popen",
        "arguments": {"args": ["touch", str(tmp_path / "exploded")]},
        "spec": {},
    }
    path = tmp_path / "net.safetensors"
    path.write_bytes(save({"x": torch.zeros(1)}, {METADATA_KEY: json.dumps(described)}))
    with pytest.raises(UserError, match=r"'subprocess\.Popen', which the zoo does not define"):
        load_weights(path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"zoo": "not json"},
        {"zoo": "[]"},
        {"zoo": "{}"},
        {"zoo": '{"class_path": "zoo.architectures.FeedForward", "arguments": 3}'},
        {"other": "{}"},
    ],
)
def test_other_safetensors_files_are_refused(tmp_path: Path, metadata: dict[str, str]) -> None:
    path = tmp_path / "theirs.safetensors"
    path.write_bytes(save({"weight": torch.zeros(3)}, metadata))
    with pytest.raises(UserError, match=r"theirs\.safetensors.*not a weights file"):
        load_weights(path)


def test_arguments_that_the_network_does_not_take_are_named(tmp_path: Path) -> None:
    described = {
        "class_path": "zoo.architectures.FeedForward",
        "arguments": {"hidden_width": 3},
        "spec": {},
    }
    path = tmp_path / "newer.safetensors"
    path.write_bytes(save({"x": torch.zeros(1)}, {METADATA_KEY: json.dumps(described)}))
    with pytest.raises(UserError, match=r"newer\.safetensors.*hidden_width"):
        load_weights(path)


def test_a_card_of_another_file_is_noticed(saved: Path) -> None:
    card = saved.with_suffix(".json")
    card.write_text(card.read_text().replace(read_card(card).sha256, "0" * 64))
    with pytest.raises(UserError, match=r"000000.*get it again"):
        load_weights(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "net"}', '{"unknown": 1}'])
def test_a_damaged_card_is_named(saved: Path, text: str) -> None:
    saved.with_suffix(".json").write_text(text)
    with pytest.raises(UserError, match=r"net\.json.*not a card"):
        load_weights(saved)


def test_wrong_shapes_are_named_with_what_to_do(saved: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_weights(saved, hidden_dim=9)
    message = str(caught.value)
    assert "backbone.1.weight is (8, 16) in the file and (9, 16) in the network" in message
    assert "Pass the arguments" in message


@pytest.mark.parametrize("missing", ["none.safetensors", "folder", "net.ckpt"])
def test_what_is_no_weights_file_is_named(tmp_path: Path, missing: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "net.ckpt").touch()
    with pytest.raises(UserError, match=missing.partition(".")[0]):
        load_weights(tmp_path / missing)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", ""])
def test_weights_of_compiled_and_distributed_networks_load(prefix: str) -> None:
    state = {f"{prefix}{name}": value for name, value in network().state_dict().items()}
    model: ZooModule = network()
    model.load_state_dict(state)
    x = torch.rand(2, 1, 4, 4)
    assert torch.equal(model.eval()(x), network().eval()(x))


@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod."])
def test_a_module_of_the_networks_own_keeps_its_name(wrapper: str) -> None:
    class Mine(FeedForward):
        def __init__(self) -> None:
            super().__init__(DataSpec((4,), "multiclass", 3))
            self.module = torch.nn.Linear(2, 2)

    state = {f"{wrapper}{name}": value for name, value in Mine().state_dict().items()}
    model = Mine()
    model.load_state_dict(state)
    assert torch.equal(model.module.weight, state[f"{wrapper}module.weight"])
    own = {"module.weight": torch.zeros(2, 2)}
    model.load_state_dict(own, strict=False)
    assert not model.module.weight.any()


def test_a_backbone_comes_with_its_head_only_for_the_same_classes(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    source = network(["a", "b", "c"])
    save_weights(source, path)
    same, what_same = load_backbone(path, source.spec)
    other, what_other = load_backbone(path, network(["x", "y", "z"]).spec)
    assert "new head for x, y, z" in what_other
    assert "backbone and head" in what_same
    assert torch.equal(same.head.weight, source.head.weight)
    # Equal counts mean nothing: other names get a new head on the same backbone.
    assert not torch.equal(other.head.weight, source.head.weight)
    assert torch.equal(other.backbone[1].weight, source.backbone[1].weight)
