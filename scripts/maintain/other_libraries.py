"""Other libraries that take part in `benchmark.py train`, for fashion_ffnn.

They are the extra `benchmark`: `pip install -e '.[benchmark]'`.
"""

import os
import warnings
from functools import partial
from importlib.util import find_spec

from torch import nn
from torch.utils.data import TensorDataset

from contestants import Case, Clock, Contestant, examples, silently
from measuring import Options


def skorch(case: Case, options: Options, precision: str) -> Clock:
    """Train by skorch's NeuralNetClassifier."""
    from skorch import NeuralNetClassifier

    x, y = examples(case, options)
    net = NeuralNetClassifier(
        case.network(),
        criterion=nn.CrossEntropyLoss,
        optimizer=case.optimizer.func,
        batch_size=case.batch_size,
        max_epochs=options.epochs,
        train_split=None,
        iterator_train__shuffle=True,
        **{f"optimizer__{key}": value for key, value in case.optimizer.keywords.items()},
    ).initialize()
    with silently(), Clock() as clock:
        net.fit(x.float() / 255, y)
    return clock


def keras(case: Case, options: Options, precision: str) -> Clock:
    """Train by keras on torch."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras
    from keras import layers

    x, y = examples(case, options)
    hidden = [
        layer
        for _ in range(2)
        for layer in (layers.Dense(512), layers.Dropout(0.2), layers.Activation("relu"))
    ]
    model = keras.Sequential([layers.Flatten(), *hidden, layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    sgd = keras.optimizers.SGD(**{"learning_rate": 0.1, "momentum": 0.9})
    model.compile(optimizer=sgd, loss=loss, metrics=["accuracy"])
    images = (x.float() / 255).numpy()
    model.build(images.shape)
    with silently(), Clock() as clock:
        model.fit(images, y.numpy(), batch_size=case.batch_size, epochs=options.epochs, verbose=0)
    return clock


def fastai(case: Case, options: Options, precision: str) -> Clock:
    """Train by fastai's Learner."""
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.metrics import accuracy
    from fastai.optimizer import OptimWrapper

    x, y = examples(case, options)
    dataset = TensorDataset(x.float() / 255, y)
    loaders = DataLoaders.from_dsets(dataset, dataset, bs=case.batch_size, device="cpu")
    wrapped = partial(OptimWrapper, opt=case.optimizer.func, **case.optimizer.keywords)
    learner = Learner(
        loaders, case.network(), nn.CrossEntropyLoss(), opt_func=wrapped, metrics=accuracy
    )
    learner.validate = learner._do_epoch_validate = lambda *_: None  # nothing is held out
    with silently(), Clock() as clock:
        learner.fit(options.epochs, lr=0.1)
    return clock


def scikit_learn(case: Case, options: Options, precision: str) -> Clock:
    """Train scikit-learn's MLPClassifier: no dropout, and its own loop."""
    from sklearn.neural_network import MLPClassifier

    x, y = examples(case, options)
    images = (x.flatten(1).float() / 255).numpy()
    network = MLPClassifier(
        (512, 512),
        solver="sgd",
        batch_size=case.batch_size,
        learning_rate_init=0.1,
        momentum=0.9,
        nesterovs_momentum=False,
        alpha=0.0,
        max_iter=options.epochs,
    )
    with warnings.catch_warnings(), Clock() as clock:
        warnings.simplefilter("ignore")
        network.fit(images, y.numpy())
    return clock


OTHERS: dict[str, Contestant] = {
    "skorch": skorch,
    "keras": keras,
    "fastai": fastai,
    "sklearn": scikit_learn,
}


def installed() -> tuple[dict[str, Contestant], list[str]]:
    """Return those that are installed, and the packages that are not."""
    there = {name: train for name, train in OTHERS.items() if find_spec(name)}
    return there, sorted(OTHERS.keys() - there.keys())
