"""How a network reads a table: scales, gaps and categories, as layers that travel with it."""

import math

import pytest
import torch

from zoo.preprocessing.tables import ONE_HOT_UP_TO, TablePreprocessing, embedding_width

NAN = math.nan


def number(name="x", mean=0.0, std=1.0, **options):
    return {"name": name, "mean": mean, "std": std, "log": False, "indicator": False, **options}


def category(vocabulary, codes=None, missing=True, name="k"):
    codes = list(range(len(vocabulary))) if codes is None else codes
    return {"name": name, "vocabulary": vocabulary, "codes": codes, "missing": missing}


def layer(numeric=(), categorical=(), **options):
    described = {"kind": "table", "numeric": list(numeric), "categorical": list(categorical)}
    return TablePreprocessing({**described, **options})


def test_numbers_are_standardised_and_missing_ones_become_the_mean():
    preprocess = layer([number(mean=10.0, std=2.0), number(mean=-1.0, std=0.5)])
    out = preprocess(torch.tensor([[12.0, NAN], [NAN, -2.0]]))
    assert preprocess.output_shape == (2,)
    torch.testing.assert_close(out, torch.tensor([[1.0, 0.0], [0.0, -2.0]]))


def test_indicators_say_where_a_number_was_missing():
    preprocess = layer([number(), number(indicator=True)])
    out = preprocess(torch.tensor([[NAN, NAN], [1.0, 2.0]]))
    assert out.tolist() == [[0.0, 0.0, 1.0], [1.0, 2.0, 0.0]]


def test_logarithms_keep_the_sign():
    preprocess = layer([number(log=True)])
    out = preprocess(torch.tensor([[math.e - 1], [1 - math.e], [0.0]]))
    torch.testing.assert_close(out, torch.tensor([[1.0], [-1.0], [0.0]]))


def test_outliers_are_clipped_on_request():
    assert layer([number()], clip=10.0)(torch.tensor([[1e30], [-1e30]])).tolist() == [[10], [-10]]


def test_piecewise_linear_codes():
    preprocess = layer([number(edges=[0.0, 1.0, 3.0])])
    out = preprocess(torch.tensor([[0.5], [2.0], [-2.0], [5.0], [NAN]]))
    assert out[:, 1:].tolist() == [[0.5, 0.0], [1.0, 0.5], [-1.0, 0.0], [1.0, 2.0], [0.0, 0.0]]


def test_few_categories_start_as_one_hot_codes_with_a_place_for_missing_ones():
    preprocess = layer(categorical=[category(["a", "b"])])
    out = preprocess(torch.tensor([[0.0], [1.0], [NAN], [-1.0], [2.0], [99.0]]))
    assert out.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_codes_that_training_never_saw_share_the_slot_of_unseen_values():
    # Codes 1 and 3 of the file occur in training; 0, 2 and 4 only elsewhere.
    preprocess = layer(categorical=[category(["b", "d"], codes=[1, 3], missing=False)])
    out = preprocess(torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0], [NAN]]))
    assert out.tolist() == [[0, 0], [1, 0], [0, 0], [0, 1], [0, 0], [0, 0]]


def test_many_categories_get_an_embedding_of_their_own_width():
    many = [f"value {i}" for i in range(100)]
    preprocess = layer([number()], [category(["a", "b"], missing=False), category(many, name="m")])
    width = embedding_width(100)
    assert ONE_HOT_UP_TO < width < 32
    assert preprocess.output_shape == (1 + 2 + width,)
    x = torch.tensor([[0.0, 0.0, 5.0], [0.0, 1.0, 6.0], [0.0, 1.0, NAN], [0.0, 1.0, -1.0]])
    out = preprocess(x)
    assert out.shape == (4, 3 + width)
    assert not torch.equal(out[0, 3:], out[1, 3:])
    assert out[2, 3:].abs().sum() > 0
    assert out[3, 3:].abs().sum() == 0


def test_every_slot_of_every_column_is_its_own():
    columns = [category([str(i) for i in range(n)], name=str(n)) for n in (3, 20, 1)]
    preprocess = layer(categorical=columns)
    with torch.no_grad():
        preprocess.embedding.weight.normal_()
    seen = set()
    for column, size in enumerate((3, 20, 1)):
        for code in [*range(size), NAN, -1.0]:
            x = torch.full((1, 3), -1.0)
            x[0, column] = code
            seen.add(tuple(preprocess(x)[0].tolist()))
    # All columns unseen at once is one row, met once for each column.
    assert len(seen) == (3 + 2) + (20 + 2) + (1 + 2) - 2


@pytest.mark.parametrize("values", [1, 2, 10, 11, 50, 1000, 100_000])
def test_embedding_widths(values):
    assert 1 <= embedding_width(values) <= min(values, 32)


def test_no_value_makes_it_give_something_infinite():
    preprocess = layer(
        [number(indicator=True, log=True, edges=[0.0, 1.0, 2.0])], [category(["a"])], clip=10.0
    )
    values = torch.tensor([NAN, 0.0, -1.0, 3e38, -3e38, math.inf, -math.inf])
    x = torch.cartesian_prod(values, torch.tensor([NAN, -1.0, 0.0, 1.0, 1e6]))
    assert preprocess(x).isfinite().all()


def test_gradients_reach_the_embeddings_and_it_exports():
    preprocess = layer([number()], [category(["a", "b", "c"])])
    x = torch.tensor([[1.0, 0.0], [NAN, NAN]])
    preprocess(x).square().sum().backward()
    assert preprocess.embedding.weight.grad.abs().sum() > 0
    exported = torch.export.export(preprocess.eval(), (x,))
    torch.testing.assert_close(exported.module()(x), preprocess(x))
