"""What the network makes of test examples before its head decides, as points to turn around."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from zoo.callbacks.board import Outcome, OutcomeInspector, chunks, evaluating, image_shape
from zoo.callbacks.figures import near_square
from zoo.module import ZooModule

EXAMPLES = 1000
# The page starts with a PCA to three axes anyhow; all 512 features as text would be 4 MB.
COMPONENTS = 50
FOLDER = "projector"


class FeatureProjector(OutcomeInspector):
    """Writes the features of 1,000 test examples for TensorBoard's PROJECTOR page.

    Their first 50 principal components, in `projector/` beside the event file, with true and
    predicted class as labels and, of images, thumbnails to draw in the points' place.
    """

    tasks = ("binary", "multiclass", "regression")

    def inspect(self, writer: SummaryWriter, shown: Outcome, pl_module: ZooModule) -> None:
        """Write features, labels, thumbnails, and what tells the page where they are."""
        if shown.x is None:
            return
        count = min(len(shown.target), EXAMPLES)
        with evaluating(pl_module):
            parts = chunks(pl_module, shown.x, count, 256)
            features = torch.cat([pl_module.forward_features(part) for part in parts])
        features = principal_components(features.flatten(1).float().cpu(), COMPONENTS)
        run = Path(writer.log_dir)
        folder = run / FOLDER
        folder.mkdir(exist_ok=True)
        np.savetxt(folder / "features.tsv", features.numpy(), fmt="%.3g", delimiter="\t")
        (folder / "labels.tsv").write_text(labels(shown), "utf-8")
        lines = [
            f'  tensor_name: "features of {count} test examples"',
            f'  tensor_path: "{FOLDER}/features.tsv"',
            f'  metadata_path: "{FOLDER}/labels.tsv"',
        ]
        shape = image_shape(pl_module)
        if shape is not None:
            _save_sprite(shown.x[:count].reshape(-1, *shape), folder / "sprite.png")
            lines += [
                "  sprite {",
                f'    image_path: "{FOLDER}/sprite.png"',
                f"    single_image_dim: {shape[2]}",
                f"    single_image_dim: {shape[1]}",
                "  }",
            ]
        config = "\n".join(["embeddings {", *lines, "}", ""])
        (run / "projector_config.pbtxt").write_text(config, "utf-8")


def principal_components(features: Tensor, count: int) -> Tensor:
    """Return the coordinates of centred rows (N, D) along at most `count` principal axes."""
    centred = features - features.mean(dim=0)
    if centred.shape[1] <= count:
        return centred
    # The smaller of the two products holds all there is to know.
    if len(centred) < centred.shape[1]:
        values, vectors = torch.linalg.eigh(centred @ centred.T)
        return vectors.flip(1)[:, :count] * values.flip(0)[:count].clamp(min=0).sqrt()
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    return centred @ vectors.flip(1)[:, :count]


def labels(shown: Outcome) -> str:
    """Return a table, tab-separated with a header, of the first 1,000 test examples' labels."""
    if shown.task == "regression":
        rows = [
            f"{float(true[0]):.6g}\t{float(predicted[0]):.6g}"
            for true, predicted in zip(shown.target[:EXAMPLES], shown.scores, strict=False)
        ]
        return "\n".join(["true\tpredicted", *rows, ""])
    names = [name.replace("\t", " ").replace("\n", " ") for name in shown.class_names]
    rows = []
    for true, predicted in zip(shown.target[:EXAMPLES].long(), shown.predicted, strict=False):
        verdict = "right" if true == predicted else "wrong"
        rows.append(f"{names[true]}\t{names[predicted]}\t{verdict}")
    return "\n".join(["true\tpredicted\tverdict", *rows, ""])


def _save_sprite(images: Tensor, path: Path) -> None:
    """Save images (N, C, H, W) as one square of thumbnails, row by row."""
    from PIL import Image

    images = images.float()
    images = images / (255 if images.max() > 1 else 1)
    count, channels, height, width = images.shape
    side = max(near_square(count))
    sheet = torch.zeros(side * side, channels, height, width)
    sheet[:count] = images
    sheet = sheet.reshape(side, side, channels, height, width).permute(0, 3, 1, 4, 2)
    # Sixteen shades are enough for a thumbnail, and halve the file.
    picture = (
        (17 * (15 * sheet).round()).byte().reshape(side * height, side * width, channels).numpy()
    )
    Image.fromarray(picture.squeeze(-1) if channels == 1 else picture).save(path, optimize=True)
