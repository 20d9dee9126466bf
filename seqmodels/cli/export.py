"""The command `seqmodels export`."""

from pathlib import Path

from seqmodels.checkpoints.load import load
from seqmodels.interop.export import Form
from seqmodels.interop.export import export as write


def export(run: str, to: Form = "onnx", out: str | None = None, int8: bool = False) -> None:
    """Export a trained model into a new folder, in a form that other programs read. A README there says how, and what
    the form cannot hold. To give a model to users of this package, see `seqmodels share`.

    Args:
        run: a run folder, whose best checkpoint is used, or a checkpoint.
        to: hf is a folder of transformers, for language models in the form of a public family; onnx holds steps, their
            state going in and coming out, but no sampling; ctranslate2 Transformers only, up to their context; torch
            plain modules that need this package no longer; word2vec the input embedding alone.
        out: the new folder (default: the name of the run, a hyphen and the form, here); nothing is overwritten.
        int8: with onnx, weights of matrix products in 8 bits; embeddings and attention stay as they are.
    """
    folder = out or f"{Path(run).resolve().name}-{to}"
    print(write(load(run), folder, to, int8=int8))
