"""Which recurrent networks keep which law: those of other libraries and ours, by the same four questions.

    pip install transformers==5.24.0 xlstm==2.0.6 minGRU-pytorch==0.2.1 x-transformers==2.31.10
    python -m benchmarks.laws

Small models, weights N(0, 0.2), single precision, no kernels of their own. Each cell is the largest difference of the
outputs over the largest output: between the text in two pieces, or token by token, and the text read at once; between a
row with padding in front of it and the row by itself; between a row beside others and the row by itself. A library that
is not installed is left out.
"""

import importlib
import importlib.metadata
import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import seqmodels
from seqmodels.nn import Backbone

VOCABULARY, WIDTH, ROWS, LENGTH, FIRST, PADDING = 50, 32, 3, 24, 10, 5
KEPT = 1e-4
"""Largest difference that is rounding: gates of these random models multiply what single precision leaves."""

Read = Callable[[Tensor, Tensor | None, Any], tuple[Tensor, Any]]
"""Outputs and following state of ids (B, T), a mask (B, T), False at padding, or None, and a state or None."""


class Subject(NamedTuple):
    """A model and how it is read."""

    library: str
    name: str
    read: Read
    masked: bool = True
    """Whether it takes a mask."""
    stepped: Read | None = None
    """How it reads one token with a state, where that is another function; it then takes no pieces."""


SIZES = {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 32}
DELTA = {
    "linear_num_value_heads": 2, "linear_num_key_heads": 2, "linear_key_head_dim": 16, "linear_value_head_dim": 16,
    "layer_types": ["linear_attention", "full_attention"],
}  # fmt: skip
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "Mamba": {"state_size": 8},
    "FalconMamba": {"state_size": 8},
    "Mamba2": {"num_heads": 4, "head_dim": 16, "n_groups": 1, "state_size": 8},
    "xLSTM": {"hidden_size": 128, "num_heads": 2, "num_blocks": 2},  # other sizes of heads and of states differ
    "Rwkv": {"attention_hidden_size": WIDTH},
    "Qwen3Next": HEADS | DELTA | {"head_dim": 16, "mlp_only_layers": [0, 1]},
    "OlmoHybrid": HEADS | DELTA | {"pad_token_id": 0},
    "RecurrentGemma": HEADS | {
        "head_dim": 16, "lru_width": 32, "attention_window_size": 64, "block_types": ["recurrent", "attention"],
    },
    "Bamba": HEADS | {
        "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 1, "mamba_d_state": 8, "attn_layer_indices": [1],
    },
}  # fmt: skip
"""Settings by the name of the configuration."""


def lively(module: nn.Module) -> nn.Module:
    """Weights of a size that makes mistakes visible."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    return module.eval()


def of_transformers() -> Iterator[Subject]:
    library = importlib.import_module("transformers")
    library.utils.logging.set_verbosity_error()
    for name, settings in TRANSFORMERS.items():
        model = lively(getattr(library, f"{name}ForCausalLM")(getattr(library, f"{name}Config")(**SIZES | settings)))

        positions = "position_ids" in inspect.signature(model.forward).parameters

        def read(
            ids: Tensor, mask: Tensor | None, state: Any, model: Any = model, positions: bool = positions
        ) -> tuple[Tensor, Any]:
            key, cache, seen = state or (None, None, 0)
            more = {} if key is None else {key: cache}
            if mask is not None:
                more["attention_mask"] = mask.long()
            if positions and seen:  # Bamba does not count on from its cache by itself
                more["position_ids"] = torch.arange(seen, seen + ids.shape[1]).expand(len(ids), -1)
            found = model(ids, use_cache=True, **more)
            handed = [k for k in ("cache", "cache_params", "state", "past_key_values") if k in found]
            return found.logits, (handed[0], found[handed[0]], seen + ids.shape[1]) if handed else None

        yield Subject("transformers", name, read)


def of_xlstm() -> Iterator[Subject]:
    library = importlib.import_module("xlstm")
    for name, slstm_at in (("mLSTM", []), ("sLSTM", [0, 1])):
        settings = library.xLSTMLMModelConfig(
            vocab_size=VOCABULARY, embedding_dim=WIDTH, num_blocks=2, context_length=LENGTH, slstm_at=slstm_at,
            mlstm_block=library.mLSTMBlockConfig(), slstm_block=library.sLSTMBlockConfig(),
        )  # fmt: skip
        settings.slstm_block.slstm.backend = "vanilla"
        model = lively(library.xLSTMLMModel(settings))
        yield Subject(
            "xlstm", name, lambda ids, mask, state, model=model: (model(ids), None), False,
            lambda ids, mask, state, model=model: model.step(ids, state),
        )  # fmt: skip


def of_min_gru() -> Iterator[Subject]:
    layer = lively(importlib.import_module("minGRU_pytorch").minGRU(WIDTH))
    embedding = nn.Embedding(VOCABULARY, WIDTH)

    def read(ids: Tensor, mask: Tensor | None, state: Any) -> tuple[Tensor, Any]:
        return layer(embedding(ids), state, return_next_prev_hidden=True)  # type: ignore[no-any-return]

    yield Subject("minGRU-pytorch", "minGRU", read, False)


def of_x_transformers() -> Iterator[Subject]:
    library = importlib.import_module("x_transformers")
    layers = library.Decoder(dim=WIDTH, depth=2, heads=2, rotary_pos_emb=True)
    model = lively(library.TransformerWrapper(num_tokens=VOCABULARY, max_seq_len=64, attn_layers=layers))

    def read(ids: Tensor, mask: Tensor | None, state: Any) -> tuple[Tensor, Any]:
        more = {} if state is None else {"cache": state, "input_not_include_cache": True, "cache_age": ids.shape[1]}
        return model(ids, mask=mask, return_intermediates=True, **more)  # type: ignore[no-any-return]

    yield Subject("x-transformers", "Decoder, rotary", read)


OURS = (
    "RNN", "LSTM", "GRU", "MinGRU", "MinLSTM", "MultiplicativeRNN", "MultiplicativeLSTM", "DeltaNet",
    "GatedDeltaNet", "KimiDeltaNet", "Mamba2", "SimpleGLA", "RetNet", "GLA", "HGRN2", "MLSTM", "SLSTM", "RGLRU",
    "RWKV7", "Hybrid", "Transformer",
)  # fmt: skip


def of_seqmodels() -> Iterator[Subject]:
    for name in OURS:
        kind = getattr(seqmodels, name)
        sizes: dict[str, Any] = {"num_layers": 2} | (
            {"hidden_size": WIDTH} if issubclass(kind, seqmodels.RecurrentStack) else {}
        )
        if not issubclass(kind, seqmodels.RecurrentStack):
            sizes["num_heads"] = 2
        if kind is seqmodels.Hybrid:
            del sizes["num_layers"]
            sizes["layers"] = "GatedDeltaNet,Mamba2,SLSTM,attention"
        network: Backbone = kind(WIDTH, **sizes)
        lively(network)
        embedding = nn.Embedding(VOCABULARY, WIDTH)

        def read(
            ids: Tensor, mask: Tensor | None, state: Any, network: Backbone = network, table: nn.Module = embedding
        ) -> tuple[Tensor, Any]:
            return network(table(ids), state, mask=mask)  # type: ignore[no-any-return]

        yield Subject("seqmodels", name, read)


LIBRARIES = {
    "transformers": of_transformers, "xlstm": of_xlstm, "minGRU-pytorch": of_min_gru,
    "x-transformers": of_x_transformers, "seqmodels-lightning": of_seqmodels,
}  # fmt: skip


def far(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def pieces(subject: Subject, ids: Tensor, whole: Tensor, sizes: list[int]) -> float | None:
    """The text in pieces of these sizes, the state handed on."""
    step, state, found = subject.stepped or subject.read, None, []
    if subject.stepped is not None and max(sizes) > 1:
        return None
    for piece in ids.split(sizes, 1):
        y, state = step(piece, None, state)
        if state is None:  # it hands none out
            return None
        found.append(y)
    return far(torch.cat(found, 1), whole)


def padded(subject: Subject, ids: Tensor, whole: Tensor) -> float | None:
    """The first row with padding in front of it, beside one without."""
    if not subject.masked:
        return None
    mask = torch.ones(2, LENGTH, dtype=torch.bool)
    mask[0, :PADDING] = False
    rows = torch.stack([torch.cat([ids[1, :PADDING], ids[0, : LENGTH - PADDING]]), ids[1]])  # no padding looks the same
    y, _ = subject.read(rows, mask, None)
    alone, _ = subject.read(ids[:1, : LENGTH - PADDING], None, None)
    return far(y[:1, PADDING:], alone)


def laws(subject: Subject) -> list[str]:
    """A cell for each law."""
    torch.manual_seed(1)
    ids = torch.randint(1, VOCABULARY, (ROWS, LENGTH))
    whole, _ = subject.read(ids, None, None)
    steps = [1] * LENGTH if subject.stepped else [FIRST] + [1] * (LENGTH - FIRST)
    questions: tuple[Callable[[], float | None], ...] = (
        lambda: pieces(subject, ids, whole, [FIRST, LENGTH - FIRST]),
        lambda: pieces(subject, ids, whole, steps),
        lambda: padded(subject, ids, whole),
        lambda: far(subject.read(ids[:1], None, None)[0], whole[:1]),
    )
    cells = []
    for question in questions:
        try:
            found = question()
        except Exception as error:
            cells.append(f"raises {type(error).__name__}")
            continue
        cells.append("not offered" if found is None else f"{found:.0e}" if found <= KEPT else f"**{found:.0e}**")
    return cells


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    versions = []
    rows = [
        "| Library | Network | second piece | token by token | padding in front | beside others |",
        "|" + "---|" * 6,
    ]
    with torch.no_grad():
        for library, subjects in LIBRARIES.items():
            try:
                versions.append(f"{library} {importlib.metadata.version(library)}")
                found = [(subject, laws(subject)) for subject in subjects()]
            except (ImportError, importlib.metadata.PackageNotFoundError):
                continue
            rows += [f"| {s.library} | {s.name} | " + " | ".join(cells) + " |" for s, cells in found]
    print(f"{', '.join(versions)}; torch {torch.__version__}, CPU\n")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
