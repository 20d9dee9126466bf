"""Memory that is freed stays with the process, where nobody has said otherwise."""

import os
import subprocess
import sys

import pytest

PAGES_OF_A_BLOCK = 48 * 2**20 // 4096

FAULTS = """
import resource, sys, torch
from seqmodels.hardware import keep_freed_memory

kept = keep_freed_memory() if "keep" in sys.argv else None
for _ in range(20):
    torch.ones(12 * 2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(12 * 2**20)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*words: str, **variables: str) -> tuple[str, int]:
    """What `keep_freed_memory` returned, and pages mapped anew while a block of 48 MiB was asked for ten times."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, *words], capture_output=True, text=True, check=True, env=clean | variables
    )
    kept, count = done.stdout.split()
    return kept, int(count)


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}), reason="the C library is not glibc")
def test_freed_memory_is_not_mapped_again() -> None:
    _, otherwise = faults()
    kept, count = faults("keep")
    assert kept == "True"
    assert count < PAGES_OF_A_BLOCK / 2 < 5 * PAGES_OF_A_BLOCK < otherwise


@pytest.mark.parametrize("variable", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_the_settings_of_the_user_stand(variable: str) -> None:
    kept, _ = faults("keep", **{variable: {"MALLOC_ARENA_MAX": "2"}.get(variable, "glibc.malloc.arena_max=2")})
    assert kept == "False"
