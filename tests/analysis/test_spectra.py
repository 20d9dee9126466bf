"""Spectra are those of the maps that states go through, and gradients grow and fade as they say."""

import re
from pathlib import Path

import pytest
import torch
from networks import NETWORKS
from refusals import assert_refused
from torch.testing import assert_close
from trainers import small_model, small_module

from seqmodels import GRU, LSTM, RNN, LanguageModel, Tokenizer, Transformer, Translator, fit
from seqmodels.analysis import Spectra
from seqmodels.analysis.gradient_horizon import gradient_horizon, gradient_norms
from seqmodels.analysis.spectra import draw_radii, draw_spectra, read_radii, recurrent_maps, spectra, spectrum
from seqmodels.batch import Batch
from seqmodels.nn import Bidirectional, Hybrid, MultiplicativeLSTM

TOKENIZER = Tokenizer.char("abcdefgh")


def test_a_rotation_that_grows() -> None:
    found = spectrum(torch.tensor([[0.0, -1.2, 0.0], [0.6, 0.0, 0.0], [0.0, 0.0, -0.5]], dtype=torch.float64))
    assert found.radius == pytest.approx(0.72**0.5)
    assert found.norm == pytest.approx(1.2)
    assert_close(found.eigenvalues[:2].abs(), torch.full((2,), 0.72**0.5, dtype=torch.float64))
    assert_close(found.eigenvalues[2], torch.tensor(-0.5 + 0j, dtype=torch.complex128))
    assert_close(found.singular_values, torch.tensor([1.2, 0.6, 0.5], dtype=torch.float64))


def test_what_has_no_spectrum() -> None:
    for matrix in (torch.zeros(2, 3), torch.zeros(4), torch.full((2, 2), torch.nan)):
        assert_refused(r"expected \(D, D\)", spectrum, matrix)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_map_by_its_name(name: str) -> None:
    """Together they are the recurrent maps, cut into squares, in their order."""
    network = NETWORKS[name]()
    names = "weight_hh|factors_of_state|from_factors|from_state"
    recurrent = [p for n, p in network.named_parameters() if re.search(names, n)]
    squares = [square for stacked in recurrent for square in stacked.split(stacked.shape[1])]
    if name == "SLSTM-2-heads":  # a block for each head
        squares = [torch.block_diag(*pair) for pair in zip(squares[:4], squares[4:], strict=True)]
    maps = recurrent_maps(network)
    assert len(maps) == len(squares)
    for ours, theirs in zip(maps.values(), squares, strict=True):
        assert_close(ours, theirs.detach())
    states = network.traced(torch.randn(1, 2, network.input_size))[2].units
    assert {name.rpartition(".")[0] for name in maps} <= {name.rpartition(".")[0] for name in states}


def test_names() -> None:
    assert list(recurrent_maps(LSTM(4, 6, num_layers=2)))[3:6] == ["1.o", "2.i", "2.f"]
    assert list(recurrent_maps(MultiplicativeLSTM(4, 6))) == ["1.m", "1.i", "1.f", "1.g", "1.o"]
    assert list(recurrent_maps(Hybrid(8, "attention,GRU,MinGRU", num_heads=2))) == ["2.r", "2.z", "2.n"]
    assert list(recurrent_maps(Bidirectional(RNN(4, 6)))) == ["1.h", "backward 1.h"]
    task = Translator(RNN(4, 6), RNN(4, 6), TOKENIZER)
    assert list(recurrent_maps(task)) == ["encoder 1.h", "encoder backward 1.h", "decoder 1.h"]


def test_gates_have_the_maps_that_their_names_say() -> None:
    """A map of zeros leaves a gate to the input alone: it is the same from every state."""
    x = torch.randn(2, 1, 4)
    for network, gate in ((LSTM(4, 6), "1.f"), (GRU(4, 6), "1.z")):
        recurrent_maps(network)[gate].zero_()
        starts = [network.as_state(torch.randn(2, network.state_size)) for _ in range(2)]
        one, other = (network.traced(x, start)[2].gates for start in starts)
        assert {name for name in one if torch.allclose(one[name], other[name])} == {gate}


def test_networks_without_maps() -> None:
    assert_refused("Transformer has no recurrent matrix", spectra, Transformer(8, 1, 2))
    assert_refused("MinGRU has no recurrent matrix", spectra, LanguageModel(NETWORKS["MinGRU-2"](), TOKENIZER))


@pytest.mark.parametrize(("radius", "factor"), [(1.1, 13_780.6), (0.9, 2.65614e-5), (1.0, 1.0)])
def test_a_hundred_steps(radius: float, factor: float) -> None:
    """A ReLU network where it is linear, its map a shuffle of the units: the gradient grows or fades as a power."""
    torch.manual_seed(0)
    network = RNN(5, 5, nonlinearity="relu")
    task = LanguageModel(network, TOKENIZER).double()
    with torch.no_grad():
        (matrix,) = recurrent_maps(network).values()
        matrix.copy_(radius * torch.eye(5, dtype=torch.float64)[torch.randperm(5)])
        kernel = network.layers[0].kernel
        kernel.weight_ih_l0.copy_(torch.eye(5))  # type: ignore[union-attr,operator]
        task.embedding.weight.uniform_(0.5e-4, 1e-4)  # all states are above zero, and small beside the logits
    assert spectra(task)["1.h"].radius == pytest.approx(radius)
    tokens = torch.randint(4, TOKENIZER.vocab_size, (2, 101))
    targets = torch.full_like(tokens, -100)
    targets[:, -1] = 4
    norms = gradient_norms(task, Batch(tokens, targets), states=True)
    for kind in ("x", "1.h"):
        powers = radius ** torch.arange(101, dtype=torch.float64)
        assert_close(norms[kind], norms[kind][0] * powers)
        assert float(norms[kind][100] / norms[kind][0]) == pytest.approx(factor, rel=1e-5)
    vanished = 44 if radius < 1 else 101  # 0.9^43 = 0.0108, 0.9^44 = 0.0097
    assert gradient_horizon(norms["x"]) == vanished


def test_figures() -> None:
    found = spectra(LSTM(4, 6))
    figure = draw_spectra(found)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title().split(",")[0] for axes in shown] == ["1.i", "1.f", "1.g", "1.o"]
    points = shown[1].collections[0].get_offsets()
    assert_close(torch.as_tensor(points.data), torch.view_as_real(found["1.f"].eigenvalues).double())


def test_measured_in_training(text_file: Path, tmp_path: Path) -> None:
    data = small_module(text_file, carry=False)
    callback = Spectra(every=4, largest=16)
    model = small_model(data, GRU(8, 16))
    run = fit(model, data, max_steps=10, validations=1, runs=str(tmp_path), callbacks=(callback,))
    radii = read_radii(run / "spectra.csv")
    steps = {name: [at.step for at in of_map] for name, of_map in radii.items()}
    assert steps == {name: [4, 8, 10] for name in ("1.r", "1.z", "1.n")}
    last = spectra(model)
    for name, of_map in radii.items():
        assert of_map[-1].radius == pytest.approx(last[name].radius, rel=1e-4)
        assert of_map[-1].norm == pytest.approx(last[name].norm, rel=1e-4)
    assert len({at.radius for at in radii["1.n"]}) == 3
    assert "recurrent/spectral_radius" in (run / "metrics.csv").read_text().splitlines()[0]
    assert {path.name for path in run.glob("s*.png")} == {"spectra.png", "spectral_radius.png"}
    (line, *_) = draw_radii(radii).axes[0].lines
    assert_close(torch.as_tensor(line.get_ydata()), torch.tensor([at.radius for at in radii["1.r"]]).double())


def test_large_maps_wait_for_the_end_and_larger_ones_are_left_out(text_file: Path, tmp_path: Path) -> None:
    data = small_module(text_file, carry=False)
    for largest, steps in ((16, [4]), (15, [])):
        folder = tmp_path / str(largest)
        folder.mkdir()
        callback = Spectra(every=2, largest=8, largest_at_end=largest, folder=folder)
        settings = {"max_steps": 4, "validations": 1, "diagnostics": False}
        fit(small_model(data, RNN(8, 16)), data, runs=str(tmp_path), callbacks=(callback,), **settings)
        found = read_radii(folder / "spectra.csv")["1.h"] if steps else []
        assert [at.step for at in found] == steps
        assert (folder / "spectra.png").exists() == bool(steps)
