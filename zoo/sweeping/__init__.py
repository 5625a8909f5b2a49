"""Many runs of one network: searches on Optuna as a queue, seeds, cross-validation."""
