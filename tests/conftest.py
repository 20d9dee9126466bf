"""What all tests share: a cache of their own, text to read, and the option `--slow`."""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# One thread for each process, before torch is imported: the tests are many and small, and run side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

settings.register_profile("tests", deadline=None, max_examples=40)  # a busy machine is no failure
settings.register_profile("slow", deadline=None, max_examples=200)
settings.load_profile("tests")

DATA = Path(os.environ.get("SEQMODELS_DATA") or Path(__file__).parents[2] / "shared" / "data")
"""Where real texts lie, if they do."""

MADE_ONCE = {
    "test_devices", "test_own_trainer_on_devices", "test_phrases", "test_report", "test_report_in_browser",
    "test_translate", "test_fine_tuning", "test_hub",
}  # fmt: skip
"""Files whose tests share something that takes long to make: in two processes it would be made twice."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests of a file of `MADE_ONCE` go to one process, all others wherever there is room.

    Marks of groups do not do it: `xdist_group` of pytest-xdist 3.8.0 is without effect under pytest 9.2.0.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if Path(file).stem in MADE_ONCE else nodeid

    return Scheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        settings.load_profile("slow")
    else:
        for item in items:
            if item.get_closest_marker("slow") or of_a_rare_network(item):
                item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


def of_a_rare_network(item: pytest.Item) -> bool:
    """Whether a test is of a network of `RARE`, and not of its laws, its steps or its equations."""
    from networks import RARE

    given = item.callspec.params.values() if hasattr(item, "callspec") else ()
    own = item.path.name in ("test_laws.py", "test_steppers.py", "test_memories.py")
    return not own and any(isinstance(value, str) and value in RARE for value in given)


@pytest.fixture(scope="session", autouse=True)
def datasets_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache of `datasets`, empty at the start of the session, for this process and those it starts."""
    import datasets

    folder = tmp_path_factory.mktemp("datasets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
        patch.setenv("HF_DATASETS_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def text() -> str:
    """About 4,000 characters of lines, most of them ASCII."""
    chance = random.Random(0)
    words = ["the", "a", "café", "of", "and", "to", "naïve", "state", "time", "network", "gate", "forget", "carry"]
    lines = [" ".join(chance.choices(words, k=chance.randint(3, 9))).capitalize() + ".\n" for _ in range(120)]
    return "".join(lines)


@pytest.fixture(scope="session")
def text_file(text: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a file; not to be written to."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_bytes(text.encode())
    return path


@pytest.fixture
def shakespeare() -> Path:
    """One megabyte of plays."""
    path = DATA / "tinyshakespeare" / "input.txt.gz"
    if not path.exists():
        pytest.skip(f"there is no {path}; set SEQMODELS_DATA to the folder that has tinyshakespeare/input.txt.gz")
    return path
