#!/usr/bin/env bash
# torch 2.13.0 (Python 3.11)
#
# Guess: `persistent_workers=True` keeps the processes of a DataLoader from epoch to epoch, and changes nothing but time.
#
# Seen: the number of workers changes nothing, but with persistent ones the second epoch is in another order, and so are
# all that follow, from the same seed. A loader draws a number for its workers at the start of each epoch, from the
# generator that also draws the order, even if it has no workers; persistent workers are told theirs once only. Without
# a generator of its own, a loader draws from torch's, so dropout after it differs as well.
#
# Output seen:
#   own generator, 0 workers: 510324 421305 153204, then 0.4963
#   own generator, 2 workers: 510324 421305 153204, then 0.4963
#   own generator, 2 persistent workers: 510324 054123 502134, then 0.4963
#   torch's, 0 workers: 043521 231540 520314, then 0.0223
#   torch's, 2 workers: 043521 231540 520314, then 0.0223
#   torch's, 2 persistent workers: 043521 503214 231540, then 0.4556
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy
cd "$folder"
cat > epochs.py <<'PYTHON'
import torch
from torch.utils.data import DataLoader


def epochs(own, workers, persistent):
    """The orders of three epochs, and what torch draws after them."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0) if own else None
    more = {"num_workers": workers, "persistent_workers": persistent}
    if workers:
        more["multiprocessing_context"] = "spawn"
    loader = DataLoader(range(6), 2, shuffle=True, generator=generator, **more)
    orders = ["".join(str(int(row)) for batch in loader for row in batch) for _ in range(3)]
    drawn = f"{torch.rand(1).item():.4f}"
    kind = f"{workers} {'persistent ' * persistent}workers"
    print(f"{'own generator' if own else 'torch' + chr(39) + 's'}, {kind}: {' '.join(orders)}, then {drawn}")
    return orders, drawn


if __name__ == "__main__":
    for own in (True, False):
        none, two, kept = (epochs(own, *how) for how in ((0, False), (2, False), (2, True)))
        assert none == two
        assert kept[0][0] == none[0][0]
        assert kept[0][1] != none[0][1]
        assert kept[0][2] != none[0][2]
        assert (kept[1] == none[1]) == own
PYTHON
OMP_NUM_THREADS=1 venv/bin/python epochs.py
