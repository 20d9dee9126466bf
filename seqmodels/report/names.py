"""What parts of networks are called in the text of a page."""

WORDS = {
    "h": "hidden state", "c": "cell state", "g": "candidate", "n": "candidate", "m": "factors", "i": "input gate",
    "f": "forget gate", "o": "output gate", "r": "reset gate", "z": "update gate", "a": "gate", "x": "embedded inputs",
    "source": "embedded source",
}  # fmt: skip
"""By the names of traces and of recurrent maps."""


def in_words(name: str) -> str:
    """`1.f` as "forget gate of layer 1"; what stands before the layer stays there."""
    layer, dot, part = name.rpartition(".")
    if not dot:
        return WORDS.get(name, f"layer {name}" if name.isdecimal() else name)
    before, _, number = layer.rpartition(" ")
    return " ".join(filter(None, [before, f"{WORDS.get(part, part)} of layer {number}"]))
