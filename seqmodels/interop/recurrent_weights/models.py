"""Language models and translators of recurrent weights."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from seqmodels.errors import InputError
from seqmodels.interop.recurrent_weights.layouts import from_torch
from seqmodels.interop.recurrent_weights.networks import network as make_network
from seqmodels.interop.recurrent_weights.vocabulary import Vocabulary
from seqmodels.nn import Backbone, RecurrentStack
from seqmodels.tasks import LanguageModel, Translator

EMBEDDINGS = ("embedding", "embeddings", "embed", "emb", "encoder", "word_embeddings", "wte")
"""Usual names of an embedding."""
HEADS = ("head", "decoder", "fc", "linear", "out", "output", "output_layer", "classifier", "lm_head", "proj")
"""Usual names of a softmax layer."""
NETWORKS = ("rnn", "lstm", "gru", "network")
"""Usual names of a recurrent network."""


def language_model(
    tensors: Mapping[str, Tensor],
    vocabulary: Vocabulary,
    *,
    network: str | Backbone | None = None,
    embedding: str | None = None,
    head: str | None = None,
) -> LanguageModel:
    """A language model of weights by name: embedding, recurrent network, softmax layer.

    Without names, the usual ones are looked for: `embedding.weight` or `encoder.weight`, `rnn.weight_ih_l0` or
    `lstm.weight_ih_l0`, `decoder.weight` or `fc.weight`, and so on.

    Args:
        tensors: such as `read_weights` returns them.
        vocabulary: the tokens of the embedding's rows.
        network: what the names of torch's recurrent layers begin with, or a network that has its weights already.
        embedding: name of the embedding's tensor.
        head: name of the softmax layer's matrix, (V, H); its bias is beside it. The same as `embedding` if tied.

    Returns:
        The model in evaluation mode. Tokens that the other program does not have are never generated.

    Raises:
        InputError: a name is missing or not clear, or shapes do not fit.
    """
    backbone = _network(tensors, network)
    name = _name(tensors, embedding, EMBEDDINGS, "embedding")
    softmax, matrix, bias = _softmax(tensors, head)
    table = tensors[name]
    _check(table, backbone.input_size, "embedding", "inputs")
    _check(matrix, backbone.output_size, "softmax layer", "outputs")
    task = LanguageModel(backbone, vocabulary.tokenizer(), tie_embeddings=softmax == name)
    _put(task.embedding.weight, vocabulary.rows(table))
    _put(task.head.weight, vocabulary.rows(matrix))
    _put(task.head.bias, vocabulary.biases(bias))
    return task.eval()


def translator(
    tensors: Mapping[str, Tensor],
    source: Vocabulary,
    target: Vocabulary,
    *,
    encoder: str | RecurrentStack,
    decoder: str | RecurrentStack,
    source_embedding: str,
    embedding: str,
    head: str,
) -> Translator:
    """An encoder-decoder without attention, whose decoder starts from the encoder's last state (Sutskever et al. 2014).

    Args:
        tensors: such as `read_weights` returns them.
        source: the tokens of the source, with an `eos` at its end.
        target: those of the target; a decoder begins with its `bos`.
        encoder: what the names of the encoder's tensors begin with, or a network.
        decoder: likewise.
        source_embedding: name of its tensor.
        embedding: name of the target's.
        head: name of the softmax layer's matrix, (V, H).

    Returns:
        The translator in evaluation mode.

    Raises:
        InputError: a name is missing, or shapes do not fit.
    """
    networks = [_network(tensors, one) for one in (encoder, decoder)]
    names = {"source_embedding": source_embedding, "embedding": embedding}
    tables = [tensors[_name(tensors, name, (), argument)] for argument, name in names.items()]
    _, matrix, bias = _softmax(tensors, head)
    for table, one in zip(tables, networks, strict=True):
        _check(table, one.input_size, "embedding", "inputs")
    _check(matrix, networks[1].output_size, "softmax layer", "outputs")
    task = Translator(
        networks[0],
        networks[1],
        target.tokenizer(),
        source.tokenizer(),
        attention="none",
        bidirectional=False,
        bridge="copy",
    )
    _put(task.source_embedding.weight, source.rows(tables[0]))
    _put(task.embedding.weight, target.rows(tables[1]))
    _put(task.head.weight, target.rows(matrix))
    _put(task.head.bias, target.biases(bias))
    return task.eval()


def _network(tensors: Mapping[str, Tensor], given: str | Backbone | None) -> Backbone:
    if isinstance(given, Backbone):
        return given
    if given is None:
        prefixes = [name.removesuffix("weight_ih_l0") for name in tensors if name.endswith("weight_ih_l0")]
        usual = [prefix for prefix in prefixes if prefix.rstrip(".").rpartition(".")[2] in NETWORKS]
        candidates = prefixes if len(prefixes) == 1 else usual
        if len(candidates) != 1:
            raise InputError(
                f"{len(prefixes)} recurrent networks were found ({', '.join(prefixes):.200}); give network= with what "
                "the names of one begin with, or a network"
            )
        given = candidates[0]
    return make_network(from_torch(tensors, given))


def _name(tensors: Mapping[str, Tensor], given: str | None, usual: tuple[str, ...], argument: str) -> str:
    """The given name of a matrix, or the one that is usual."""
    if given is None:
        ends = tuple(f".{one}.weight" for one in usual)
        found = [name for name, tensor in tensors.items() if f".{name}".endswith(ends) and tensor.ndim == 2]
        if len(found) != 1:
            known = f"{' and '.join(found) or 'none'} of {', '.join(tensors):.200}"
            raise InputError(f"the matrix of the {argument} is not clear: {known}; give {argument}= with its name")
        return found[0]
    if given not in tensors or tensors[given].ndim != 2:
        raise InputError(
            f"there is no matrix {given!r:.80} for the {argument}; the names are {', '.join(tensors):.200}"
        )
    return given


def _softmax(tensors: Mapping[str, Tensor], given: str | None) -> tuple[str, Tensor, Tensor]:
    """Name, matrix (V, H) and bias (V,) of the softmax layer; Keras calls the matrix kernel, and it is (H, V)."""
    name = _name(tensors, given, HEADS, "head")
    kernel = re.sub(r"kernel(?=(:\d+)?$)", "bias", name)
    matrix = tensors[name] if kernel == name else tensors[name].T
    bias = tensors.get(re.sub(r"weight$", "bias", name) if kernel == name else kernel)
    if bias is None or bias is tensors[name]:
        bias = matrix.new_zeros(len(matrix))
    return name, matrix.contiguous(), bias


def _check(matrix: Tensor, size: int, what: str, side: str) -> None:
    if matrix.shape[1] != size:
        raise InputError(f"the {what} is {tuple(matrix.shape)}, and the network has {size} {side}; expected them alike")


@torch.no_grad()
def _put(parameter: nn.Parameter | Tensor, given: Tensor) -> None:
    parameter.copy_(given)
