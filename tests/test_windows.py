"""What can be tried of Windows on another system: the package without the signals and calls that Windows lacks.

A program of its own takes them away before the package is imported, and after the libraries that look for the system
themselves.
"""

import os
import subprocess
import sys
from pathlib import Path

WITHOUT = """
import os, platform, signal, sys
import babel, datasets, filelock, lightning.pytorch, sacrebleu, tokenizers, torch, wandb
from lightning.pytorch.trainer.connectors import signal_connector
signal_connector._IS_WINDOWS = True  # as Lightning finds out there
known = {signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGINT, signal.SIGSEGV, signal.SIGTERM}
signal.valid_signals = lambda: known
platform.uname()
for name in "SIGUSR1 SIGUSR2 SIGHUP SIGPIPE SIGALRM SIGQUIT pthread_kill pthread_sigmask".split():
    if hasattr(signal, name):
        delattr(signal, name)
for name in "fork sched_getaffinity O_NOFOLLOW O_DIRECTORY getuid geteuid uname confstr mkfifo".split():
    if hasattr(os, name):
        delattr(os, name)
sys.modules["fcntl"] = sys.modules["resource"] = sys.modules["pwd"] = None
"""
PROGRAM = """
from pathlib import Path
import lightning.pytorch as pl
from seqmodels import GRU, LanguageModel, TextDataModule, fit, load, share
from seqmodels.cli.main import main
from seqmodels.files import append_text

Path("book.txt").write_text("naïve — “quoted” ✓\\n" * 60, encoding="utf-8")
data = TextDataModule("book.txt", length=16, batch_size=4, carry=True)
run = fit(LanguageModel(GRU(8, 8), data.tokenizer), data, max_steps=4, validations=2, prompt="“")
assert fit(LanguageModel(GRU(8, 8), data.tokenizer), data, max_steps=6, resume=run) == run
assert (run / "samples.md").exists()
main(["generate", str(share(run, "shared")), "--prompt", "“", "--max-tokens", "3"])

Path("link").symlink_to("target")
try:
    append_text(Path("link"), "x")
except OSError as error:
    print("refused:", error.strerror)
append_text(Path("file"), "a\\nb\\r\\n")

class Kill(pl.Callback):
    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 3:
            signal.raise_signal(signal.SIGTERM)

fit(LanguageModel(GRU(8, 8), data.tokenizer), data, max_steps=50, callbacks=(Kill(),), runs="killed")
"""


def test_without_what_windows_lacks(tmp_path: Path) -> None:
    """Training, resuming, sharing, generating on a console of another encoding, links, and an end by a signal."""
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONIOENCODING": "cp437", "PYTHONUTF8": "0"
    }  # fmt: skip
    found = subprocess.run(
        [sys.executable, "-c", WITHOUT + PROGRAM],
        capture_output=True, timeout=300, cwd=tmp_path, env=environment, check=False,
    )  # fmt: skip
    said = found.stdout.decode("cp437")
    assert found.returncode == 143, found.stderr.decode("cp437")
    assert "\\u201c" in said  # a quotation mark, which cp437 does not have
    assert "refused: Too many levels of symbolic links" in said
    assert not (tmp_path / "target").exists()
    assert (tmp_path / "file").read_bytes() == b"a\nb\r\n"
    (run,) = (tmp_path / "killed" / "language_model").iterdir()
    assert (run / "checkpoints" / "last.safetensors").exists()
