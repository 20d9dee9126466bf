"""From one vector to attention to the Transformer: each step of the story trained alike, and what it gains.

    python recipes/translation_story.py --data DIRECTORY

Every network learns English to French for the same number of steps, with several random seeds. Stopped, the command
continues with the next unfinished run; `--part 1/2` and `--part 2/2` split the work between two processes. `story.md`
has BLEU on the test split with its deviation, `story.png` BLEU by length. Data as for `multi30k_attention.py`.
"""

from typing import Any

from lightning import seed_everything

from seqmodels.cli import command
from seqmodels import GRU, Transformer, TranslationDataModule, Translator, fit
from seqmodels.cli.test import test
from seqmodels.experiments.sweep import compare_translators, sweep
from seqmodels.training.fit import Precision

FORWARDS: dict[str, Any] = {"bidirectional": False}
BACKWARDS = {**FORWARDS, "reverse": True}
ALL: dict[str, Any] = {"dropout": 0.2, "label_smoothing": 0.1, "optimizer": "muon", "weight_decay": 0.05}
STORY: dict[str, dict[str, Any]] = {
    "last state": {"attention": "none", **FORWARDS},
    "last state, source reversed": {"attention": "none", **BACKWARDS},
    "mean of the states": {"attention": "mean", **FORWARDS},
    "mean of the states, source reversed": {"attention": "mean", **BACKWARDS},
    "additive attention": {"attention": "additive", **FORWARDS},
    "additive attention, source reversed": {"attention": "additive", **BACKWARDS},
    "dot attention": {"attention": "dot", **FORWARDS},
    "general attention": {"attention": "general", **FORWARDS},
    "general attention, input feeding": {"attention": "general", "input_feeding": True, **FORWARDS},
    "general attention, read from both ends": {"attention": "general"},
    "Transformer": {},
}


def main(
    data: str, seeds: int = 3, max_steps: int = 1000, precision: Precision = "auto", part: str = "1/1",
    runs: str = "runs/translation_story",
) -> None:  # fmt: skip
    """Train every network of the story.

    Args:
        data: the sentences: a directory or a hub name.
        seeds: runs of each network.
        max_steps: training steps of each run.
        precision: 32-true, bf16-mixed, or auto for the faster one.
        part: which of the runs to do, 1/2 for every second one.
        runs: the folder of the runs and results.
    """
    steps: dict[str, Any] = {"max_steps": max_steps, "precision": precision}

    def experiment(name: str, seed: int) -> dict[str, Any]:
        seed_everything(seed, verbose=False)
        pairs = TranslationDataModule(data, "en", "fr", vocab_size=6000, joint=True, batch_tokens=1024, seed=seed)
        shape: dict[str, Any] = {"input_size": 256, "num_layers": 2, "dropout": 0.1}
        encoder, decoder = (
            (Transformer(**shape, causal=False), Transformer(**shape, memory_size=256))
            if name == "Transformer"
            else (GRU(256, 256 if STORY[name].get("bidirectional") is False else 128), GRU(256, 256))
        )
        model = Translator(encoder, decoder, pairs.tokenizer, **STORY[name], **ALL)
        run = str(fit(model, pairs, validations=2, diagnostics=False, runs=runs, **steps))
        return test(run) | {"run": run}

    results = sweep(
        experiment, list(STORY), range(1, seeds + 1), runs, part, {"data": data, **steps}, accelerator="auto"
    )
    print(compare_translators(results, runs, "story"))


if __name__ == "__main__":
    command(main)
