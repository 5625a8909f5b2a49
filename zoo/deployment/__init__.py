"""What takes a network away: ONNX and PT2 files, a page to try it on, the Hugging Face Hub."""
