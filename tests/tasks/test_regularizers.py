"""Penalties and dropout of the embedding, against loops written out."""

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from trainers import small_model, small_module, train, validate

from seqmodels.nn.dropout import embedding_dropout
from seqmodels.tasks.regularizers import activation_penalty, temporal_penalty


@pytest.mark.parametrize("padded", [False, True])
def test_penalties_are_means_over_real_positions(padded: bool) -> None:
    torch.manual_seed(0)
    y = torch.randn(3, 5, 4, dtype=torch.float64)
    counts = [5, 2, 0] if padded else [5, 5, 5]
    mask = torch.arange(5) < torch.tensor(counts)[:, None] if padded else None
    squares, changes = [], []
    for row, n in zip(y, counts, strict=True):
        squares += [float(v) ** 2 for t in range(n) for v in row[t]]
        changes += [float(a - b) ** 2 for t in range(1, n) for a, b in zip(row[t], row[t - 1], strict=True)]
    assert float(activation_penalty(y, mask)) == pytest.approx(sum(squares) / len(squares))
    assert float(temporal_penalty(y, mask)) == pytest.approx(sum(changes) / len(changes))
    assert float(temporal_penalty(y[:, :1])) == 0


def test_penalty_is_in_the_loss_and_not_in_the_figures(text_file: Path) -> None:
    data = small_module(text_file, False)
    plain, penalized = small_model(data), small_model(data, activation_penalty=2.0, temporal_penalty=1.0)
    batch = data.training_batches()[0, 0]
    y, _ = plain.backbone(plain.embedding(batch.inputs))
    assert plain.losses(batch, None).penalty == 0
    penalty = penalized.losses(batch, None).penalty
    assert_close(penalty, 2 * y.square().mean() + (y[:, 1:] - y[:, :-1]).square().mean())
    scored = data.scored_batches("validation")
    assert validate(plain, scored) == validate(penalized, scored)


def test_large_penalty_makes_outputs_small(text_file: Path) -> None:
    sizes = []
    for weight in (0.0, 100.0):
        data = small_module(text_file, True)
        model = small_model(data, activation_penalty=weight)
        train(model, data, 30)
        batch = data.training_batches()[0, 0]
        with torch.no_grad():
            sizes.append(float(model.backbone(model.embedding(batch.inputs))[0].square().mean()))
    assert sizes[1] < 0.2 * sizes[0]


def test_whole_tokens_are_dropped() -> None:
    torch.manual_seed(0)
    tokens = torch.randint(50, (8, 200))
    x = torch.rand(8, 200, 3) + 1
    y = embedding_dropout(x, tokens, 50, 0.4, training=True)
    dropped = (y == 0).all(-1)
    assert_close(y[~dropped], x[~dropped] / 0.6)
    for token in range(50):
        places = dropped[tokens == token]
        assert places.all() or not places.any()
    assert 0.2 < dropped.float().mean() < 0.6
    assert embedding_dropout(x, tokens, 50, 0.4, training=False) is x
