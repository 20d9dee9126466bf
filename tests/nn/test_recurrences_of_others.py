"""Layers against those of `transformers`, with the same weights, in single precision: values, pieces and gradients."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from seqmodels.nn import Cell
from seqmodels.nn.gated_delta_net import GatedDeltaCell
from seqmodels.nn.linear_attention import RetentionCell
from seqmodels.nn.mamba2 import Mamba2Cell
from seqmodels.nn.rg_lru import RGLRUCell
from seqmodels.nn.rwkv7 import RWKV7, ChannelMixingCell, RWKV7Cell
from seqmodels.nn.xlstm import MLSTMCell, SLSTMCell

B, T, D = 2, 37, 16


def lively(module: nn.Module, std: float = 0.3) -> None:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=std)


def copy(parameter: Tensor, *parts: Tensor) -> None:
    """Fill a parameter with these rows."""
    with torch.no_grad():
        parameter.copy_(torch.cat([part.detach() for part in parts]).view_as(parameter))


def agree(cell: Cell, theirs, x: Tensor | None = None) -> None:  # type: ignore[no-untyped-def]
    """At once, and in pieces of ours beside their whole; gradients with respect to the inputs."""
    x = torch.randn(B, T, D) if x is None else x
    x.requires_grad_()
    wanted = theirs(x)
    start = cell.initial_state(B, x.detach())
    found, _ = cell.sequence(x, start)
    assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    weights = torch.randn_like(found)
    mine, other = (torch.autograd.grad((y * weights).sum(), x)[0] for y in (found, wanted))
    assert_close(mine, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))
    state, pieces = start, []
    for piece in x.tensor_split((1, 8, 10, 30, 31), 1):
        y, state = cell.sequence(piece, state)
        pieces.append(y)
    assert_close(torch.cat(pieces, 1), wanted, rtol=1e-5, atol=1e-5)


def test_gated_delta_net() -> None:
    modeling = pytest.importorskip("transformers.models.qwen3_next.modeling_qwen3_next")
    H, K, V = 2, 4, 8
    config = modeling.Qwen3NextConfig(
        hidden_size=D, linear_num_value_heads=H, linear_num_key_heads=H, linear_key_head_dim=K,
        linear_value_head_dim=V, num_hidden_layers=1, layer_types=["linear_attention"],
    )  # fmt: skip
    theirs = modeling.Qwen3NextGatedDeltaNet(config, 0).eval()
    lively(theirs)
    cell = GatedDeltaCell(D, D, H, K, V)
    parts = theirs.in_proj_qkvz.weight.view(H, -1, D).split((K, K, V, V), 1)
    gates = theirs.in_proj_ba.weight.view(H, 2, D)
    copy(cell.projection.weight, *(part.flatten(0, 1) for part in parts), gates[:, 0], gates[:, 1])
    copy(cell.convolution.weight, theirs.conv1d.weight)  # type: ignore[union-attr]
    copy(cell.rate, theirs.A_log)
    copy(cell.bias, theirs.dt_bias)
    copy(cell.norm.weight, theirs.norm.weight)
    copy(cell.out.weight, theirs.out_proj.weight)
    agree(cell, theirs)


@pytest.mark.parametrize("groups", [1, 2])
def test_mamba2(groups: int) -> None:
    modeling = pytest.importorskip("transformers.models.mamba2.modeling_mamba2")
    H, P, N = 4, 8, 6
    config = modeling.Mamba2Config(
        hidden_size=D, num_heads=H, head_dim=P, state_size=N, n_groups=groups, expand=2, chunk_size=8,
        num_hidden_layers=1,
    )  # fmt: skip
    theirs = modeling.Mamba2Mixer(config, 0).eval()
    lively(theirs)
    cell = Mamba2Cell(D, D, H, P, N, groups)
    sizes = (H * P, H * P, groups * N, groups * N, H)
    z, x, k, q, step = theirs.in_proj.weight.split(sizes)
    copy(cell.projection.weight, q, k, x, z, step)
    for name in ("weight", "bias"):
        x, k, q = getattr(theirs.conv1d, name).split(sizes[1:4])
        copy(getattr(cell.convolution, name), q, k, x)
    copy(cell.rate, theirs.A_log)
    copy(cell.bias, theirs.dt_bias)
    copy(cell.skip, theirs.D)
    copy(cell.norm, theirs.norm.weight)
    copy(cell.out.weight, theirs.out_proj.weight)
    agree(cell, theirs)


def test_mlstm() -> None:
    modeling = pytest.importorskip("transformers.models.xlstm.modeling_xlstm")
    H, K, V = 2, 4, 8
    config = modeling.xLSTMConfig(
        hidden_size=D, num_heads=H, qk_dim_factor=0.5, v_dim_factor=1.0, num_hidden_layers=1, chunk_size=8,
        mode="train", chunkwise_kernel="chunkwise--native_autograd", sequence_kernel="native_sequence__native",
        step_kernel="native",
    )  # fmt: skip
    theirs = modeling.xLSTMLayer(config)
    lively(theirs)
    cell = MLSTMCell(D, D, H, K, V)
    names = ("q", "k", "v", "ogate_preact", "igate_preact", "fgate_preact")
    copy(cell.projection.weight, *(getattr(theirs, name).weight for name in names))
    copy(cell.bias, theirs.igate_preact.bias, theirs.fgate_preact.bias)
    copy(cell.norm, theirs.multihead_norm.weight)
    copy(cell.out.weight, theirs.out_proj.weight)
    agree(cell, lambda x: theirs(x)[0], torch.randn(B, 40, D))  # a multiple of its chunk


def test_rg_lru() -> None:
    modeling = pytest.importorskip("transformers.models.recurrent_gemma.modeling_recurrent_gemma")
    H = 2
    config = modeling.RecurrentGemmaConfig(hidden_size=D, lru_width=D, num_attention_heads=H, num_hidden_layers=1)
    theirs = modeling.RecurrentGemmaRecurrentBlock(config, 0)
    lively(theirs)
    cell = RGLRUCell(D, D, D, H)
    copy(cell.projection.weight, theirs.linear_x.weight, theirs.linear_y.weight)
    copy(cell.projection.bias, theirs.linear_x.bias, theirs.linear_y.bias)
    copy(cell.convolution.weight, theirs.conv_1d.weight)
    copy(cell.convolution.bias, theirs.conv_1d.bias)  # type: ignore[arg-type]
    lru = theirs.rg_lru
    with torch.no_grad():
        cell.gate_maps.copy_(torch.cat((lru.input_gate_weight, lru.recurrent_gate_weight), -1))
    copy(cell.gate_biases, lru.input_gate_bias.flatten(), lru.recurrent_gate_bias.flatten())
    copy(cell.base, lru.recurrent_param)
    copy(cell.out.weight, theirs.linear_out.weight)
    copy(cell.out.bias, theirs.linear_out.bias)
    places = torch.arange(1, T + 1).expand(B, -1)  # at position 0 theirs does not scale the input
    agree(cell, lambda x: theirs(x, places, None, use_cache=False)[0])


@pytest.mark.parametrize("heads", [1, 2])
def test_slstm_without_its_stabiliser(heads: int) -> None:
    """By the equations as they are published, in double precision, where these gates do not overflow."""
    cell = SLSTMCell(D, D, heads).double()
    lively(cell, 0.5)
    x = 3 * torch.randn(B, T, D, dtype=torch.float64)
    found, _ = cell.sequence(x, cell.initial_state(B, x))
    maps = [part.view(heads, -1, D // heads) for part in cell.from_state.weight.view(heads, 4, -1).unbind(1)]
    i_map, f_map, z_map, o_map = (torch.block_diag(*part) for part in maps)  # type: ignore[no-untyped-call]
    h = c = n = torch.zeros(B, D, dtype=torch.float64)
    for t in range(T):
        i, f, z, o = cell.project(x[:, t]).chunk(4, -1)
        i, f = (i + h @ i_map.mT).exp(), (f + h @ f_map.mT).sigmoid()
        c = f * c + i * (z + h @ z_map.mT).tanh()
        n = f * n + i
        h = (o + h @ o_map.mT).sigmoid() * c / n
        assert_close(found[:, t], h)


def test_retnet_in_its_parallel_form() -> None:
    """`(Q K^T * D) V` with queries and keys as complex numbers that turn, and the decays of its paper."""
    H, K = 2, 8
    cell = RetentionCell(D, D, H, K, 32.0, 512.0).double()
    lively(cell)
    x = torch.randn(B, T, D, dtype=torch.float64)
    found, (_, _, seen) = cell.sequence(x, cell.initial_state(B, x))
    q, k, v, gate = cell.project(x).split([H * K] * 4, -1)
    turn = torch.arange(T)[:, None] * 10_000.0 ** -(torch.arange(0, K, 2, dtype=torch.float64) / K)
    q, k = (torch.complex(*part.view(B, T, H, 2, K // 2).unbind(3)) for part in (q, k))
    theta = torch.polar(torch.ones_like(turn), turn).unsqueeze(1)
    q, k = q * theta, k * theta
    decay = 1 - torch.linspace(math.log(1 / 32), math.log(1 / 512), H, dtype=torch.float64).exp()
    distance = torch.arange(T)[:, None] - torch.arange(T)
    scores = torch.einsum("bthk,bshk->bhts", q, k.conj()).real * K**-0.5
    scores = scores * decay[:, None, None] ** distance * (distance >= 0)
    o = torch.einsum("bhts,bshv->bthv", scores, v.view(B, T, H, K))
    o = nn.functional.rms_norm(o, (K,), cell.norm.weight, 1e-6).flatten(2) * nn.functional.silu(gate)
    assert_close(found, cell.out(o))
    assert (seen == T).all()


def test_gates_that_overflow() -> None:
    """Input gates of `exp(300)` and more, in single precision: finite, and equal to what double precision finds."""
    for make in (lambda: SLSTMCell(D, D), lambda: MLSTMCell(D, D, 2, 4, 8)):
        cell = make()
        lively(cell)
        x = 200 * torch.randn(B, T, D)
        if isinstance(cell, MLSTMCell):
            cell.bound = 1000.0
        found, end = cell.sequence(x, cell.initial_state(B, x))
        assert found.isfinite().all()
        assert all(tensor.isfinite().all() for tensor in end)
        assert max(float(tensor.detach().max()) for tensor in end) > 89  # the stabiliser, whose exponential is infinite
        gradients = torch.autograd.grad(found.sum(), list(cell.parameters()))
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_rows_start_their_stabiliser_by_themselves() -> None:
    """A row that begins beside one that has read something."""
    cell = SLSTMCell(D, D)
    lively(cell)
    x = torch.randn(2, T, D)
    alone, _ = cell.sequence(x[1:], cell.initial_state(1, x))
    _, first = cell.sequence(x[:1], cell.initial_state(1, x))
    state = tuple(torch.cat(pair) for pair in zip(first, cell.initial_state(1, x), strict=True))
    assert_close(cell.sequence(x, state)[0][1:], alone)


def test_rwkv7_of_two_layers_as_published() -> None:
    """The first layer's values in the second, channel mixing, and the norm of the inputs, position by position."""
    network = RWKV7(D, 2, 2, None, 3, 4, 5, 2, eps=1e-5).double()
    lively(network)
    x = torch.randn(1, 7, D, dtype=torch.float64)
    found, _ = network(x)
    cells = network.cells
    states = [cell.initial_state(1, x) for cell in cells]
    with torch.no_grad():
        for t in range(7):
            s, first = network.norm_inputs(x[:, t]), torch.zeros(0)
            for number, (block, cell) in enumerate(zip(network.blocks, cells, strict=True)):
                h, last = block.norm_mixer(s), states[number][-1]  # type: ignore[operator]
                if isinstance(cell, ChannelMixingCell):
                    k = cell.key(h + cell.share * (last - h)).relu() ** 2
                    s, states[number] = s + cell.out(k), (h, h)
                    continue
                assert isinstance(cell, RWKV7Cell)
                shifted = h + cell.shares[3] * (last - h)
                value = cell.value(shifted)
                if number == 0:
                    first = value
                else:
                    share = cell.value_up(cell.value_down(shifted)).sigmoid()
                    value = value + (first - value) * share
                plain = RWKV7Cell(D, D, 2, cell.size, cell.ranks).double()  # its equations are below
                plain.load_state_dict(cell.state_dict(), strict=False)
                states[number] = with_values(plain, value).advance(h, (h, *states[number][1:]), ())
                s = s + states[number][0]
            assert_close(found[:, t], network.norm(s))


def with_values(cell: RWKV7Cell, value: Tensor) -> RWKV7Cell:
    """A cell whose values are these, whatever its input is."""
    del cell.value
    cell.value = lambda _: value.unsqueeze(1)  # type: ignore[assignment]
    return cell


def test_rwkv7_as_published() -> None:
    """One row and position after the other, by the equations of the time mixing (Peng et al. 2025, first layer)."""
    H, K = 2, 4
    cell = RWKV7Cell(D, D, H, K, (3, 4, 5, 2)).double()
    lively(cell, 0.5)
    x = torch.randn(B, T, D, dtype=torch.float64)
    found, (_, end, _) = cell.sequence(x, cell.initial_state(B, x))
    with torch.no_grad():
        for row in range(B):
            S, last = torch.zeros(H, K, K, dtype=torch.float64), torch.zeros(D, dtype=torch.float64)
            for t in range(T):
                now = x[row, t]
                xr, xw, xk, xv, xa, xg = (now + share * (last - now) for share in cell.shares)
                r, k, v = cell.query(xr), cell.key(xk), cell.value(xv)
                w = (-cell.up[0](cell.down[0](xw).tanh()).sigmoid() * math.exp(-0.5)).exp()
                a, g = cell.up[1](cell.down[1](xa)).sigmoid(), cell.up[2](cell.down[2](xg).sigmoid())
                kk = (k * cell.removed).view(H, K, 1)
                kk = kk / kk.norm(dim=1, keepdim=True)
                k = k + k * (a - 1) * cell.learned
                r, w, k, v, a = (part.view(H, K, 1) for part in (r, w, k, v, a))
                S = S * w.mT - S @ kk * (kk * a).mT + v * k.mT
                y = nn.functional.group_norm((S @ r).view(1, -1), H, cell.norm_weight, cell.norm_bias, K * 1e-5)
                y = y + ((r * k * cell.bonus.view(H, K, 1)).sum(1, keepdim=True) * v).view(1, -1)
                assert_close(found[row, t], cell.out(y[0] * g))
                last = now
            assert_close(end[row], S.mT)
