"""The command `seqmodels share`."""

import huggingface_hub

from seqmodels.checkpoints import export
from seqmodels.errors import InputError


def share(
    run: str,
    folder: str | None = None,
    push: str | None = None,
    private: bool = False,
    license: str | None = None,
    language: str | None = None,
) -> None:
    """Export a trained model to a new folder for others, to the Hugging Face hub, or to both; every command takes
    either in place of a run. It has weights as safetensors, all else as JSON, a page about the model and files for
    AutoTokenizer of transformers, and no paths of this machine.

    Args:
        run: a run folder, whose best checkpoint is used, or a checkpoint.
        folder: the new folder; nothing is overwritten. With --push, it may be left out.
        push: a name on the hub, user/name; a model that is there already gets a new revision. Needs a token with the
            right to write: log in with `hf auth login`, or set HF_TOKEN.
        private: with --push, make a new model private.
        license: licence of the weights as the hub names it, such as apache-2.0 (default: unknown).
        language: language of the text, such as en; known of a translator.
    """
    if folder is None and push is None:
        raise InputError("neither FOLDER nor --push was given; expected a new folder, or --push user/name")
    made = export.share(run, folder, push=push, private=private, license=license, language=language)
    if folder is not None:
        print(made)
    if push is not None:
        print(f"{huggingface_hub.constants.ENDPOINT}/{push}")
