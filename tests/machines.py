"""Trainings on two machines of one process each, started by `torchrun` on both: `tests/machines.py FOLDER CASE...`."""

import json
import sys
from pathlib import Path

import shared_work
from torch import distributed


def main(folder: Path, names: list[str]) -> None:
    runs = {name: str(shared_work.run(name, folder, 2, nodes=2)) for name in names}
    (folder / f"runs-{distributed.get_rank()}.json").write_text(json.dumps(runs))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
