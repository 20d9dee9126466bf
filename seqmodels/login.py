"""Whether Weights & Biases can be used online: a key that it takes, and a server that answers, found out in seconds."""

import contextlib
import io
import re
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException

from seqmodels.errors import InputError

ADVICE = "give another with WANDB_API_KEY or `wandb login --relogin`, or set WANDB_MODE=offline"

TO_ANSWER, TO_CHECK = 3, 4
"""Seconds for the server to answer at all, and to check the key."""


def why_offline(server: str) -> str:
    """Why there is no way to be online; empty where there is. The plain client would try for a minute and a half.

    Raises:
        InputError: the key is refused, by its form or by the server.
    """
    import wandb

    with silenced():
        try:
            if wandb.run is None and not wandb.login(prompt=False, verify=False):
                return "has no key (WANDB_API_KEY, or `wandb login`)"
        except wandb.errors.Error as error:
            raise InputError(f"W&B cannot use the key it was given: {in_a_line(error)}; {ADVICE}") from error
        if not _answers(server):
            return f"cannot be reached ({server})"
        began = time.monotonic()
        try:
            wandb.Api(timeout=TO_CHECK)  # checks the key
        except wandb.errors.Error as error:
            if time.monotonic() - began < TO_CHECK:  # a refusal comes at once; anything else it tries again
                raise InputError(f"W&B refuses the key it was given: {in_a_line(error)}; {ADVICE}") from error
            return f"does not answer ({server})"
    return ""


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Without the client's notes on where it found settings and key, for which it would even ask the server."""
    import wandb

    with contextlib.redirect_stderr(io.StringIO()):
        settings = wandb.setup().settings
        before, settings.silent = settings.silent, True
        try:
            yield
        finally:
            settings.silent = before


def _answers(server: str) -> bool:
    """Whether a server answers in time, whatever it says; through a proxy where the environment names one."""
    answers: list[bool] = []

    def ask() -> None:
        try:
            urllib.request.urlopen(server, timeout=TO_ANSWER).close()
        except urllib.error.HTTPError as error:
            error.close()
        except (OSError, HTTPException, ValueError) as error:
            if not isinstance(getattr(error, "reason", None), ssl.SSLError):  # with these W&B's client may be at ease
                return
        answers.append(True)

    asking = threading.Thread(target=ask, daemon=True)  # since looking up a name has no time limit of its own
    asking.start()
    asking.join(TO_ANSWER + 0.5)
    return bool(answers)


def in_a_line(error: Exception) -> str:
    """What an error of W&B says, in one line: of those of pydantic, the reason."""
    reason = re.search(r"Value error, (.*?) \[type=", str(error), re.DOTALL)
    return " ".join((reason[1] if reason else str(error)).split()).rstrip(".")
