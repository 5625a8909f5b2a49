"""What is fitted on validation data when a training ends, and travels with the weights."""
