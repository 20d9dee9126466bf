"""The server as clients see it: OpenAI's own, a browser, and those that send nonsense or leave."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from seqmodels import GRU, LanguageModel, Sampling, Tokenizer, Translator
from seqmodels.errors import InputError
from seqmodels.serving.app import Service
from seqmodels.serving.requests import RequestError, parsed
from seqmodels.serving.server import bound, is_loopback
from seqmodels.serving.writers import writer_of

pytest.importorskip("starlette", reason="the extra serve is not installed")
uvicorn = pytest.importorskip("uvicorn", reason="the extra serve is not installed")
openai = pytest.importorskip("openai", reason="the client of OpenAI is not installed")

TOKENS = Tokenizer.char(["abcdefgh \n"])


class Server(uvicorn.Server):  # type: ignore[misc,name-defined]
    """In a thread of this process, which keeps its own signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def served(model: Any, **how: Any) -> Iterator[str]:
    """The address at which a model is served."""
    service = Service(writer_of(model, 2000), "tiny", **how)
    place = bound("127.0.0.1", 0)
    server = Server(uvicorn.Config(service.application(), log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, args=([place],))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{place.getsockname()[1]}"
    finally:
        server.should_exit = True
        service.stop()
        thread.join(20)
        place.close()


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(GRU(8, 16), TOKENS).eval()


@pytest.fixture(scope="module")
def address(model: LanguageModel) -> Iterator[str]:
    with served(model) as found:
        yield found


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as found:
        yield found


def post(address: str, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    try:
        connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"} | headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_completions_are_those_of_generate(client: Any, model: LanguageModel) -> None:
    (only,) = client.models.list().data
    assert only.id == client.models.retrieve("tiny").id == "tiny"
    how: dict[str, Any] = {"model": "tiny", "max_tokens": 20, "seed": 1, "temperature": 0.9, "top_p": 0.9}
    answer = client.completions.create(prompt=["ab", "cd e"], n=2, stop=["h", "gg"], **how)
    expected = model.generate_batch(
        ["ab", "cd e"], samples=2, max_tokens=20, seed=1, sampling=Sampling(0.9, top_p=0.9), stop=["h", "gg"]
    )
    assert [choice.text for choice in answer.choices] == [text for texts in expected for text in texts]
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.usage.prompt_tokens == 8
    assert {choice.finish_reason for choice in answer.choices} <= {"stop", "length"}
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    echoed = client.completions.create(prompt="ab", echo=True, **how)
    assert echoed.choices[0].text == "ab" + "".join(
        model.generate("ab", max_tokens=20, seed=1, sampling=Sampling(0.9, top_p=0.9))
    )


def test_a_stream_is_the_same_text(client: Any) -> None:
    how: dict[str, Any] = {
        "model": "tiny",
        "prompt": "ab",
        "max_tokens": 15,
        "seed": 2,
        "n": 2,
        "logit_bias": {"2": -100},
    }
    whole = client.completions.create(**how)
    texts, ends, usage = ["", ""], [None, None], None
    for part in client.completions.create(**how, stream=True, stream_options={"include_usage": True}):
        usage = part.usage or usage
        for choice in part.choices:
            texts[choice.index] += choice.text
            ends[choice.index] = choice.finish_reason or ends[choice.index]
    assert texts == [choice.text for choice in whole.choices]
    assert ends == ["length", "length"]
    assert usage == whole.usage
    assert usage is not None
    assert usage.completion_tokens == 30


def test_log_probabilities(client: Any, model: LanguageModel) -> None:
    how: dict[str, Any] = {
        "model": "tiny",
        "prompt": "ab",
        "max_tokens": 6,
        "seed": 1,
        "n": 2,
        "logit_bias": {"2": -100},
    }
    for choice in client.completions.create(**how, logprobs=2).choices:
        assert "".join(choice.logprobs.tokens) == choice.text
        assert choice.logprobs.text_offset == [0, 1, 2, 3, 4, 5]
        ids = torch.tensor([[1, *TOKENS.encode("ab" + choice.text)]])
        with torch.no_grad():
            logits = model(ids)[0][0, 2:-1].index_fill(1, torch.tensor([0, 1, 3]), -torch.inf)
        rows = logits.log_softmax(-1)
        found = rows.gather(1, ids[0, 3:, None]).squeeze(1).tolist()
        assert choice.logprobs.token_logprobs == pytest.approx(found, abs=1e-4)
        assert [max(top.values()) for top in choice.logprobs.top_logprobs] == pytest.approx(
            rows.max(1).values.tolist(), abs=1e-4
        )


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"prompt": "a", "max_tokens": -1}, 400, "max_tokens=-1"),
        ({"prompt": "a", "max_tokens": 3000}, 400, "at most 2000 together"),
        ({"prompt": "ä"}, 400, "vocabulary"),
        ({"prompt": "a", "temperature": 3}, 400, "temperature=3"),
        ({"prompt": "a", "temperature": "hot"}, 400, "temperature='hot'"),
        ({"prompt": ["a"] * 9, "n": 4}, 400, "at most 32 texts"),
        ({"prompt": [1, 2]}, 400, "prompt was not given as text"),
        ({}, 400, "prompt was not given as text"),
        ({"prompt": "a", "stop": [""]}, 400, "empty string"),
        ({"prompt": "a", "suffix": "b"}, 400, "suffix was given"),
        ({"prompt": "a", "frequency_penalty": 0.5}, 400, "frequency_penalty"),
        ({"prompt": "a", "tempreature": 1}, 400, "'tempreature' was given"),
        ({"prompt": "a", "stream": "yes"}, 400, "stream='yes'"),
        ({"prompt": "a", "logit_bias": {"x": 1}}, 400, "logit_bias"),
        ({"prompt": "a", "logit_bias": {"99": 1}}, 400, "token 99"),
        ({"prompt": "a" * 1_100_000}, 413, "bytes"),
        ([1], 400, "no JSON object"),
        (b"{", 400, "no JSON"),
        (b"[" * 100_000, 400, "no JSON"),
    ],
)  # fmt: skip
def test_bad_requests_are_refused_in_openais_form(address: str, body: Any, status: int, message: str) -> None:
    found, answer = post(address, body if isinstance(body, bytes) else json.dumps(body).encode())
    assert found == status
    assert message in answer["error"]["message"]
    assert answer["error"]["type"] == "invalid_request_error"


def test_foreign_pages_do_not_reach_it(address: str) -> None:
    """Neither by a name that leads here, nor by a form, nor by a script of another page."""
    body = json.dumps({"prompt": "a"}).encode()
    assert post(address, body, Host="evil.example")[0] == 403
    assert post(address, body, **{"Content-Type": "text/plain"})[0] == 415
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    connection.request("OPTIONS", "/v1/completions", headers={"Origin": "http://evil.example"})
    answer = connection.getresponse()
    answer.read()
    assert "access-control-allow-origin" not in answer.headers
    connection.request("GET", "/nothing")
    answer = connection.getresponse()
    assert answer.status == 404
    assert "is not known" in json.loads(answer.read())["error"]["message"]
    connection.close()


def test_too_many_at_a_time_are_told_so_and_a_client_that_leaves_stops_its_text(model: LanguageModel) -> None:
    how: dict[str, Any] = {"model": "tiny", "prompt": "a", "max_tokens": 1900, "logit_bias": {"2": -100}}
    with served(model, at_once=1, origins=("http://page.example",)) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        stream = client.completions.create(**how, stream=True)
        next(iter(stream))
        with pytest.raises(openai.RateLimitError, match="1 requests are being answered"):
            client.completions.create(**how)
        stream.close()
        for _ in range(100):  # the server notices a moment later
            with contextlib.suppress(openai.RateLimitError):
                client.completions.create(model="tiny", prompt="a", max_tokens=1)
                break
            time.sleep(0.1)
        else:
            pytest.fail("the text of a client that left goes on")
        connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
        headers = {"Origin": "http://page.example", "Access-Control-Request-Method": "POST"}
        connection.request("OPTIONS", "/v1/completions", headers=headers)
        answer = connection.getresponse()
        assert answer.headers["access-control-allow-origin"] == "http://page.example"
        connection.close()
        client.close()


def test_a_translator_translates_the_prompt() -> None:
    torch.manual_seed(0)
    model = Translator(GRU(8, 8), GRU(8, 8), TOKENS, search={"size": 2, "length_penalty": 0.0}).eval()
    with served(model) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        answer = client.completions.create(model="tiny", prompt=["ab cd", "ef"], max_tokens=9)
        from seqmodels import Beam

        expected = model.translate(["ab cd", "ef"], Beam(size=2, length_penalty=0.0, max_length=9))
        assert expected != model.translate(["ab cd", "ef"], Beam(max_length=9))
        assert [choice.text for choice in answer.choices] == [found[0].text for found in expected]
        drawn = client.completions.create(model="tiny", prompt="ab", n=3, temperature=1.0, seed=4, max_tokens=9)
        assert len({choice.text for choice in drawn.choices}) > 1
        with pytest.raises(openai.BadRequestError, match="stop was given to a translator"):
            client.completions.create(model="tiny", prompt="ab", stop="c")
        client.close()


def test_requests_are_parsed_within_limits() -> None:
    found = parsed(b'{"prompt": "a", "top_p": 0, "temperature": 1, "stop": "x", "top_k": 5}')
    assert found.sampling == Sampling(temperature=0, top_k=5)
    assert found.stop == ("x",)
    with pytest.raises(RequestError, match=r"n=0 was given; expected a whole number from 1 to 32"):
        parsed(b'{"prompt": "a", "n": 0}')


def test_addresses() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "example.com")] == [True] * 3 + [
        False
    ] * 2
    with bound("127.0.0.1", 0) as place:
        place.listen()
        with pytest.raises(InputError, match=r"cannot listen at 127\.0\.0\.1"):
            bound("127.0.0.1", place.getsockname()[1])


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_signals_end_the_command_cleanly(number: int, tmp_path: Path, model: LanguageModel) -> None:
    """Even while a text is written."""
    code = """
import sys
from seqmodels import GRU, LanguageModel, Tokenizer
from seqmodels.serving.server import run
from seqmodels.serving.writers import writer_of
model = LanguageModel(GRU(8, 16), Tokenizer.char(["abc"])).eval()
run(writer_of(model, 10**6), "tiny", port=0)
print("ended")
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert process.stdout is not None
    address = process.stdout.readline().split("at ")[1].split(";")[0]
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
    body = json.dumps({"prompt": "a", "max_tokens": 900_000, "stream": True, "logit_bias": {"2": -100}})
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.read(10)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    connection.close()
    assert (process.returncode, out, err) == (0, "ended\n", "")


def test_the_page_in_a_browser(address: str, model: LanguageModel) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no browser")
    with playwright.sync_playwright() as playing:
        browser = playing.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 360, "height": 640})
        told: list[str] = []
        page.on("console", lambda message: told.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: told.append(str(error)))
        answer = page.goto(address)
        assert "script-src 'sha256-" in answer.headers["content-security-policy"]
        page.fill("#prompt", "ab <b>")
        page.click("#write")
        page.locator("#told", has_text="vocabulary").wait_for()
        page.fill("#prompt", "ab")
        page.fill("#tokens", "30")
        page.fill("#temperature", "0.7")
        page.fill("#seed", "5")
        page.click("#write")
        page.locator("#told", has_text=" tokens").wait_for()
        expected = "ab" + "".join(model.generate("ab", max_tokens=30, seed=5, sampling=Sampling(0.7)))
        assert page.evaluate("document.querySelector('#text').textContent") == expected
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert [text for text in told if "400" not in text] == []
        browser.close()
