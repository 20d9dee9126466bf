"""The command `seqmodels share`."""

from seqmodels.checkpoints import export


def share(run: str, folder: str) -> None:
    """Export a trained model to a new folder for others, which every command takes in place of a run: weights as
    safetensors, all else as JSON, and a page about the model; no paths of this machine.

    Args:
        run: a run folder, whose best checkpoint is used, or a checkpoint.
        folder: the new folder; nothing is overwritten.
    """
    print(export.share(run, folder))
