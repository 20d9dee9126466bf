"""Networks against torch's own modules, unrolled by hand, and on the example of a lecture."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from seqmodels.nn import (
    GRU,
    LSTM,
    RNN,
    LSTMCell,
    MinGRUCell,
    MinLSTMCell,
    MultiplicativeLSTMCell,
    MultiplicativeRNNCell,
    RNNCell,
    Transformer,
)
from seqmodels.nn.attention import rotate
from seqmodels.nn.positions import rotary_angles

B, T, D, H = 3, 7, 5, 4


@pytest.mark.parametrize(
    ("network", "module"),
    [
        (lambda: RNN(D, H, 2), lambda: nn.RNN(D, H, 2, batch_first=True)),
        (lambda: RNN(D, H, 2, nonlinearity="relu"), lambda: nn.RNN(D, H, 2, nonlinearity="relu", batch_first=True)),
        (lambda: LSTM(D, H, 2), lambda: nn.LSTM(D, H, 2, batch_first=True)),
        (lambda: GRU(D, H, 2), lambda: nn.GRU(D, H, 2, batch_first=True)),
    ],
    ids=["tanh", "relu", "LSTM", "GRU"],
)
@pytest.mark.parametrize("at_once", [True, False], ids=["sequence", "steps"])
def test_stack_is_torchs(network, module, at_once: bool) -> None:  # type: ignore[no-untyped-def]
    ours, theirs = network().double(), module().double()
    with torch.no_grad():
        for number, cell in enumerate(ours.layers):
            for name, parameter in cell.kernel.named_parameters():
                parameter.normal_()
                getattr(theirs, name.replace("l0", f"l{number}")).copy_(parameter)
    x = torch.randn(B, T, D, dtype=torch.float64)
    wanted, _ = theirs(x)
    if at_once:
        found, _ = ours(x)
    else:
        state, outputs = None, []
        for t in range(T):
            y, state = ours(x[:, t : t + 1], state)
            outputs.append(y)
        found = torch.cat(outputs, 1)
    assert_close(found, wanted)


def four_units() -> RNNCell:
    """Unit 1 hears itself at 1.0 and unit 4 at 0.4; unit 2 hears 1, 3 and 4 at 0.9, 0.6 and 0.5."""
    cell = RNNCell(4, 4, "relu").double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
        cell.kernel.weight_hh_l0[0, 0], cell.kernel.weight_hh_l0[0, 3] = 1.0, 0.4
        cell.kernel.weight_hh_l0[1, [0, 2, 3]] = torch.tensor([0.9, 0.6, 0.5], dtype=torch.float64)
        cell.kernel.weight_ih_l0.copy_(torch.eye(4))
    return cell


def test_four_units_by_hand() -> None:
    cell = four_units()
    (h,) = cell.step(torch.zeros(1, 4).double(), (torch.tensor([[1.0, 2.0, 3.0, 4.0]]).double(),))
    assert_close(h, torch.tensor([[1.0 + 0.4 * 4, 0.9 * 1 + 0.6 * 3 + 0.5 * 4, 0.0, 0.0]]).double())


def test_unrolled_in_time_is_a_feed_forward_network_with_the_same_weights_in_every_layer() -> None:
    cell = four_units()
    x = torch.randn(B, T, 4, dtype=torch.float64)
    h = torch.zeros(B, 4, dtype=torch.float64)
    for t in range(T):
        layer = nn.Sequential(nn.Linear(8, 4, bias=False), nn.ReLU()).double()
        layer[0].weight = nn.Parameter(torch.cat([cell.kernel.weight_hh_l0, cell.kernel.weight_ih_l0], 1).detach())
        h = layer(torch.cat([h, x[:, t]], 1))
    y, _ = cell.sequence(x, (torch.zeros(B, 4, dtype=torch.float64),))
    assert_close(y[:, -1], h)


def test_bptt_sums_over_all_paths_to_the_shared_weights() -> None:
    """The gradient of the recurrent matrix, by the chain rule written out, without autograd."""
    torch.manual_seed(0)
    cell = RNNCell(D, H).double()
    w_in, w_rec = cell.kernel.weight_ih_l0.detach(), cell.kernel.weight_hh_l0.detach()
    b = (cell.kernel.bias_ih_l0 + cell.kernel.bias_hh_l0).detach()
    x, weights = torch.randn(T, D, dtype=torch.float64), torch.randn(T, H, dtype=torch.float64)
    h = [torch.zeros(H, dtype=torch.float64)]
    for t in range(T):
        h.append(torch.tanh(w_rec @ h[-1] + w_in @ x[t] + b))
    d_rec, d_in, delta = torch.zeros_like(w_rec), torch.zeros_like(w_in), torch.zeros(H, dtype=torch.float64)
    for t in reversed(range(T)):  # loss = sum_t weights_t . h_t
        before_tanh = (weights[t] + delta) * (1 - h[t + 1] ** 2)
        d_rec += torch.outer(before_tanh, h[t])
        d_in += torch.outer(before_tanh, x[t])
        delta = w_rec.T @ before_tanh
    y, _ = cell.sequence(x[None], (torch.zeros(1, H, dtype=torch.float64),))
    (y[0] * weights).sum().backward()
    assert_close(cell.kernel.weight_hh_l0.grad, d_rec)
    assert_close(cell.kernel.weight_ih_l0.grad, d_in)


def test_cell_state_is_a_highway() -> None:
    """Along the cell state alone, `dL/dc_{t-1} = f_t * dL/dc_t`."""
    torch.manual_seed(0)
    cell = LSTMCell(D, H).double()
    x, h = torch.randn(B, D, dtype=torch.float64), torch.randn(B, H, dtype=torch.float64)
    c = torch.randn(B, H, dtype=torch.float64, requires_grad=True)
    _, following = cell.step(x, (h, c))
    upstream = torch.randn_like(following)
    (gradient,) = torch.autograd.grad(following, c, upstream)
    k = cell.kernel
    preactivations = F.linear(x, k.weight_ih_l0, k.bias_ih_l0) + F.linear(h, k.weight_hh_l0, k.bias_hh_l0)
    forget = preactivations[:, H : 2 * H].sigmoid()
    assert_close(gradient, forget * upstream)


def test_multiplicative_cells_have_a_recurrent_map_for_each_input() -> None:
    """The map is written out as a matrix, `W_hf diag(W_fx x) W_fh`, one row of the batch at a time."""
    torch.manual_seed(0)
    x, h, c = (torch.randn(B, n, dtype=torch.float64) for n in (D, H, H))
    for cell in (MultiplicativeRNNCell(D, H).double(), MultiplicativeLSTMCell(D, H).double()):
        for row in range(B):
            factors = torch.diag(cell.factors_of_input.weight @ x[row])
            w_rec = cell.from_factors.weight @ factors @ cell.factors_of_state.weight
            sums = w_rec @ h[row] + cell.from_input.weight @ x[row] + cell.from_input.bias
            if len(cell.maps) == 1:
                (found,) = cell.step(x, (h,))
                assert_close(found[row], sums.tanh())
            else:
                i, f, g, o = sums.split(H)
                memory = f.sigmoid() * c[row] + i.sigmoid() * g.tanh()
                found, remembered = cell.step(x, (h, c))
                assert_close(remembered[row], memory)
                assert_close(found[row], o.sigmoid() * memory.tanh())


def test_minimal_cells_are_their_equations() -> None:
    torch.manual_seed(0)
    x, h = torch.randn(B, D, dtype=torch.float64), torch.randn(B, H, dtype=torch.float64)
    gru, lstm = MinGRUCell(D, H).double(), MinLSTMCell(D, H).double()
    z, n = (x @ gru.from_input.weight.T + gru.from_input.bias).split(H, -1)
    assert_close(gru.step(x, (h,))[0], (1 - z.sigmoid()) * h + z.sigmoid() * n)
    f, i, g = (x @ lstm.from_input.weight.T + lstm.from_input.bias).split(H, -1)
    f, i = f.sigmoid(), i.sigmoid()
    assert_close(lstm.step(x, (h,))[0], f / (f + i) * h + i / (f + i) * g)


def test_learned_initial_state_gets_a_gradient() -> None:
    net = LSTM(D, H, learn_initial_state=True)
    y, _ = net(torch.randn(B, T, D))
    y.sum().backward()
    assert net.start.grad is not None
    assert (net.start.grad != 0).all()
    with torch.no_grad():
        net.start += 1
    assert not torch.allclose(net(torch.zeros(B, 1, D))[0], LSTM(D, H)(torch.zeros(B, 1, D))[0])


def test_transformer_is_the_textbooks() -> None:
    """Learned positions, layer norm, GELU: written out with full attention matrices, one head at a time."""
    torch.manual_seed(0)
    net = Transformer(8, num_layers=2, num_heads=2, context=16, positions="learned").double()
    for p in net.parameters():
        nn.init.normal_(p, std=0.5)
    x = torch.randn(B, T, 8, dtype=torch.float64)
    y = x + net.position.weight[:T]  # type: ignore[union-attr]
    for block in net.blocks:
        z = block.norm_mixer(y)
        q, k, v = (z @ block.mixer.project.weight.T).split(8, -1)
        heads = []
        for head in range(2):
            part = slice(4 * head, 4 * head + 4)
            scores = q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(4)
            scores = scores.masked_fill(torch.ones(T, T).triu(1).bool(), -torch.inf)
            heads.append(scores.softmax(-1) @ v[..., part])
        y = y + torch.cat(heads, -1) @ block.mixer.out.weight.T
        z = block.norm_feed_forward(y)
        y = y + F.gelu(z @ block.feed_forward.up.weight.T) @ block.feed_forward.out.weight.T
    assert_close(net(x)[0], net.norm(y))


def test_rotary_products_depend_on_distance_alone() -> None:
    q, k = torch.randn(8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)

    def product(i: int, j: int) -> torch.Tensor:
        angles = rotary_angles(torch.tensor([[i, j]]), 8)
        cos, sin = angles.cos(), angles.sin()
        turned = rotate(torch.stack([q, k])[None, None], cos, sin)[0, 0]
        return turned[0] @ turned[1]

    assert_close(product(5, 2), product(1005, 1002))
    assert_close(product(7, 7), q @ k)
    assert not torch.allclose(product(5, 2), product(5, 3))


def test_grouped_queries_are_repeated_keys() -> None:
    torch.manual_seed(0)
    grouped = Transformer(8, num_layers=1, num_heads=4, num_kv_heads=2, context=16).double()
    full = Transformer(8, num_layers=1, num_heads=4, context=16).double()
    weights = grouped.state_dict()
    q, k, v = weights["blocks.0.mixer.project.weight"].split([8, 4, 4])
    wide = [part.view(2, 2, 8).repeat_interleave(2, 0).reshape(8, 8) for part in (k, v)]
    full.load_state_dict(weights | {"blocks.0.mixer.project.weight": torch.cat([q, *wide])})
    x = torch.randn(B, T, 8, dtype=torch.float64)
    assert_close(full(x)[0], grouped(x)[0])
