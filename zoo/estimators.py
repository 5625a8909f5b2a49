"""Networks of tables as estimators of scikit-learn, for its pipelines and searches."""

import contextlib
import io
import tempfile
from typing import Any, Self

import numpy as np

from zoo.extras import require_extra

require_extra("sklearn", "An estimator of scikit-learn", "sklearn")

from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin  # noqa: E402
from sklearn.preprocessing import LabelEncoder  # noqa: E402
from sklearn.utils.multiclass import check_classification_targets  # noqa: E402
from sklearn.utils.validation import check_array, check_is_fitted, column_or_1d, validate_data  # noqa: E402

TARGET = "target of the estimator"


class _TabularEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A network of tables; a run's folder is not kept.

    Args:
        model: A recipe of a network for tables.
        max_epochs: The most epochs; None for the recipe's.
        random_state: The seed, a whole number.
        settings: Further settings as `zoo.fit` takes them, such as `{"data.val_size": 0.2}`.
    """

    network_: Any

    def __init__(
        self,
        model: str = "tabular_net",
        max_epochs: int | None = None,
        random_state: int | None = 0,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.max_epochs = max_epochs
        self.random_state = random_state
        self.settings = settings

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        return tags

    def _table(self, x: Any, reset: bool) -> Any:
        """Return X as a DataFrame with a name for each column."""
        import pandas as pd

        frame = x if isinstance(x, pd.DataFrame) else None
        checked = validate_data(
            self,
            x,
            reset=reset,
            dtype=None,
            ensure_all_finite="allow-nan",
            ensure_min_samples=2 if reset else 1,
        )
        if frame is not None:
            return frame.set_axis(frame.columns.astype(str), axis=1)
        return pd.DataFrame(checked, columns=[f"x{i}" for i in range(checked.shape[1])])

    def _train(self, x: Any, y: np.ndarray, task: str) -> Self:
        from zoo.running.fitting import fit

        table = self._table(x, reset=True).reset_index(drop=True).assign(**{TARGET: y})
        if task != "regression" and y.max() == 0:
            raise ValueError("The targets are all of one class; a classifier needs two or more.")
        limits: dict[str, Any] = {} if self.max_epochs is None else {"max_epochs": self.max_epochs}
        settings = {"data.test_size": 0, "data.task": task, **(self.settings or {})}
        with (
            tempfile.TemporaryDirectory(prefix="zoo-estimator-") as folder,
            contextlib.redirect_stdout(io.StringIO()),
        ):
            self.network_ = fit(
                self.model,
                table,
                target=TARGET,
                seed=self.random_state,
                inspect="none",
                settings=settings,
                default_root_dir=folder,
                logger=False,
                **limits,
            ).model
        # What a row gets must not depend on the rows beside it, which float32 rounds otherwise.
        self.network_.double()
        return self

    def _answer(self, x: Any) -> dict[str, Any]:
        check_is_fitted(self, "network_")
        return self.network_.predict(self._table(x, reset=False))


def _one_column(estimator: BaseEstimator, y: Any) -> Any:
    """Return targets (N,); scikit-learn's own words where there are none."""
    if y is None:
        name = type(estimator).__name__
        raise ValueError(f"{name} requires y to be passed, but the target y is None")
    return column_or_1d(y, warn=True)


class TabularClassifier(ClassifierMixin, _TabularEstimator):  # type: ignore[misc]
    """A classifier on tables: numbers, texts and missing cells, as arrays or DataFrames."""

    def fit(self, X: Any, y: Any) -> Self:
        """Train on rows X (N, columns) and their classes y (N,)."""
        y = _one_column(self, y)
        check_classification_targets(y)
        encoder = LabelEncoder().fit(y)
        self.classes_ = encoder.classes_
        task = "binary" if len(self.classes_) == 2 else "multiclass"
        return self._train(X, encoder.transform(y), task)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities (N, classes), in the order of `classes_`."""
        found = self._answer(X)["probabilities"].cpu().numpy().astype(np.float64)
        order = [self.network_.class_names.index(str(i)) for i in range(len(self.classes_))]
        return found[:, order] / found.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        """Return the likeliest classes (N,), as accuracy asks; `network_` keeps its threshold."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]


class TabularRegressor(RegressorMixin, _TabularEstimator):  # type: ignore[misc]
    """A regression on tables: numbers, texts and missing cells, as arrays or DataFrames."""

    def fit(self, X: Any, y: Any) -> Self:
        """Train on rows X (N, columns) and their values y (N,)."""
        y = check_array(_one_column(self, y), ensure_2d=False, dtype=np.float64)
        return self._train(X, y, "regression")

    def predict(self, X: Any) -> np.ndarray:
        """Return the values (N,)."""
        return self._answer(X)["prediction"].cpu().numpy().astype(np.float64).reshape(-1)
