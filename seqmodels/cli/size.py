"""The command `seqmodels size`."""

from seqmodels.nn import Backbone
from seqmodels.tasks.sizes import UnreachableError, find_size, networks


def size(
    parameters: str = "1M",
    backbone: Backbone | None = None,
    layers: int | None = None,
    vocab_size: int = 260,
    tie_embeddings: bool = False,
) -> None:
    """Find the size at which each network gives a language model the same number of parameters, embedding and softmax
    layer included, and print the flags for `seqmodels fit`.

    Args:
        parameters: the wanted number, such as 1M, 2.5M or 300k.
        backbone: one network alone; by default every one in turn.
        layers: layers of the network; by default its own.
        vocab_size: tokens of the vocabulary, which a run prints at its start; the default is that of bytes.
        tie_embeddings: embedding and softmax layer share a matrix.
    """
    tied = " --tie-embeddings" if tie_embeddings else ""
    for one in networks() if backbone is None else [backbone]:
        try:
            found = find_size(parameters, one, vocab_size=vocab_size, layers=layers, tie_embeddings=tie_embeddings)
        except UnreachableError as error:
            if backbone is not None:
                raise
            print(f"{one!s:<20}{'-':>12}   {error}")
            continue
        print(f"{found.backbone:<20}{found.parameters:>12,}   {found.flags}{tied}")
