"""The hub: what is uploaded, that it loads again, and what happens where it cannot be reached."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from quick import data_of

import zoo
from zoo import extras, hub

huggingface_hub = pytest.importorskip("huggingface_hub", reason="the extra `hub` is not installed")
from huggingface_hub import ModelCard, constants  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeApi:
    """Keeps what it is handed instead of uploading it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder, []

    def __call__(self, token: str | None = None) -> "FakeApi":
        self.calls.append(("token", token))
        return self

    def create_repo(self, repository: str, **options: Any) -> None:
        self.calls.append(("create", repository, options))

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> None:
        self.calls.append(("upload", repo_id, commit_message))
        shutil.copytree(folder_path, self.folder)


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    fake = FakeApi(tmp_path / "uploaded")
    monkeypatch.setattr(huggingface_hub, "HfApi", fake)
    return fake


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no network."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


def put(cache: Path, name: str, source: Path) -> Path:
    """Lay a folder into the cache as the hub's library does after a download."""
    place = cache / f"models--{name.replace('/', '--')}"
    snapshot = place / "snapshots" / COMMIT
    shutil.copytree(source, snapshot)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    return snapshot


def test_each_uploaded_file_is_right_and_loads_again(api: FakeApi) -> None:
    model = zoo.load_weights("conv_net.tuned")
    address = model.push_to_hub("jane/digits", private=True)
    assert address == "https://huggingface.co/jane/digits"
    assert api.calls == [
        ("token", None),
        ("create", "jane/digits", {"private": True, "exist_ok": True}),
        ("upload", "jane/digits", "conv_net.tuned"),
    ]
    names = {path.name for path in api.folder.iterdir()}
    assert names == {"README.md", "card.json", "metrics.png", "weights.safetensors"}
    card = zoo.model_card("conv_net.tuned")
    assert json.loads((api.folder / "card.json").read_text())["metrics"] == card.metrics
    assert (api.folder / "metrics.png").read_bytes().startswith(b"\x89PNG")
    x = torch.randint(256, (5, 1, 28, 28), dtype=torch.uint8)
    with torch.no_grad():
        again = zoo.load_weights(api.folder)
        assert again.card == card
        assert torch.equal(again(x), model(x))


def test_the_page_has_what_the_hub_reads(api: FakeApi) -> None:
    zoo.load_weights("conv_net.tuned").push_to_hub("jane/digits")
    text = (api.folder / "README.md").read_text("utf-8")
    page = ModelCard(text)
    card = zoo.model_card("conv_net.tuned")
    described = page.data.to_dict()
    assert described["license"] == "apache-2.0"
    assert described["pipeline_tag"] == "image-classification"
    assert {"lightning", "lightning-zoo", "convnet"} <= set(described["tags"])
    assert set(described["metrics"]) == {"accuracy", "f1", "roc_auc", "loss"}
    found = {result.metric_type: result.metric_value for result in page.data.eval_results}
    assert found["accuracy"] == round(card.metrics["accuracy/test"], 4)
    assert 'zoo.load_weights("hf-hub:jane/digits")' in page.text
    assert "](metrics.png)" in page.text
    assert f"sha256: `{card.sha256}`" in page.text
    assert yaml.safe_load(text.split("---")[1])["model-index"][0]["name"] == "conv_net.tuned"


@pytest.mark.parametrize(
    ("name", "pipeline"),
    [
        ("tabular_mlp", "tabular-classification"),
        ("sentiment_bilstm", "text-classification"),
        ("linear_regressor", None),
    ],
)
def test_a_network_that_was_never_measured_has_no_metrics(
    api: FakeApi, name: str, pipeline: str | None
) -> None:
    model = zoo.create_model(name, datamodule=data_of(name))
    model.push_to_hub("jane/new")
    described = ModelCard((api.folder / "README.md").read_text("utf-8")).data.to_dict()
    assert described.get("pipeline_tag") == pipeline
    assert "model-index" not in described
    assert not (api.folder / "metrics.png").exists()
    assert zoo.load_weights(api.folder).card.name == "new"


def test_metrics_of_other_weights_are_not_passed_on(api: FakeApi) -> None:
    model = zoo.load_weights("xor_mlp")
    with torch.no_grad():
        model.head.bias += 1
    model.push_to_hub("jane/xor")
    card = json.loads((api.folder / "card.json").read_text("utf-8"))
    assert card["metrics"] == {}
    assert card["summary"] == zoo.model_card("xor_mlp").summary
    assert torch.equal(zoo.load_weights(api.folder).head.bias, model.head.bias)


def test_the_card_of_a_run_goes_with_its_network(api: FakeApi, tmp_path: Path) -> None:
    run = zoo.fit("xor_mlp", max_epochs=1, default_root_dir=str(tmp_path), inspect="none")
    run.model.push_to_hub("jane/xor")
    card = json.loads((api.folder / "card.json").read_text("utf-8"))
    assert card["metrics"]["accuracy/test"] == run.card.metrics["accuracy/test"]


# Loading


@pytest.fixture
def on_hub(api: FakeApi, cache: Path) -> Path:
    """A copy of `jane/xor` in the cache."""
    zoo.load_weights("xor_mlp").push_to_hub("jane/xor")
    return put(cache, "jane/xor", api.folder)


def test_without_a_network_the_cached_copy_is_loaded(on_hub: Path) -> None:
    gates = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    for name in ("hf-hub:jane/xor", "hf-hub:jane/xor@main", f"hf-hub:jane/xor@{COMMIT}"):
        model = zoo.load_weights(name)
        assert model.predict_step(gates)["prediction"] == ["0", "1", "1", "0"]


def test_a_run_starts_from_the_hub(on_hub: Path, run_cli: Callable, tmp_path: Path) -> None:
    argv = ("--weights", "hf-hub:jane/xor", "--trainer.max_epochs", 1, "--inspect", "none")
    result = run_cli("fit", *argv)
    assert result.status == 0, result.err
    config = yaml.safe_load(next(tmp_path.glob("runs/*/*/config.yaml")).read_text("utf-8"))
    assert config["weights"]["source"] == "hf-hub:jane/xor"
    assert config["weights"]["sha256"] == zoo.model_card("xor_mlp").sha256


def test_a_wrong_hash_is_refused(on_hub: Path) -> None:
    path = on_hub / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(zoo.UserError, match="is not the file that its card describes"):
        zoo.load_weights("hf-hub:jane/xor")


def test_what_a_repository_names_is_not_executed(on_hub: Path) -> None:
    from zoo.cards import read_card, write_card
    from zoo.weights import save_weights

    model = zoo.load_weights("xor_mlp")
    card = read_card(on_hub / "card.json")
    kind = type("Popen", (type(model),), {"__module__": "subprocess"})
    model.__class__ = kind
    save_weights(model, on_hub / "weights.safetensors")
    assert read_card(on_hub / "card.json") != card
    write_card(read_card(on_hub / "card.json"), on_hub / "card.json")
    with pytest.raises(zoo.UserError, match=r"subprocess\.Popen"):
        zoo.load_weights("hf-hub:jane/xor")


# What goes wrong


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    """A hub that has nothing."""

    class Nothing(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()

        do_GET = do_HEAD

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Nothing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf-hub:jane/xor", "The hub cannot be reached, and 'jane/xor' is not in the local cache"),
        ("hf-hub:a/b/c", "'a/b/c' is no name on the hub; it is user/name"),
        ("hf-hub:", "'' is no name on the hub; it is user/name"),
    ],
)
def test_mistakes_get_one_sentence(cache: Path, run_cli: Callable, name: str, message: str) -> None:
    result = run_cli("fit", "--weights", name)
    assert result.status == 2
    assert result.err.count("\n") == 1
    assert message in result.err


def test_a_name_that_does_not_exist_is_told(
    server: HTTPServer, run_process: Callable, tmp_path: Path
) -> None:
    variables = {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "hf"),
    }
    result = run_process("-m", "zoo", "fit", "--weights", "hf-hub:jane/nothing", **variables)
    assert result.status == 2
    assert result.err.startswith("error: There is no 'jane/nothing' on the hub, or it is private")
    assert result.err.count("\n") == 1


def test_without_a_network_that_is_told(run_process: Callable, tmp_path: Path) -> None:
    variables = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf")}
    result = run_process("-m", "zoo", "fit", "--weights", "hf-hub:jane/xor", **variables)
    assert result.status == 2
    assert result.err.startswith("error: The hub cannot be reached")
    assert result.err.count("\n") == 1
    code = "import zoo; zoo.load_weights('xor_mlp').push_to_hub('jane/xor', token='hf_x')"
    result = run_process("-c", code, **variables)
    assert "zoo.errors.UserError" in result.err or "datamodules.errors.UserError" in result.err
    assert "The hub cannot be reached for 'jane/xor'" in result.err


def test_a_missing_extra_is_named_with_its_command(
    run_cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    result = run_cli("fit", "--weights", "hf-hub:jane/xor")
    assert result.status == 2
    assert result.err == (
        "error: The Hugging Face Hub needs huggingface_hub, which is not installed: "
        "pip install 'lightning-zoo[hub]'\n"
    )
    assert hub.is_hub_name("hf-hub:jane/xor")
