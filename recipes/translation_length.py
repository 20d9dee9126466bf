"""Long sentences: where one vector fails and attention does not, and which positions go beyond those of training.

    python recipes/translation_length.py --data DIRECTORY
    python recipes/translation_length.py --data DIRECTORY --story positions

Captions are joined to chains of one to five, of up to some 60 words. In the story of attention, networks learn chains
of all lengths; in that of positions, language models that translate learn from one and two captions, and are asked for
up to five. `length.md` has BLEU on the test split by the number of words, with its deviation over seeds, `length.png`
its picture. Stopped, the command continues with the next unfinished run; `--part 1/2` and `--part 2/2` split the work
between two processes. Data as for `multi30k_attention.py`.
"""

import random
from pathlib import Path
from typing import Any, Literal

from lightning import seed_everything

from seqmodels.cli import command
from seqmodels import GRU, LanguageModel, Transformer, TranslationDataModule, Translator, fit
from seqmodels.cli.test import test
from seqmodels.experiments.sweep import compare_translators, sweep
from seqmodels.training.fit import Precision

ALL: dict[str, Any] = {"dropout": 0.2, "optimizer": "muon", "weight_decay": 0.05}
SMOOTH: dict[str, Any] = {"label_smoothing": 0.1}
"""Of translators; a language model has none."""
ATTENTION: dict[str, dict[str, Any]] = {
    "last state, source reversed": {"attention": "none", "bidirectional": False, "reverse": True},
    "mean of the states": {"attention": "mean"},
    "general attention": {"attention": "general"},
    "Transformer": {},
}
"""Translators that learn chains of all lengths."""
POSITIONS: list[Any] = ["rotary", "learned", "sinusoidal", "relative", "none"]
"""Positions of language models that learn short chains."""
CHAIN = range(1, 6)
"""Captions of a chain."""
VALIDATED = 200
"""Captions that validate, all of whose chains are translated at the end of a training."""


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


def write_chains(data: str, folder: Path, counts: range) -> Path:
    """Write chains of captions as files, unless they are there: of so many captions to learn from, of all to test.

    Every caption is once in a chain of each length.
    """
    pairs = TranslationDataModule(data, "en", "fr", tokenizer="char")
    tested = "test" if "test" in pairs.splits else "validation"
    for split, file, captions in (("train", "train", counts), ("validation", "val", counts), (tested, "test", CHAIN)):
        if (folder / f"{file}.fr").exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        rows = [(row["source"].strip(), row["target"].strip()) for row in pairs.corpus.rows(split)]
        rows = rows[:VALIDATED] if file == "val" else rows
        rng, sides = random.Random(0), (list[str](), list[str]())
        for count in captions:
            rng.shuffle(rows)
            for first in range(0, len(rows) - count + 1, count):
                for side, texts in zip(sides, zip(*rows[first : first + count], strict=True), strict=True):
                    side.append(" ".join(texts))
        for language, side in zip(("en", "fr"), sides, strict=True):
            (folder / f"{file}.{language}").write_text("\n".join(side) + "\n", encoding="utf-8")
    return folder


def translator(name: str, pairs: TranslationDataModule) -> Translator:
    """A network of the story of attention."""
    if name == "Transformer":
        shape: dict[str, Any] = {"input_size": 256, "num_layers": 2, "dropout": 0.1}
        encoder: Any = Transformer(**shape, causal=False)
        return Translator(encoder, Transformer(**shape, memory_size=256), pairs.tokenizer, **ALL, **SMOOTH)
    both = ATTENTION[name].get("bidirectional", True)
    return Translator(
        GRU(256, 128 if both else 256), GRU(256, 256), pairs.tokenizer, **ATTENTION[name], **ALL, **SMOOTH
    )


def language_model(positions: Any, pairs: TranslationDataModule) -> LanguageModel:
    """A network of the story of positions."""
    backbone = Transformer(256, num_layers=4, num_heads=4, context=512, positions=positions, dropout=0.1)
    return LanguageModel(backbone, pairs.tokenizer, tie_embeddings=True, **ALL)


if __name__ == "__main__":
    command(main)
