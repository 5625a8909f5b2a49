"""`export`: a run or shipped weights as a file that runs without this package."""

from zoo.cli import CommandParser, Trust


def main(argv: list[str]) -> None:
    """Run `export` with these arguments."""
    parser = CommandParser(
        prog="export",
        description="Write a network as ONNX or as PyTorch's PT2: raw input in, probabilities or "
        "values out, for batches of any size. The file is checked against the network.",
    )
    parser.add_argument("--weights", required=True, help="run, .safetensors file or name")
    parser.add_argument("--format", choices=("onnx", "pt2"), default="onnx")
    parser.add_argument("--output", help="the file; NAME.onnx or NAME.pt2 here if not given")
    parser.add_argument("--trust", action=Trust)
    chosen = parser.parse_args(argv)
    from zoo.cards import card_path, read_card, weights_path

    path = weights_path(chosen.weights)
    card = read_card(card_path(path)) if card_path(path).exists() else None
    name = (card.name if card else path.stem).removesuffix(".documented")
    output = chosen.output or f"{name}.{chosen.format}"
    from zoo.console import quiet
    from zoo.deployment.export import BATCH_SIZES, EXAMPLES, export_model, writable
    from zoo.weights import load_weights

    quiet()
    target = writable(output)
    difference = export_model(load_weights(path), target, chosen.format, card)
    *first, last = BATCH_SIZES
    print(f"{target}  {target.stat().st_size / 1000:,.0f} kB")
    print(
        f"largest difference from the network on {EXAMPLES} random inputs, at batch "
        f"{', '.join(map(str, first))} and {last}: {difference:.1e}"
    )
