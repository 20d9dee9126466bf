"""The command `seqmodels share`."""

from seqmodels.checkpoints import export


def share(run: str, folder: str) -> None:
    """Write a trained model into a new folder to be given to others, which every command takes in place of a run. It
    holds the weights as safetensors, all else as JSON, a page about the model, and nothing of where it was made.

    Args:
        run: a run folder, of which the best checkpoint is taken, or a checkpoint.
        folder: where to write it; nothing is written over.
    """
    print(export.share(run, folder))
