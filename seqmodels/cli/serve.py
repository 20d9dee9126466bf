"""The command `seqmodels serve`."""

from pathlib import Path

from seqmodels.checkpoints.saved import load_model
from seqmodels.cli.engines import Engine, translator_engine, use
from seqmodels.cli.translate import as_translator
from seqmodels.errors import InputError
from seqmodels.nn.quantization import for_use
from seqmodels.serving.server import run as listen
from seqmodels.serving.writers import writer_of
from seqmodels.tasks.autoregressive_model import AutoregressiveModel
from seqmodels.tasks.batch_translation import translations
from seqmodels.tasks.encoder_decoder_model import EncoderDecoderModel


def serve(
    run: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    name: str | None = None,
    engine: Engine = "torch",
    bf16: bool = False,
    int8: bool = False,
    at_once: int = 4,
    longest: int = 4096,
    origin: list[str] | None = None,
) -> None:
    """Serve a trained model on this machine: `/v1/completions` and `/v1/models` as OpenAI's clients call them, and a
    page to type into. A translator translates the prompt.

    Args:
        run: a run folder, whose best checkpoint is used, or a checkpoint.
        host: address to listen at; another than 127.0.0.1 lets other machines in, without any password.
        port: its port; 0 for one that is free.
        name: of the model for clients (default: that of the run).
        engine: what computes, see `seqmodels generate`.
        bf16: weights in bfloat16.
        int8: weights of large linear layers in 8 bits, on a CPU.
        at_once: most requests at a time; others are told to come back.
        longest: most tokens of a prompt and its completion.
        origin: a web page that may call the server, such as http://localhost:3000; may be given several times.
    """
    if at_once < 1 or longest < 1:
        raise InputError(f"--at-once {at_once} and --longest {longest} were given; expected at least 1")
    loaded = load_model(run)
    task, by = loaded.task, translations
    joined = loaded.data_arguments.get("layout") == "joined"
    if isinstance(task, AutoregressiveModel) and not joined:
        use(task, run, engine, bf16=bf16, int8=int8)
        writer = writer_of(task, longest)
    else:
        if engine != "torch" and joined:
            raise InputError(f"--engine {engine} was given with a language model that translates; expected torch")
        if engine != "torch" and isinstance(task, EncoderDecoderModel):
            ours = translator_engine(task, run, engine, int8)
            writer = writer_of(task, longest, lambda models, texts, how, number: ours.translations(texts, how, number))
        else:
            for_use(task, bf16=bf16, int8=int8)
            writer = writer_of(as_translator(run, loaded), longest, by)
    listen(
        writer, name or Path(run).name or "model", host=host, port=port, at_once=at_once, origins=tuple(origin or ())
    )
