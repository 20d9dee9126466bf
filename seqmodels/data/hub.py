"""The Hugging Face hub: files of a model by its name, within limits, and one sentence where they cannot be had."""

import contextlib
import re
import socket
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import huggingface_hub
from huggingface_hub import errors
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from seqmodels.errors import InputError, one_line

SECONDS = 5.0
"""Most seconds until the hub has answered a first time, before it counts as out of reach."""
PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
NAME = re.compile(rf"(?P<repository>(?P<user>{PART}/)?{PART})(?:@(?P<revision>[A-Za-z0-9][\w./-]*))?", re.ASCII)
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


class HubName(NamedTuple):
    """The name of a model on the hub, `user/name`, and a revision: a branch, a tag or a commit."""

    repository: str
    revision: str = "main"

    def __str__(self) -> str:
        return self.repository if self.revision == "main" else f"{self.repository}@{self.revision}"


def hub_name(text: str, *, bare: bool = False) -> HubName | None:
    """The name that `user/name` or `user/name@revision` is, or a `bare` one without user, such as `gpt2`; None for
    anything else, such as most paths.
    """
    found = NAME.fullmatch(text)
    if found is None or len(found["repository"]) > 96 or re.search(r"--|\.\.", text):
        return None
    if found["user"] is None and not bare:
        return None
    return HubName(found["repository"], found["revision"] or "main")


def download(name: HubName, required: Mapping[str, int], optional: Mapping[str, int] | None = None) -> Path:
    """Download files of a model into the hub's cache; without network, those that are there already.

    Nothing is downloaded if any of them is too large.

    Args:
        name: of the model.
        required: names of files, each with the largest number of bytes that is downloaded.
        optional: the same, of files that may be missing.

    Returns:
        The folder of the files.

    Raises:
        InputError: the hub does not have them, does not give them, or cannot be reached.
    """
    limits, offline = {**required, **(optional or {})}, not reachable()
    with asked(name):
        if offline:
            folder = _snapshot(name, limits, local_files_only=True)
        else:
            info = huggingface_hub.HfApi().model_info(
                name.repository, revision=name.revision, files_metadata=True, timeout=2 * SECONDS
            )
            sizes = {file.rfilename: file.size for file in info.siblings or () if file.rfilename in limits}
            for file, size in sizes.items():
                if size is None or size > limits[file]:
                    raise InputError(
                        f"{file} of {str(name)!r} on the hub has {size or 0:,} bytes; expected at most "
                        f"{limits[file]:,}, so it is another file than its name says"
                    )
            _check_there(name, required, sizes)
            folder = _snapshot(name, sizes)
    _check_there(name, required, [file for file in required if (folder / file).is_file()])
    return folder


def _snapshot(name: HubName, files: Iterable[str], *, local_files_only: bool = False) -> Path:
    with _quiet():
        folder = huggingface_hub.snapshot_download(
            name.repository,
            revision=name.revision,
            allow_patterns=sorted(files),
            local_files_only=local_files_only,
            library_name="seqmodels",
        )
    return Path(folder)


def _check_there(name: HubName, required: Mapping[str, int], there: Mapping[str, object] | list[str]) -> None:
    if missing := [file for file in required if file not in there]:
        raise InputError(
            f"{str(name)!r} on the hub has no {missing[0]}; expected {', '.join(required)}, such as "
            "`seqmodels share` writes"
        )


def upload(folder: Path, repository: str, private: bool = False) -> str:
    """Upload a folder as a model, which is made if it is not there; what it had stays in its history.

    Returns:
        The address of its page.

    Raises:
        InputError: the hub refuses, or cannot be reached.
    """
    name, api = HubName(repository), huggingface_hub.HfApi(library_name="seqmodels")
    check_can_upload(repository)
    with asked(name), _quiet():
        api.create_repo(repository, private=private or None, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload by seqmodels share")
    return f"{huggingface_hub.constants.ENDPOINT}/{repository}"


def check_can_upload(repository: str) -> None:
    """Refuse (InputError) a name that is none, and an upload that cannot succeed, before any work is done for it."""
    name = hub_name(repository)
    if name is None or name.revision != "main":
        raise InputError(f"push={repository!r} was given; expected the name of a model on the hub, as user/name")
    if huggingface_hub.get_token() is None:
        raise InputError(f"{repository!r} cannot be uploaded without a token of the hub; {LOG_IN}")
    if not reachable():
        raise InputError(f"{repository!r} cannot be uploaded: {_out_of_reach()}; try again, nothing was changed")


@contextlib.contextmanager
def asked(name: HubName) -> Iterator[None]:
    """A context for requests about a model; an error of the hub or the network becomes an InputError of one line."""
    given, hub = repr(str(name)), "the Hugging Face hub"
    try:
        yield
    except InputError:
        raise
    except errors.GatedRepoError as error:
        why = f"{given} asks for consent on its page at {hub}; give it there, and {LOG_IN}"
        raise InputError(why) from error
    except errors.RepositoryNotFoundError as error:
        why = f"there is no {given} here, and no model of this name on {hub} that may be read; check the name"
        raise InputError(f"{why}, and if it is private, {LOG_IN}") from error
    except errors.RevisionNotFoundError as error:
        why = f"{name.repository!r} on {hub} has no revision {name.revision!r}; expected a branch, a tag or a commit"
        raise InputError(why) from error
    except errors.LocalEntryNotFoundError as error:
        why = f"there is no {given} here, and it was not downloaded before: {_out_of_reach()}"
        raise InputError(f"{why}; check the name and the network") from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            why = (
                f"{hub} refuses {given} to this token ({status}): it is of another account, or may not write; {LOG_IN}"
            )
        else:
            why = f"{hub} could not answer about {given}: {_first_line(error)}; try again later"
        raise InputError(why) from error
    except Exception as error:  # the client raises errors of several libraries
        why = f"{hub} could not be asked about {given} ({type(error).__name__}: {one_line(str(error))[:300]})"
        raise InputError(f"{why}; check the network, and try again") from error


def _first_line(error: BaseException) -> str:
    return one_line(str(error).strip().partition("\n")[0])[:200]


def _out_of_reach() -> str:
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set, so the hub is not asked"
    return f"the hub ({huggingface_hub.constants.ENDPOINT}) cannot be reached"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the progress bars of the hub's client, several for every file however short."""
    already = are_progress_bars_disabled()
    if not already:
        disable_progress_bars()
    try:
        yield
    finally:
        if not already:
            enable_progress_bars()


def reachable() -> bool:
    """Whether the hub, or the proxy on the way to it, accepts connections: known within seconds, where its client
    tries again and again.
    """
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return False
    address = urlsplit(huggingface_hub.constants.ENDPOINT)
    proxies, host = urllib.request.getproxies(), address.hostname or ""
    proxy = proxies.get(address.scheme, proxies.get("all"))
    if proxy and not urllib.request.proxy_bypass(host):
        address = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), SECONDS).close()
    except OSError:
        return False
    return True
