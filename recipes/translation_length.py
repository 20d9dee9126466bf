"""Long sentences: where one vector fails and attention does not, and which positions go beyond those of training.

    python recipes/translation_length.py --data DIRECTORY
    python recipes/translation_length.py --data DIRECTORY --story positions

Captions are joined to chains of one to five, of up to some 60 words. In the story of attention, networks learn chains
of all lengths; in that of positions, language models that translate learn from one and two captions, and are asked for
up to five. `length.md` has BLEU on the test split by the number of words, with its deviation over seeds, `length.png`
its picture. Stopped, the command continues with the next unfinished run; `--part 1/2` and `--part 2/2` split the work
between two processes. Data as for `multi30k_attention.py`.
"""

from pathlib import Path
from typing import Any, Literal

from lightning import seed_everything

from seqmodels.cli import command
from seqmodels import TranslationDataModule, fit
from seqmodels.cli.test import test
from seqmodels.experiments.long_sentences import ATTENTION, CHAIN, POSITIONS, language_model, translator, write_chains
from seqmodels.experiments.sweep import compare_translators, sweep
from seqmodels.training.fit import Precision


def main(
    data: str, story: Literal["attention", "positions"] = "attention", seeds: int = 3, max_steps: int = 2000,
    precision: Precision = "auto", part: str = "1/1", runs: str = "runs/translation_length",
) -> None:  # fmt: skip
    """Train every network of a story.

    Args:
        data: the sentences: a directory or a hub name.
        story: attention or positions.
        seeds: runs of each network.
        max_steps: training steps of each run.
        precision: 32-true, bf16-mixed, or auto for the faster one.
        part: which of the runs to do, 1/2 for every second one.
        runs: the folder of the runs and results.
    """
    steps: dict[str, Any] = {"max_steps": max_steps, "precision": precision}
    folder = Path(runs, story)
    chains = write_chains(data, folder / "chains", CHAIN if story == "attention" else CHAIN[:2])

    def experiment(name: str, seed: int) -> dict[str, Any]:
        seed_everything(seed, verbose=False)
        layout: Any = "pair" if story == "attention" else "joined"
        pairs = TranslationDataModule(
            str(chains), "en", "fr", vocab_size=6000, joint=True, batch_tokens=2048, max_length=160, layout=layout,
            seed=seed,
        )  # fmt: skip
        model = translator(name, pairs) if story == "attention" else language_model(name, pairs)
        run = str(fit(model, pairs, validations=2, diagnostics=False, runs=str(folder), **steps))
        return test(run) | {"run": run}

    names = list(ATTENTION) if story == "attention" else POSITIONS
    results = sweep(experiment, names, range(1, seeds + 1), folder, part, {"data": data, **steps}, accelerator="auto")
    print(compare_translators(results, folder, "length"))


if __name__ == "__main__":
    command(main)
