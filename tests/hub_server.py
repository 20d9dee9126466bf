"""A small server on this machine that plays the HTTP interface of the Hugging Face hub: models, datasets, uploads."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import datasets
import huggingface_hub
import pytest

WRITER, READER = "hf_writer", "hf_reader"
"""Tokens: one that may write, and one that may not."""


class Hub(ThreadingHTTPServer):
    """Models, and datasets as `datasets/user/name`, each a list of revisions, which are files by name."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.models: dict[str, list[dict[str, bytes]]] = {}
        self.private: set[str] = set()
        self.asked: list[str] = []
        self.failing: int | None = None
        self.large: dict[str, bytes] = {}  # by SHA-256: weights, which are uploaded apart from the commit
        self.sizes: dict[str, int] = {}  # that are told in place of the true ones

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, name: str, files: dict[str, bytes]) -> str:
        """Add files as a new revision."""
        revisions = self.models.setdefault(name, [])
        revisions.append({**(revisions[-1] if revisions else {}), **files})
        return sha(name, len(revisions) - 1)

    def downloaded(self) -> list[str]:
        """Names of files whose content was asked for."""
        return [path.rpartition("/")[2] for path in self.asked if path.startswith("GET") and "/resolve/" in path]


def sha(name: str, number: int) -> str:
    return hashlib.sha1(f"{name} {number}".encode()).hexdigest()


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(b"")

    def do_GET(self) -> None:
        self.answer(b"")

    def do_POST(self) -> None:
        self.answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def do_PUT(self) -> None:
        """The content of a large file, `/large/SHA-256`."""
        content = b""
        if "Content-Length" in self.headers:
            content = self.rfile.read(int(self.headers["Content-Length"]))
        else:  # in chunks, the last of which is empty
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        self.server.asked.append(f"PUT {self.path}")
        self.server.large[hashlib.sha256(content).hexdigest()] = content
        self.send(200, b"")

    def send(self, status: int, content: bytes | Any, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        self.send(status, {"error": code}, X_Error_Code=code, X_Error_Message=code)

    def answer(self, body: bytes) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if self.server.failing is not None:
            self.send(self.server.failing, {"error": "it is broken"})
        elif path == "/api/validate-yaml":
            content = json.loads(body)["content"]
            bad = re.search(r"^license: nonsense$", content, re.MULTILINE)
            errors = [{"message": '"license" must be one of a list'}] if bad else []
            self.send(400 if bad else 200, {"errors": errors, "warnings": []})
        elif path == "/api/repos/create":
            given = json.loads(body)
            name = f"{given['organization']}/{given['name']}"
            if token != WRITER:
                self.send(401 if not token else 403, {"error": "no rights"})
            elif name in self.server.models:
                self.send(409, {"error": "it is there", "url": f"{self.server.address}/{name}"})
            else:
                self.server.models[name] = []
                if given.get("visibility") == "private" or given.get("private"):
                    self.server.private.add(name)
                self.send(200, {"url": f"{self.server.address}/{name}"})
        elif found := re.fullmatch(
            r"/api/(?:models/)?((?:datasets/)?[^/]+/[^/]+)(?:/(revision|tree|preupload|commit|paths-info)/([^/]+)(/.+)?)?",
            path,
        ):
            self.about(found[1], found[2], found[3] or "main", token, body, (found[4] or "").strip("/"))
        elif re.fullmatch(r"/[^/]+/[^/]+\.git/info/lfs/objects/batch", path):
            asked = json.loads(body)["objects"]
            where = {one["oid"]: {"upload": {"href": f"{self.server.address}/large/{one['oid']}"}} for one in asked}
            self.send(200, {"transfer": "basic", "objects": [{**one, "actions": where[one["oid"]]} for one in asked]})
        elif found := re.fullmatch(r"/((?:datasets/)?[^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self.file(found[1], found[2], found[3], token)
        else:
            self.refuse(404, "RepoNotFound")

    def revision(self, name: str, wanted: str, token: str) -> int | None:
        """The number of a revision; None where the answer is an error."""
        if name not in self.server.models or (name in self.server.private and not token):
            self.refuse(404 if token else 401, "RepoNotFound")
            return None
        count = len(self.server.models[name])
        named = {"main": count - 1} | {sha(name, i): i for i in range(count)} | {f"v{i}": i for i in range(count)}
        if wanted not in named:
            self.refuse(404, "RevisionNotFound")
            return None
        return named[wanted]

    def about(self, name: str, what: str | None, wanted: str, token: str, body: bytes, below: str) -> None:
        if what in ("preupload", "commit") and token != WRITER:
            self.send(403, {"error": "this token may not write"})
            return
        if what == "preupload":
            paths = [file["path"] for file in json.loads(body)["files"]]
            kinds = {path: "lfs" if path.endswith(".safetensors") else "regular" for path in paths}
            modes = [{"path": path, "uploadMode": kinds[path], "shouldIgnore": False} for path in paths]
            self.send(200, {"files": modes})
            return
        if what == "commit":
            lines = [json.loads(line) for line in body.splitlines()]
            values = [line["value"] for line in lines if line["key"] == "file"]
            files = {one["path"]: base64.b64decode(one["content"]) for one in values}
            large = [line["value"] for line in lines if line["key"] == "lfsFile"]
            oid = self.server.commit(name, files | {one["path"]: self.server.large[one["oid"]] for one in large})
            url = f"{self.server.address}/{name}/commit/{oid}"
            self.send(200, {"success": True, "commitOid": oid, "commitUrl": url})
            return
        if (number := self.revision(name, wanted, token)) is None:
            return
        files = self.server.models[name][number] if self.server.models[name] else {}
        sizes = {file: self.server.sizes.get(file, len(content)) for file, content in files.items()}
        entries = [{"type": "file", "path": file, "size": sizes[file], "oid": etag(files[file])} for file in files] + [
            {"type": "directory", "path": str(folder), "oid": etag(str(folder).encode())} for folder in folders(files)
        ]
        if what == "paths-info":
            paths = parse_qs(body.decode())["paths"]
            self.send(200, [entry for entry in entries if entry["path"] in paths])
            return
        if what == "tree":
            recursive = parse_qs(urlsplit(self.path).query).get("recursive") == ["true"]
            above = [(entry, PurePosixPath(str(entry["path"])).parents) for entry in entries]
            inside = [(entry, parents) for entry, parents in above if PurePosixPath(below) in parents]
            found = [entry for entry, parents in inside if recursive or parents[0] == PurePosixPath(below)]
            self.send(200, found) if inside else self.refuse(404, "EntryNotFound")
            return
        siblings = [{"rfilename": file, "size": sizes[file], "blobId": etag(files[file])} for file in files]
        about = {"id": name, "modelId": name, "sha": sha(name, number), "private": name in self.server.private}
        self.send(200, {**about, "siblings": siblings, "tags": [], "downloads": 0, "likes": 0})

    def file(self, name: str, wanted: str, file: str, token: str) -> None:
        if (number := self.revision(name, wanted, token)) is None:
            return
        if file not in self.server.models[name][number]:
            self.refuse(404, "EntryNotFound")
            return
        content = self.server.models[name][number][file]
        headers = {"ETag": f'"{etag(content)}"', "X_Repo_Commit": sha(name, number), "Accept_Ranges": "bytes"}
        if part := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            first, last = int(part[1]), int(part[2] or len(content) - 1)
            headers["Content_Range"] = f"bytes {first}-{last}/{len(content)}"
            self.send(206, content[first : last + 1], **headers)
        else:
            self.send(200, content, **headers)


def folders(files: Iterable[str]) -> set[PurePosixPath]:
    """The folders that files lie in."""
    return {folder for file in files for folder in PurePosixPath(file).parents} - {PurePosixPath(".")}


def etag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def ask(server: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clients ask this server in place of the hub, with an empty cache in a folder."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)  # the server plays LFS
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.address)
    template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", server.address)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    huggingface_hub.HfFileSystem.clear_instance_cache()  # which remembers files of other servers


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub that answers while the block runs."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
