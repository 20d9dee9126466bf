"""The command `neurons`: single units that can be read, as a table and as coloured text."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from seqmodels.analysis.ablation import compare, constant, nats, replaced, situations
from seqmodels.analysis.activations import Activations, activations, untrained
from seqmodels.analysis.character_labels import Label, Labels, chosen, labels, labels_of
from seqmodels.analysis.coloured_text import Passage, coloured_page, coloured_text, passage
from seqmodels.analysis.linear_probes import ALL, Probe, linear_probes
from seqmodels.analysis.unit_probes import Neuron, first_characters, halves, rank, typical
from seqmodels.checkpoints.load import check_text, load_with_origin
from seqmodels.checkpoints.saved import Loaded
from seqmodels.cli.ablated_units import Ablation, Held, prompt_of, show_texts, table_of
from seqmodels.cli.kept_scores import keep_scores
from seqmodels.cli.text_io import check_output, progress, write_output
from seqmodels.config import class_path
from seqmodels.data import SequenceDataModule, TextDataModule, TranslationDataModule
from seqmodels.environment import choose_accelerator, describe_environment
from seqmodels.errors import InputError
from seqmodels.files import bare
from seqmodels.tasks import LanguageModel, SequenceTask, Translator


def neurons(
    run: str,
    data: str | None = None,
    label: list[str] | None = None,
    unit: list[str] | None = None,
    html: str | None = None,
    characters: int = 100_000,
    split: Literal["train", "validation", "test", "whole"] | None = None,
    ablate: Held | None = None,
    seed: int = 0,
) -> None:
    """Find interpretable units of a trained language model: units that follow quotations, indentation, brackets,
    comments, the position in a line or the boundaries of words. Each is chosen on one half of the held-out text and
    scored on the other, by AUC for yes or no (0.5 is chance, 1 perfect), by R² for numbers (0 is chance, 1 perfect),
    and compared with an untrained network, and with a linear probe: a regression on all units, fitted on the first half
    and scored on the other, of the untrained network, too. With --ablate, units are held at a value, and what the model
    then predicts and writes is shown beside what it does as it is. In a terminal, text is coloured by the units, from
    blue (low) to red (high). Of a translator, the units are those of its encoder, which reads one line after the other
    as a source. The table is kept in `result.json` of the run.

    Args:
        run: a run folder, whose best checkpoint is used, or a checkpoint.
        data: a text file, directory or hub name, of a translator in its source language; by default the text of the
            run.
        label: quotation, brackets, indentation, position or boundary, and in Python source single-quoted,
            double-quoted, triple-quoted, comment or comment-or-string; may be given several times, by default all. Or
            MODULE.FUNCTION with --import MODULE, which takes a text and returns a bool or number per character.
        unit: probe this unit instead of searching, such as 1.c.123, cell state 123 of the first layer; may be given
            several times.
        html: an HTML file for the coloured text.
        characters: maximum number of characters to read.
        split: the part to read; by default all of --data, or the validation part of the run.
        ablate: hold each unit of --unit, or the best one of each label, at every step at its mean over the first half,
            or at zero: nats per token where its label holds, begins and ends, and a text, with and without it.
        seed: random seed of these texts.
    """
    if characters < 2:
        raise InputError(f"--characters was given {characters}; expected at least 2")
    if html is not None:
        check_output("--html", html)
    model = load_with_origin(run)
    task = model.task
    if not isinstance(task, LanguageModel | Translator):
        raise InputError(f"{run!r} is a {type(task).__name__}; expected a language model or a translator")
    texts, origin = _held_out(run, model, data, split, characters)
    if ablate is not None and not isinstance(task, LanguageModel):
        raise InputError(f"--ablate was given for {run!r}, a {type(task).__name__}; expected a language model")
    if seed < 0:
        raise InputError(f"--seed was given {seed}; expected a whole number from 0")
    task.to("cuda" if choose_accelerator() == "gpu" else "cpu")
    here = describe_environment(task.device)
    known = labels(texts, _chosen(label, labels_of(texts)))
    found = activations(task, texts, unit, progress=partial(progress, title="reading"))
    ranking = rank(found, known)
    fresh = activations(untrained(task), texts, unit, progress=partial(progress, title="reading, untrained"))
    console = Console(file=bare(sys.stdout), highlight=False)
    extent = f"{origin}, {sum(map(len, texts)):,} characters"
    console.print(f"{extent}, {len(found.units):,} units")
    without = rank(fresh, known)
    probes, control = ({}, {}) if unit else (linear_probes(found, known), linear_probes(fresh, known))
    console.print(_table(ranking, without, probes, control))
    if any(len(of_layers) > 1 for of_layers in probes.values()):
        console.print(table_of_layers(probes))
    figures: dict[str, dict[str, Any]] = {
        name: {
            "unit": best.unit, "measure": best.measure, "score": best.score, "chosen_by": best.chosen_by,
            "untrained": without[name][0].score, **_figures(probes.get(name, {}), control.get(name, {})),
        }
        for name, (best, *_) in ((name, found) for name, found in ranking.items() if found)
    }  # fmt: skip
    shown = _shown(ranking, unit)
    measured = extent + ", " * bool(unit) + " ".join(unit or ())
    if ablate is not None:
        assert isinstance(task, LanguageModel)
        measured += f", units held at {'their mean' if ablate == 'mean' else 'zero'}"
        for ablation in _ablations(console, task, texts, found, known, shown, ablate, seed):
            own = figures[ablation.name]["unit"] == ablation.unit
            figures.setdefault(ablation.name if own else f"{ablation.name} {ablation.unit}", {}).update(
                {"unit": ablation.unit, **ablation.figures}
            )
    keep_scores(run, "neurons", measured, figures, here)
    coloured = list(_passages(task, texts, found, known, shown))
    if console.is_terminal:
        for one in coloured:
            console.print(f"\n{one.title}, blue {one.low:.2f} to red {one.high:.2f}")
            console.print(coloured_text(one))
    if html is not None:
        write_output("--html", html, coloured_page(coloured, f"Units of {Path(run).name}"))
        print(f"coloured text: {html}", file=sys.stderr)


def _held_out(
    run: str, model: Loaded[SequenceTask], data: str | None, split: str | None, characters: int
) -> tuple[list[str], str]:
    """Documents, by default held-out ones, and their origin."""
    reads = isinstance(model.task, Translator)
    usual_data: type[SequenceDataModule] = TranslationDataModule if reads and data is None else TextDataModule
    known = model.data is not None and model.data["class_path"] == class_path(usual_data)
    arguments = model.data_arguments if known else {}
    if data is not None:
        arguments = {"data": data}
    elif "data" not in arguments:
        raise InputError(f"{run!r} does not say what text it was trained on; give --data")
    if usual_data is TranslationDataModule:
        return _sources(model, arguments, split, characters)
    own = model.task.source_tokenizer if isinstance(model.task, Translator) else model.task.tokenizer
    text = TextDataModule(**arguments | {"tokenizer": own})
    check_text(model, text)
    corpus = text.corpus
    usual = ("whole", "validation", "test", "train") if data else ("validation", "test", "train")
    part = split or next(name for name in usual if name in corpus.splits)
    texts = list[str]()
    for row in corpus.rows(part):
        if row["starts"] or not texts:
            texts.append("")
        texts[-1] += row["text"][:characters]
        characters -= len(row["text"])
        if characters <= 0:
            break
    if reads:
        texts = [line for text in texts for line in text.splitlines() if line.strip()]
    return texts, f"{corpus.origin}, {part}"


def _sources(
    model: Loaded[SequenceTask], arguments: Mapping[str, Any], split: str | None, characters: int
) -> tuple[list[str], str]:
    """Sources of the sentences that a translator comes from, and their origin."""
    assert isinstance(model.task, Translator)
    tokenizers = {"tokenizer": model.task.tokenizer, "source_tokenizer": model.task.source_tokenizer}
    data = TranslationDataModule(**{**arguments, **tokenizers})
    check_text(model, data)
    part = split or next(name for name in ("validation", "test", "train") if name in data.corpus.splits)
    texts = list[str]()
    for text in data.corpus.rows(part)["source"]:
        if text.strip():
            texts.append(text[:characters])
            characters -= len(text)
        if characters <= 0:
            break
    return texts, f"{data.origin}, {part}"


def _chosen(names: Sequence[str] | None, known: Mapping[str, Label]) -> Mapping[str, Label]:
    """The named labels, functions of imported modules among them."""
    own = {name: _imported(name) for name in names or () if "." in name}
    return known if names is None else chosen(names, {**known, **own})


def _imported(name: str) -> Label:
    """The function MODULE.FUNCTION of an imported module."""
    module, _, function = name.rpartition(".")
    found: Label | None = getattr(sys.modules.get(module), function, None)
    if not callable(found) or getattr(found, "__module__", None) != module:
        raise InputError(f"--label {name} is no function that is known; give --import {module}, which has to define it")
    return found


def _table(
    ranking: Mapping[str, list[Neuron]],
    untrained: Mapping[str, list[Neuron]],
    probes: Mapping[str, Mapping[str, Probe]],
    control: Mapping[str, Mapping[str, Probe]],
) -> Table:
    """The best unit for each label and the linear probe of all units, each beside that of the untrained network."""
    table = Table(box=None, pad_edge=False)
    for column in ("label", "unit"):
        table.add_column(column, no_wrap=True)  # in a narrow terminal, headings have two lines
    for column in ("", "held out", "where chosen", "untrained"):
        table.add_column(column, justify="right")
    for column in ("linear probe", "untrained") if probes else ():
        table.add_column(column, justify="right")
    for name, neurons in ranking.items():
        if not neurons:
            table.add_row(name, "the same everywhere in a half of the text")
            continue
        best, fresh = neurons[0], untrained[name][0]
        scores = [best.score, best.chosen_by, fresh.score]
        scores += [of[name][ALL].score for of in (probes, control) if of]
        table.add_row(name, best.unit, best.measure, *(f"{score:.3f}" for score in scores))
    return table


def table_of_layers(probes: Mapping[str, Mapping[str, Probe]]) -> Table:
    """The linear probe of each layer."""
    layers = next([layer for layer in of_layers if layer != ALL] for of_layers in probes.values() if of_layers)
    table = Table(box=None, pad_edge=False)
    table.add_column("linear probe of layer", no_wrap=True)
    for layer in layers:
        table.add_column(layer, justify="right")
    for name, of_layers in probes.items():
        if of_layers:
            table.add_row(name, *(f"{of_layers[layer].score:.3f}" for layer in layers))
    return table


def _figures(probes: Mapping[str, Probe], control: Mapping[str, Probe]) -> dict[str, float]:
    """Scores of probes, `probe` for that of all units and `probe_2` for that of layer 2, and of the untrained ones."""
    return {
        f"probe{'' if layer == ALL else f'_{layer}'}{suffix}": probe.score
        for suffix, found in (("", probes), ("_untrained", control))
        for layer, probe in found.items()
    }


def _ablations(
    console: Console,
    task: LanguageModel,
    texts: Sequence[str],
    found: Activations,
    known: Mapping[str, Labels],
    shown: Sequence[tuple[str, Neuron]],
    held: Held,
    seed: int,
) -> Iterable[Ablation]:
    """What each unit is good for: it is held, and losses and texts are printed."""
    first = halves(found.texts)
    begins = first_characters(found, ~first)
    untouched = nats(task, texts, partial(progress, title="reading"))
    for name, neuron in shown:
        value = float(found.unit(neuron.unit)[first].mean()) if held == "mean" else 0.0
        with replaced(task.backbone, neuron.unit, constant(value)):
            ablated = nats(task, texts, partial(progress, title=f"reading without {neuron.unit}"))
        losses = compare(untouched, ablated, situations(task, texts, known[name]))
        ablation = Ablation(neuron.unit, name, value, losses)
        console.print()
        console.print(table_of(ablation, held))
        number, begin, behind = typical(known[name], begins, texts)
        values = known[name].values[number][begin:behind].tolist()
        prompt = prompt_of(texts[number][begin:behind], values, known[name].binary)
        show_texts(console, task, ablation, held, prompt, seed)
        yield ablation


def _shown(ranking: Mapping[str, list[Neuron]], units: Sequence[str] | None) -> list[tuple[str, Neuron]]:
    """Labels and units to show: the best unit of each label, or the best label of each named unit."""
    if units is None:
        return [(name, neurons[0]) for name, neurons in ranking.items() if neurons]
    each = [(name, neuron) for name, neurons in ranking.items() for neuron in neurons]
    of_unit = [[pair for pair in each if pair[1].unit == unit] for unit in dict.fromkeys(units)]
    return [max(pairs, key=lambda pair: pair[1].beyond_chance) for pairs in of_unit if pairs]


def _passages(
    task: LanguageModel | Translator,
    texts: Sequence[str],
    found: Activations,
    known: Mapping[str, Labels],
    shown: Sequence[tuple[str, Neuron]],
) -> Iterable[Passage]:
    """A passage for each unit, from the half of the text on which it was scored."""
    begins = first_characters(found, ~halves(found.texts))
    for name, neuron in shown:
        number, first, behind = typical(known[name], begins, texts)
        read = activations(task, [texts[number][:behind]], [neuron.unit])
        here = read.characters >= first
        title = f"{neuron.unit} and {name}, {neuron.measure} {neuron.score:.3f}"
        text, places = texts[number][first:behind], (read.characters[here] - first).tolist()
        yield passage(title, text, places, read.values[here, 0], found.unit(neuron.unit))
