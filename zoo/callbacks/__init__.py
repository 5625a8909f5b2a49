"""What a run shows while it goes on and in TensorBoard afterwards."""
