"""Stands in for `srun` of SLURM, on one machine: starts the tasks of all nodes of a job with the variables of each.

`tests/training/test_slurm_script.py` plays the rest: `sbatch`, `scontrol`, and the signals that a job is sent.
"""

import os
import subprocess
import sys
from pathlib import Path


def main(words: list[str]) -> int:
    """Run a command as each task; returns the largest exit code, as `srun` does."""
    nodes, per_node = (int(os.environ[f"SLURM_{name}"]) for name in ("NNODES", "NTASKS_PER_NODE"))
    tasks = []
    for number in range(nodes * per_node):
        of_task = {"PROCID": number, "LOCALID": number % per_node, "NODEID": number // per_node}
        of_task |= {"NTASKS": nodes * per_node, "STEP_ID": 0, "STEP_NUM_TASKS": nodes * per_node}
        variables = {f"SLURM_{name}": str(value) for name, value in of_task.items()}
        tasks.append(subprocess.Popen(words, env=os.environ | variables))
    Path(os.environ["TASKS"]).write_text(" ".join(str(task.pid) for task in tasks))
    return max(task.wait() for task in tasks)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
