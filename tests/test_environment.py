"""Freed memory and compiled kernels stay with the process, where nobody has said otherwise; what a run tells of it."""

import os
import subprocess
import sys

import pytest
import torch

from seqmodels.environment import describe_environment, kept_kernels, multiplies_bf16

PAGES_OF_A_BLOCK = 48 * 2**20 // 4096

FAULTS = """
import resource, sys, torch
from seqmodels.environment import kept_memory

memory = kept_memory()
kept = memory.__enter__() if "keep" in sys.argv else None
for _ in range(20):
    torch.ones(12 * 2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(12 * 2**20)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*words: str, **variables: str) -> tuple[str, int]:
    """What `kept_memory` returned, and pages mapped anew while a block of 48 MiB was asked for ten times."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    kept, count = printed(FAULTS, *words, environment=clean | variables).split()
    return kept, int(count)


def printed(program: str, *words: str, environment: dict[str, str]) -> str:
    return subprocess.check_output([sys.executable, "-c", program, *words], text=True, env=environment)


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}), reason="the C library is not glibc")
def test_freed_memory_is_not_mapped_again() -> None:
    _, otherwise = faults()
    kept, count = faults("keep")
    assert kept == "True"
    assert count < PAGES_OF_A_BLOCK / 2 < 5 * PAGES_OF_A_BLOCK < otherwise


@pytest.mark.parametrize("setting", [{"MALLOC_ARENA_MAX": "2"}, {"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}])
def test_the_settings_of_the_user_stand(setting: dict[str, str]) -> None:
    assert faults("keep", **setting)[0] == "False"


KERNELS = """
import sys, torch
from seqmodels.environment import kept_kernels

kernels = kept_kernels()
if "keep" in sys.argv:
    kernels.__enter__()
weight = torch.ones(16, 16, dtype=torch.bfloat16)
for _ in range(2):
    print("pass", flush=True)
    for rows in range(2, 1102):
        torch.ones(rows, 16, dtype=torch.bfloat16) @ weight
"""


def compiled(*words: str) -> tuple[int, int]:
    """Kernels that were compiled for 1,100 shapes, and how many of them again when the shapes came back."""
    environment = os.environ | {"ONEDNN_VERBOSE": "profile_create"}
    environment.pop("ONEDNN_PRIMITIVE_CACHE_CAPACITY", None)
    _, first, again = printed(KERNELS, *words, environment=environment).split("pass\n")
    return first.count("create:cache_miss"), again.count("create:cache_miss")


@pytest.mark.skipif(not multiplies_bf16("cpu"), reason="this processor does not multiply in bfloat16")
def test_kernels_are_compiled_once() -> None:
    first, again = compiled("keep")
    assert first > 1_000
    assert again == 0
    assert compiled()[1] > 1_000  # without it, all of them again


def test_the_room_for_kernels_that_the_user_gave_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "7")
    with kept_kernels():
        assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "7"


@pytest.mark.parametrize(
    ("program", "shown"),
    [("/usr/bin/seqmodels", "seqmodels"), ("/a/seqmodels/__main__.py", "seqmodels"), ("recipes/hello.py", "hello.py")],
)
def test_the_command_of_a_run(program: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [program, "fit", "--data", "a b"])
    assert describe_environment(torch.device("cpu"))["command"] == f"{shown} fit --data 'a b'"
