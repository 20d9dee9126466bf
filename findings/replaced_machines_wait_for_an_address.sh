#!/usr/bin/env bash
# torch 2.13.0 (Python 3.11), Linux, no GPU
#
# Guess: in an elastic job of torchrun (`--rdzv-backend c10d`, a fixed number of machines, restarts allowed), a new
# machine takes the place of one that was lost: the others meet it in the next round, and all go on.
#
# Seen: the next round is complete, and the new machine then fails after a minute: the address of the first machine's
# store is written for the first round only, and a machine of later rounds waits for that of its own. With
# TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 the address is written in every round, and the new machine goes on at once.
# Here the meetings alone are held, without any program to run.
#
# Output seen:
#   default: first round 2 machines, second round DistStoreError at the new machine
#   not shared: first round 2 machines, second round 2 machines
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy
cd "$folder"
cat > machine.py <<'PYTHON'
"""One machine: it meets the others as often as it is asked to, and says its rank and how many have come."""

import os
import sys
from datetime import timedelta

from torch.distributed import TCPStore
from torch.distributed.elastic.rendezvous import RendezvousParameters
from torch.distributed.elastic.rendezvous.c10d_rendezvous_backend import C10dRendezvousBackend
from torch.distributed.elastic.rendezvous.dynamic_rendezvous import create_handler

port = int(sys.argv[1])
store = TCPStore("127.0.0.1", port, is_master=False, timeout=timedelta(seconds=5))
settings = RendezvousParameters("c10d", f"127.0.0.1:{port}", "job", 2, 2, local_addr="127.0.0.1")
handler = create_handler(store, C10dRendezvousBackend(store, "job"), settings)
for _ in sys.stdin:
    try:
        found = handler.next_rendezvous()
        print(found.rank, f"{found.world_size} machines", flush=True)
    except Exception as error:
        print("-", f"{type(error).__name__} at the new machine", flush=True)
os._exit(0)
PYTHON
cat > meet.py <<'PYTHON'
import subprocess
import sys

from torch.distributed import TCPStore

host = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def machine():
    words = [sys.executable, "-W", "ignore", "machine.py", str(host.port)]
    return subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
    )


def meet(*machines):
    for one in machines:
        one.stdin.write("meet\n")
    return [one.stdout.readline().strip().split(" ", 1) for one in machines]


machines = [machine(), machine()]
first = meet(*machines)
stays = machines[[rank for rank, _ in first].index("0")]
(lost,) = (one for one in machines if one is not stays)
lost.communicate()
new = machine()
second = meet(stays, new)
print(f"{sys.argv[1]}: first round {first[0][1]}, second round {second[1][1]}")
for one in (stays, new):
    one.communicate()
PYTHON
{ venv/bin/python -W ignore meet.py "default"; TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 venv/bin/python -W ignore meet.py "not shared"; } | tee output
diff output - <<'TEXT'
default: first round 2 machines, second round DistStoreError at the new machine
not shared: first round 2 machines, second round 2 machines
TEXT
