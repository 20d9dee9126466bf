"""The web application: `/v1/completions`, `/v1/models`, and a page to type into."""

import asyncio
import contextlib
import json
import logging
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from seqmodels.errors import InputError
from seqmodels.interop.optional import optional
from seqmodels.serving.page import page, policy
from seqmodels.serving.requests import BODY, Completion, RequestError, parsed
from seqmodels.serving.writers import Part, Writer

LOGGER = logging.getLogger(__name__)
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
"""Names of this machine for itself."""
AHEAD = 64
"""Pieces that may wait for a slow client."""


class Service:
    """Answers requests with one model.

    Args:
        writer: completes prompts.
        name: of the model.
        at_once: most requests at a time; others are refused.
        hosts: names by which the service may be called, so that no foreign page reaches it by a name of its own; None
            for any.
        origins: other pages that may call it, such as http://localhost:3000.
    """

    def __init__(
        self, writer: Writer, name: str, at_once: int = 4, hosts: tuple[str, ...] | None = LOCAL_NAMES,
        origins: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self._writer, self._name, self._at_once, self._hosts, self._origins = writer, name, at_once, hosts, origins
        self._running: set[threading.Event] = set()
        self._since = int(time.time())

    def stop(self) -> None:
        """End what is being written."""
        for left in self._running:
            left.set()

    def application(self) -> Any:
        """The ASGI application.

        Raises:
            InputError: starlette is not installed.
        """
        applications = optional("starlette.applications", "serve", "seqmodels serve")
        routing = optional("starlette.routing", "serve", "seqmodels serve")
        cors = optional("starlette.middleware.cors", "serve", "seqmodels serve")
        middleware = optional("starlette.middleware", "serve", "seqmodels serve")
        exceptions = optional("starlette.exceptions", "serve", "seqmodels serve")
        routes = [
            routing.Route("/", self._answering(self._page)),
            routing.Route("/v1/models", self._answering(self._models)),
            routing.Route("/v1/models/{name:path}", self._answering(self._model)),
            routing.Route("/v1/completions", self._answering(self._completions), methods=["POST"]),
        ]
        allowed = middleware.Middleware(
            cors.CORSMiddleware, allow_origins=list(self._origins), allow_methods=["GET", "POST"], allow_headers=["*"]
        )

        async def not_found(request: Any, error: Any) -> Any:
            why = f"{request.method} {request.url.path} is not known; expected POST /v1/completions or GET /v1/models"
            return _refusal(RequestError(why, error.status_code))

        return applications.Starlette(
            routes=routes, middleware=[allowed] if self._origins else [],
            exception_handlers={exceptions.HTTPException: not_found},
        )  # fmt: skip

    def _answering(self, answer: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """An answer behind the checks of every request, with errors in OpenAI's form."""

        async def endpoint(request: Any) -> Any:
            try:
                self._check_host(request)
                return await answer(request)
            except InputError as error:
                return _refusal(error)
            except Exception:
                LOGGER.exception("a request failed")
                return _refusal(RequestError("the server failed; its log has the reason", 500))

        return endpoint

    def _check_host(self, request: Any) -> None:
        given = request.headers.get("host", "")
        host = given if given.endswith("]") else given.rpartition(":")[0] or given
        if self._hosts is not None and host not in self._hosts:
            raise RequestError(
                f"the host {host!r:.80} is not this server's; expected one of {', '.join(self._hosts)}", 403
            )

    async def _page(self, request: Any) -> Any:
        responses = optional("starlette.responses", "serve", "seqmodels serve")
        text = page(self._name)
        headers = {
            "Content-Security-Policy": policy(text), "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
        }  # fmt: skip
        return responses.HTMLResponse(text, headers=headers)

    @property
    def _about(self) -> dict[str, Any]:
        return {"id": self._name, "object": "model", "created": self._since, "owned_by": "seqmodels"}

    async def _models(self, request: Any) -> Any:
        return _json({"object": "list", "data": [self._about]})

    async def _model(self, request: Any) -> Any:
        if (name := request.path_params["name"]) != self._name:
            raise RequestError(f"the model {name!r:.80} is not served here; expected {self._name!r}", 404, "model")
        return _json(self._about)

    async def _completions(self, request: Any) -> Any:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            # Other types could be sent by any page without asking.
            raise RequestError("the content type is not application/json; expected a JSON body", 415)
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY:
                raise RequestError(f"the body has more than {BODY:,} bytes; send a shorter prompt", 413)
        wanted = parsed(body)
        if len(self._running) >= self._at_once:
            raise RequestError(f"{self._at_once} requests are being answered already; try again soon", 429)
        left = threading.Event()
        self._running.add(left)
        try:
            count, write = await asyncio.to_thread(self._writer.prepared, wanted)
            parts = self._parts(write, left)
            if wanted.stream:
                responses = optional("starlette.responses", "serve", "seqmodels serve")
                headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
                events = self._events(parts, wanted, count, left)
                return responses.StreamingResponse(events, media_type="text/event-stream", headers=headers)
            return await self._whole(request, parts, wanted, count, left)
        except BaseException:
            self._running.discard(left)
            raise

    async def _parts(self, write: Callable[[], Iterator[Part]], left: threading.Event) -> AsyncIterator[Part]:
        """What a thread writes, until the client has left."""
        loop, waiting = asyncio.get_running_loop(), asyncio.Queue[Part | Exception | None]()
        room = threading.Semaphore(AHEAD)

        def put(part: Part | Exception | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(waiting.put_nowait, part)

        def work() -> None:
            try:
                for part in write():
                    while not room.acquire(timeout=0.1):
                        if left.is_set():
                            return
                    if left.is_set():
                        return
                    put(part)
            except Exception as error:  # told to the client
                put(error)
            finally:
                put(None)

        threading.Thread(target=work, name="completion", daemon=True).start()
        try:
            while (part := await waiting.get()) is not None:
                room.release()
                if isinstance(part, Exception):
                    raise part
                yield part
        finally:
            left.set()
            self._running.discard(left)

    async def _whole(
        self, request: Any, parts: AsyncIterator[Part], wanted: Completion, count: int, left: threading.Event
    ) -> Any:
        """One answer when all is written."""
        choices = [_choice(index) for index in range(len(wanted.prompts) * wanted.n)]
        written = 0

        async def watch() -> None:
            while not await request.is_disconnected():
                await asyncio.sleep(0.2)
            left.set()

        watching = asyncio.ensure_future(watch())
        try:
            async for part in parts:
                written += part.tokens
                choice = choices[part.choice]
                choice["text"] += part.text
                choice["finish_reason"] = part.finish or choice["finish_reason"]
                if part.logprobs is not None:
                    kept = choice["logprobs"] or {name: [] for name in part.logprobs}
                    choice["logprobs"] = {name: kept[name] + value for name, value in part.logprobs.items()}
        finally:
            watching.cancel()
        return _json(self._answer(choices) | {"usage": _usage(count, written)})

    async def _events(
        self, parts: AsyncIterator[Part], wanted: Completion, count: int, left: threading.Event
    ) -> AsyncIterator[str]:
        """Server-sent events, one for each piece of text."""
        answer, written = self._answer([]), 0
        try:
            async for part in parts:
                written += part.tokens
                if part.text or part.finish or part.logprobs:
                    choice = _choice(part.choice) | {"text": part.text, "finish_reason": part.finish}
                    yield _event(answer | {"choices": [choice | {"logprobs": part.logprobs}]})
            if wanted.usage:
                yield _event(answer | {"usage": _usage(count, written)})
            yield "data: [DONE]\n\n"
        except Exception as error:  # the answer has begun: its end is told in its own form
            known = isinstance(error, InputError)
            if not known:
                LOGGER.exception("a request failed")
            failed = _as_request(error) if known else RequestError("the server failed; its log has the reason", 500)
            yield _event(failed.body())
        finally:
            left.set()
            self._running.discard(left)

    def _answer(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": f"cmpl-{uuid.uuid4().hex}", "object": "text_completion", "created": int(time.time()),
            "model": self._name, "choices": choices,
        }  # fmt: skip


def _choice(index: int) -> dict[str, Any]:
    return {"text": "", "index": index, "logprobs": None, "finish_reason": None}


def _usage(prompt: int, written: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def _as_request(error: Exception) -> RequestError:
    return error if isinstance(error, RequestError) else RequestError(str(error))


def _json(value: dict[str, Any], status: int = 200) -> Any:
    responses = optional("starlette.responses", "serve", "seqmodels serve")
    return responses.JSONResponse(value, status)


def _refusal(error: Exception) -> Any:
    failed = _as_request(error)
    return _json(failed.body(), failed.status)
