"""Many runs of one network: searches on Optuna as a queue, seeds, cross-validation."""

from zoo.extras import require_extra

require_extra("sweep", "A sweep", "optuna")
