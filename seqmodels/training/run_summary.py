"""The lines that a run prints at its beginning and end, `env.json` and `result.json`."""

from pathlib import Path

import lightning.pytorch as pl

from seqmodels.analysis.learning_curves import draw_curves
from seqmodels.analysis.ppmd import ppmd_bits_per_byte
from seqmodels.analysis.shown import log_result
from seqmodels.data import SequenceDataModule
from seqmodels.environment import describe_environment
from seqmodels.errors import InputError
from seqmodels.files import read_json, to_json, write_text
from seqmodels.tasks import SequenceTask
from seqmodels.training.budget import Budget
from seqmodels.training.interruption import Stopped, job
from seqmodels.training.progress import greedily
from seqmodels.training.resume import Origin


def announce(
    task: SequenceTask, data: SequenceDataModule, folder: Path, origin: Origin | None, how: str, init: str | None
) -> None:
    """Print text, network and folder of a run that begins, how it computes, and the weights it begins with."""
    print(f"text     {data.origin}: {data.extent}")
    print(f"network  {task.name}, {size(task):,} parameters, vocabulary of {data.tokenizer.vocab_size:,}")
    if how:
        print(how)
    if init is not None:
        print(f"began    with the weights of {init}")
    if task.frozen:
        frozen = sum(parameter.numel() for parameter in task.parameters() if not parameter.requires_grad)
        print(f"frozen   {frozen:,} parameters: {', '.join(task.frozen)}")
    print(f"run      {folder}")
    if origin is not None:
        print(f"resumed  at step {origin.content['global_step']:,}, from {origin.path.name}")
    for note in data.notes:
        print(f"note     {note}")
    for name, split in (("training", "train"), ("validation", "validation")):
        for what, facts in data.sides(split).items():
            if facts.unknown:
                known = f"{facts.unknown:,} of {facts.tokens:,} tokens ({facts.unknown / facts.tokens:.2%})"
                print(f"note     {known} of the {name} {what} are unknown to the vocabulary")


def describe(folder: Path, trainer: pl.Trainer, data: SequenceDataModule, step: int) -> None:
    """Write software, hardware and data to `env.json`; of a resumed run, also the step at which it was resumed."""
    path = folder / "env.json"
    surroundings = describe_environment(trainer.strategy.root_device)
    surroundings |= {"job": job()}
    if path.exists():
        record = read_json(path) | {"job": job()}
        record["resumed"] = [*record.get("resumed", ()), {"step": step, **surroundings}]
    else:
        corpus = {"origin": data.origin, **vars(data.facts("train"))}
        record = surroundings | {"precision": trainer.precision, "corpus": corpus}
    write_text(path, to_json(record, 2) + "\n")


def finish(
    folder: Path, trainer: pl.Trainer, budget: Budget, best: dict[str, float], ending: BaseException | None
) -> None:
    """Write `result.json` and the curves, and print the results and the next command.

    Args:
        folder: of the run.
        trainer: of the training.
        budget: of the training.
        best: figures of the best checkpoint.
        ending: the exception that ended the training early, if any.
    """
    task = trainer.lightning_module
    assert isinstance(task, SequenceTask)
    data = trainer.datamodule  # type: ignore[attr-defined]
    unknown = {split: data.facts(split).unknown for split in ("train", "validation")}
    seconds, ended = budget.spent, "budget"
    tokens = task.tokens_seen if task.learns else data.facts("train").tokens  # which were counted
    spent = {"steps": trainer.global_step, "tokens": tokens, "seconds": round(seconds, 1)}
    if ending is not None:
        ended = ending.signal.name if isinstance(ending, Stopped) else "diverged"
    elif not budget.over:
        ended = "early stopping" if trainer.early_stopping_callbacks else "callback"
    ppmd = ppmd_bits_per_byte(data, data, "validation") if best else {}
    result = {
        **best,
        **{f"val/{name}": bits for name, bits in ppmd.items()},
        **spent,
        "parameters": size(task),
        "unknown": unknown,
        "ended": ended,
    }
    write_text(folder / "result.json", to_json(result, 2) + "\n")
    checkpoint = folder / "checkpoints" / "best.safetensors"
    try:
        draw_curves(folder)
    except InputError as error:  # the run itself is complete
        print(f"note     no curves.png: {error}")
    for logger in trainer.loggers:
        if ending is None:
            log_result(logger, checkpoint, result)
    if best:
        more = f"{best['val/bits_per_byte']:.3f} bits per byte"
        if "val/bleu" in best:
            more = f"BLEU {best['val/bleu']:.2f} ({greedily(best)}), {best['val/exact_match']:.1%} exact matches"
        print(f"best     {best['val/nats_per_token']:.4f} nats per token, {more} on validation text")
        if ppmd:
            print(f"ppmd     {ppmd['ppmd_bits_per_byte']:.3f} bits per byte, after reading the training text")
    print(f"trained  {tokens:,} tokens, {trainer.global_step:,} steps, {seconds:,.0f} s")
    imports = _import_flags(task)
    if ended == "early stopping":
        print(f"stopped  early: {trainer.early_stopping_callbacks[0].monitor} did not improve any more")
    elif ended == "callback":
        print("stopped  by a callback, before the budget was spent")
    if isinstance(ending, Stopped):
        print(f"stopped  by {ending.signal.name}; to go on: seqmodels fit --resume {folder}{imports}")
    if checkpoint.exists():
        print(f"model    {checkpoint}")
        print(f"next     seqmodels {task.command} {folder}{imports}")
    else:
        print("model    no best checkpoint yet: nothing was validated while the weights were finite")


def _import_flags(task: SequenceTask) -> str:
    """The flags that import networks of the user's own."""
    arguments = task.constructor_call["init_args"].values()
    paths = [call["class_path"] for call in arguments if isinstance(call, dict) and "class_path" in call]
    modules = dict.fromkeys(path.rpartition(".")[0] for path in paths if not path.startswith("seqmodels."))
    return "".join(f" --import {module}" for module in modules)


def size(task: SequenceTask) -> int:
    """The number of parameters."""
    return sum(parameter.numel() for parameter in task.parameters())
