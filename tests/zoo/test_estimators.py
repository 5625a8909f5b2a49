"""Networks of tables where scikit-learn's estimators are expected."""

import pickle

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sklearn")
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import zoo


def table(rows=300):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=rows), "city": rng.choice(["Rome", "Oslo"], rows)})
    score = 2 * frame["x"] + (frame["city"] == "Rome") + 0.3 * rng.normal(size=rows)
    frame.loc[::9, "x"] = np.nan
    return frame, score.to_numpy()


def test_a_classifier_takes_frames_and_names(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    frame, score = table()
    y = np.where(score > 0.5, "up", "down")
    found = clone(zoo.TabularClassifier("tabular_mlp.tuned", max_epochs=5)).fit(frame, y)
    assert list(found.classes_) == ["down", "up"]
    np.testing.assert_allclose(found.predict_proba(frame).sum(1), 1)
    assert found.score(frame, y) > 0.8
    again = pickle.loads(pickle.dumps(found))
    assert (again.predict(frame) == found.predict(frame)).all()
    assert list(tmp_path.iterdir()) == []  # no run is left behind
    assert capsys.readouterr().out == ""


def test_an_estimator_without_training_says_so():
    with pytest.raises(NotFittedError):
        zoo.TabularClassifier().predict(table()[0])


def test_a_regressor_stands_in_a_pipeline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame, score = table()
    pipeline = make_pipeline(zoo.TabularRegressor("tabular_mlp.tuned", max_epochs=8))
    assert cross_val_score(pipeline, frame, 50 + score, cv=2).mean() > 0.5


def test_one_class_alone_is_refused():
    frame, _ = table(20)
    with pytest.raises(ValueError, match="one class"):
        zoo.TabularClassifier().fit(frame, ["up"] * 20)


def test_a_row_gets_the_same_alone():
    frame, score = table()
    found = zoo.TabularRegressor("tabular_mlp.tuned", max_epochs=1).fit(frame, score)
    alone = [found.predict(frame.iloc[[row]])[0] for row in range(20)]
    np.testing.assert_allclose(alone, found.predict(frame)[:20], rtol=1e-7, atol=1e-7)


@pytest.mark.slow
@parametrize_with_checks(
    [zoo.TabularClassifier(max_epochs=3), zoo.TabularRegressor(max_epochs=3)],
)
def test_what_scikit_learn_asks_of_an_estimator(estimator, check):
    check(estimator)
