"""The commands `compress` and `decompress`."""

import itertools
from collections.abc import Iterable
from functools import partial

from seqmodels.batch import Batch
from seqmodels.checkpoints.load import check_text, load_with_origin
from seqmodels.checkpoints.saved import Loaded
from seqmodels.cli.mixing import mix_of
from seqmodels.cli.parser import given_of
from seqmodels.cli.text_io import check_output, progress
from seqmodels.data import Replica, TextDataModule
from seqmodels.data.sampler import loader
from seqmodels.errors import InputError
from seqmodels.files import atomic_writer, local
from seqmodels.tasks import LanguageModel, SequenceTask
from seqmodels.tasks import compression as files
from seqmodels.tasks.dynamic_evaluation import Dynamic
from seqmodels.tasks.mixing import Mix, mixed
from seqmodels.training.evaluate import PIECE, STATISTICS

ENDING = ".sqm"


def compress(
    run: str,
    file: str,
    to: str | None = None,
    lanes: int = 1,
    dynamic: bool = False,
    dynamic_lr: float | None = None,
    dynamic_decay: float | None = None,
    dynamic_piece: int | None = None,
    counts: str | None = None,
    counts_weight: float | None = None,
    cache: int | None = None,
    cache_weight: float | None = None,
    cache_sharpness: float | None = None,
) -> None:
    """Compress a file with a trained language model, by arithmetic coding: each token takes as many bits as the model
    finds it unlikely. The same model restores the file to the bit, with the same version of torch on the same kind of
    processor.

    Args:
        run: a run folder, whose best checkpoint is used, or a checkpoint.
        file: the file to compress.
        to: the file to write; by default the same name with .sqm behind it.
        lanes: parts of the file that are read side by side, each without the text before it; more are faster.
        dynamic: dynamic evaluation: the model learns from each piece of the file after coding it.
        dynamic_lr: its learning rate, relative to the size of gradients in training (default: 1e-4).
        dynamic_decay: decay towards the trained weights at each piece (default: 2e-3).
        dynamic_piece: tokens of a piece (default: 20).
        counts: run of an NGram with the same vocabulary, whose probabilities are mixed with those of the model.
        counts_weight: their share (default: 0.2).
        cache: positions of a neural cache (Grave et al. 2017), which predicts what followed similar positions.
        cache_weight: its share (default: 0.1).
        cache_sharpness: how much more similar positions count (default: 0.3).
    """
    further = {"lr": dynamic_lr, "decay": dynamic_decay, "piece": dynamic_piece}
    if (given := given_of(further)) and not dynamic:
        raise InputError(f"--dynamic-{next(iter(given))} is for dynamic evaluation; give --dynamic, too")
    content, target = _read(file), to or f"{file}{ENDING}"
    check_output("--to", target)
    mix = mix_of(counts, cache, counts_weight=counts_weight, cache_weight=cache_weight, cache_sharpness=cache_sharpness)
    model = load_with_origin(run)
    task = _language_model(run, model, mix)
    learn = None
    if dynamic:
        piece = given.pop("piece", PIECE)
        learn = files.Learning(Dynamic(**given), piece, partial(_statistics, run, model))
    compressed = files.compress(task, content, lanes, learn, partial(progress, title="compressing"))
    _write(target, compressed)
    bits = f", {8 * len(compressed) / len(content):.4f} bits per byte" if content else ""
    print(f"{len(content):,} bytes are {len(compressed):,} bytes{bits}, in {target}")


def decompress(
    run: str,
    file: str,
    to: str | None = None,
    counts: str | None = None,
    counts_weight: float | None = None,
    cache: int | None = None,
    cache_weight: float | None = None,
    cache_sharpness: float | None = None,
) -> None:
    """Restore a file that `seqmodels compress` wrote, with the model that compressed it.

    Args:
        run: the run folder or checkpoint with which it was compressed.
        file: the compressed file.
        to: the file to write; by default its name without .sqm.
        counts: this and what follows as they were given to `compress`: the run of an NGram.
        counts_weight: their share (default: 0.2).
        cache: positions of a neural cache.
        cache_weight: its share (default: 0.1).
        cache_sharpness: how much more similar positions count (default: 0.3).
    """
    compressed = _read(file)
    if to is None and not file.endswith(ENDING):
        raise InputError(f"{file!r} does not end in {ENDING}; give --to, the file to write")
    target = to or file.removesuffix(ENDING)
    check_output("--to", target)
    if to is None and local(target).exists():
        raise InputError(f"there is a file {target!r} already; give --to, the file to write")
    mix = mix_of(counts, cache, counts_weight=counts_weight, cache_weight=cache_weight, cache_sharpness=cache_sharpness)
    model = load_with_origin(run)
    try:
        content = files.decompress(
            _language_model(run, model, mix),
            compressed,
            partial(_statistics, run, model),
            partial(progress, title="restoring"),
        )
    except InputError as error:
        raise type(error)(f"{file!r}: {error}") from error
    _write(target, content)
    print(f"{len(content):,} bytes in {target}")


def _language_model(run: str, model: Loaded[SequenceTask], mix: Mix | None) -> LanguageModel:
    if not isinstance(model.task, LanguageModel):
        raise InputError(f"{run!r} is a {type(model.task).__name__}; expected a language model to compress with")
    return model.task if mix is None else mixed(model.task, mix)


def _statistics(run: str, model: Loaded[SequenceTask]) -> Iterable[Batch]:
    """Batches of the training text, as of `training.evaluate`."""
    if "data" not in (arguments := model.data_arguments):
        raise InputError(f"{run!r} does not say what it was trained on; dynamic evaluation needs it")
    data = TextDataModule(**arguments | {"tokenizer": model.task.tokenizer})
    check_text(model, data)
    return itertools.islice(loader(data.training_batches(Replica())), STATISTICS)


def _read(file: str) -> bytes:
    path = local(file)
    if not path.is_file():
        raise InputError(f"there is no file {file!r}")
    return path.read_bytes()


def _write(target: str, content: bytes) -> None:
    try:
        with atomic_writer(local(target)) as file:
            file.write(content)
    except OSError as error:
        raise InputError(f"cannot write {target!r}: {error.strerror or error}; give another --to") from error
