"""What a client asks for, checked: the body of `/v1/completions` and errors in OpenAI's form."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from seqmodels.decoding import Sampling
from seqmodels.errors import InputError, one_line

BODY = 1 << 20
"""Most bytes of a request."""
ROWS = 32
"""Most texts of one request: prompts times n."""
MAX_TOKENS = 16
"""Tokens of a completion where the request names no number, as at OpenAI."""


class RequestError(InputError):
    """A request that is refused.

    Args:
        message: for people.
        status: of HTTP.
        param: the field it is about.
    """

    def __init__(self, message: str, status: int = 400, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param = status, param

    def body(self) -> dict[str, Any]:
        """The error as OpenAI writes it."""
        kinds = {429: "rate_limit_error", 404: "not_found_error", 500: "server_error", 503: "server_error"}
        kind = kinds.get(self.status, "invalid_request_error")
        return {"error": {"message": one_line(str(self)), "type": kind, "param": self.param, "code": None}}


@dataclass(frozen=True)
class Completion:
    """A request for completions; names are OpenAI's, and further settings of `Sampling`."""

    prompts: Sequence[str]
    max_tokens: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    given: frozenset[str] = frozenset()
    n: int = 1
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stream: bool = False
    usage: bool = False
    logprobs: int | None = None
    echo: bool = False


NUMBERS: dict[str, tuple[type, float, float]] = {
    "max_tokens": (int, 0, 1 << 20), "temperature": (float, 0, 2), "top_p": (float, 0, 1), "n": (int, 1, ROWS),
    "seed": (int, 0, 1 << 62), "logprobs": (int, 0, 5), "top_k": (int, 1, 1 << 20), "min_p": (float, 0, 1),
    "repetition_penalty": (float, 1e-3, 100),
}  # fmt: skip
"""Type, least and greatest value of fields that are numbers."""
UNUSED = {"presence_penalty": (0, None), "frequency_penalty": (0, None), "suffix": (None, ""), "best_of": (None, 1)}
"""Fields of OpenAI that are refused unless they have these values."""
KNOWN = {
    *NUMBERS, *UNUSED, "model", "prompt", "stop", "stream", "stream_options", "echo", "logit_bias", "user",
}  # fmt: skip


def parsed(body: bytes) -> Completion:
    """The request of a body.

    Raises:
        RequestError: a field is missing, not known, or out of range.
    """
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError("the body is no JSON; expected an object with a prompt") from error
    if not isinstance(given, dict):
        raise RequestError("the body is no JSON object; expected one with a prompt")
    if unknown := sorted(given.keys() - KNOWN):
        raise RequestError(
            f"{unknown[0]!r:.80} was given, which is not known here; leave it out", param=unknown[0][:80]
        )
    for name, allowed in UNUSED.items():
        if given.get(name) not in allowed:
            raise RequestError(f"{name} was given, which this server does not have; leave it out", param=name)
    numbers = {name: _number(name, given[name]) for name in NUMBERS if given.get(name) is not None}
    prompts = _texts("prompt", given.get("prompt"), most=ROWS)
    n = int(numbers.get("n", 1))
    if len(prompts) * n > ROWS:
        raise RequestError(f"{len(prompts)} prompts and n={n} were given; expected at most {ROWS} texts", param="n")
    how = {
        name: numbers[name]
        for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
        if name in numbers
    }
    how = {name: value for name, value in how.items() if not (name in ("top_p", "min_p") and value == 0)}
    if numbers.get("top_p") == 0:
        how["temperature"] = 0
    options = given.get("stream_options") or {}
    try:
        sampling = Sampling(**how, logit_bias=_bias(given.get("logit_bias")))  # type: ignore[arg-type]
    except RequestError:
        raise
    except InputError as error:
        raise RequestError(str(error)) from error
    return Completion(
        prompts=prompts,
        max_tokens=int(numbers["max_tokens"]) if "max_tokens" in numbers else None,
        sampling=sampling,
        given=frozenset(name for name, value in given.items() if value is not None),
        n=n,
        seed=int(numbers["seed"]) if "seed" in numbers else None,
        stop=tuple(_texts("stop", given["stop"], most=4)) if given.get("stop") else (),
        stream=_switch("stream", given.get("stream")),
        usage=isinstance(options, dict) and _switch("stream_options", options.get("include_usage")),
        logprobs=int(numbers["logprobs"]) if "logprobs" in numbers else None,
        echo=_switch("echo", given.get("echo")),
    )


def _number(name: str, value: Any) -> float:
    kind, least, most = NUMBERS[name]
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not (whole or (kind is float and isinstance(value, float))) or not least <= value <= most:
        what = "a whole number" if kind is int else "a number"
        raise RequestError(f"{name}={value!r:.40} was given; expected {what} from {least:g} to {most:g}", param=name)
    return value  # type: ignore[no-any-return]


def _texts(name: str, value: Any, most: int) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not 1 <= len(texts) <= most or not all(isinstance(text, str) for text in texts):
        raise RequestError(f"{name} was not given as text; expected a string, or a list of 1 to {most}", param=name)
    if name == "stop" and not all(texts):
        raise RequestError("stop has an empty string; expected strings of at least one character", param=name)
    return texts


def _switch(name: str, value: Any) -> bool:
    if value is not None and not isinstance(value, bool):
        raise RequestError(f"{name}={value!r:.40} was given; expected true or false", param=name)
    return bool(value)


def _bias(value: Any) -> dict[int, float]:
    """A logit bias by token ids, as text in JSON."""
    if value is None:
        return {}
    try:
        return {int(token): float(number) for token, number in value.items()}
    except (AttributeError, TypeError, ValueError) as error:
        message = "logit_bias was given in another form; expected an object of token ids and numbers"
        raise RequestError(message, param="logit_bias") from error
