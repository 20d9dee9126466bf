#!/usr/bin/env bash
# pytest 9.2.0 and 9.1.1 with pytest-xdist 3.8.0 (Python 3.11)
#
# Guess: with `--dist loadgroup`, all tests marked `xdist_group("one")` run in one process, as they have since the mark
# exists; both are the newest releases, and pip installs them together.
#
# Seen: so it is with pytest 9.1.1. With pytest 9.2.0 the tests of a group run in both processes, without a word: the
# scheduler of groups is in use, yet it is told no group. A module's fixture is made in each process, and what a group
# was to keep apart, a port or a file, is used by two at once. `--dist loadfile` keeps files together in both. (pytest-xdist #1386.)
#
# Output seen:
#   9.1.1 loadgroup 1
#   9.1.1 loadfile 1
#   9.2.0 loadgroup 2
#   9.2.0 loadfile 1
# (versions of pytest, and the number of processes that ran the group)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > test_group.py <<'PYTHON'
import os
import time

import pytest


@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("number", range(12))
def test_where(number):
    time.sleep(0.2)
    with open("where", "a") as file:
        print(os.getpid(), file=file)
PYTHON
for version in 9.1.1 9.2.0; do
    python3 -m venv "venv-$version"
    "venv-$version/bin/pip" install --quiet --disable-pip-version-check "pytest==$version" pytest-xdist==3.8.0
    for dist in loadgroup loadfile; do
        rm -f where
        "venv-$version/bin/python" -m pytest -q -n 2 --dist "$dist" test_group.py > /dev/null
        echo "$version $dist $(sort -u where | wc -l)" | tee -a found
    done
done
diff found - <<'TEXT'
9.1.1 loadgroup 1
9.1.1 loadfile 1
9.2.0 loadgroup 2
9.2.0 loadfile 1
TEXT
