"""`import seqmodels`, and the use of its names, change nothing in the program that does so: before and after, apart."""

import json
import os
import subprocess
import sys

LOOK = """
import ctypes, gc, json, locale, logging, os, random, signal, sys, threading, warnings
import numpy as np

allocator = []
sys.addaudithook(lambda event, given: allocator.append(1) if event == "ctypes.dlsym" and "mallopt" in given else None)

def look():
    import faulthandler
    found = {
        "signals": {name.name: str(signal.getsignal(name)) for name in signal.Signals
                    if name not in (signal.SIGKILL, signal.SIGSTOP)},
        "environment": dict(os.environ),
        "warnings": [str(one) for one in warnings.filters],
        "how warnings are shown": str(warnings.showwarning),
        "collection": [gc.isenabled(), gc.get_threshold(), gc.get_debug()],
        "allocator": len(allocator),  # which cannot be read, so who asks for its function counts
        "frozen": gc.get_freeze_count(),
        "seeds": [str(random.getstate())[:2000], np.random.get_state()[1].tolist()],
        "folder": os.getcwd(),
        "path": sys.path[:],
        "hooks": [str(sys.excepthook), str(threading.excepthook), str(sys.displayhook)],
        "threads": threading.active_count(),
        "faults": faulthandler.is_enabled(),
        "locale": locale.setlocale(locale.LC_ALL),
        "limits": [sys.getrecursionlimit(), sys.getswitchinterval()],
        "root logger": [logging.getLogger().level, len(logging.getLogger().handlers)],
        "umask": os.umask(os.umask(0o22)),
    }
    os.umask(found["umask"])
    if "torch" in sys.modules:
        import torch
        found["torch"] = [
            torch.get_rng_state().tolist(), str(torch.get_default_dtype()), torch.is_grad_enabled(),
            torch.get_num_threads(), torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic,
            torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled(),
        ]
    if "matplotlib" in sys.modules:
        import matplotlib
        found["matplotlib"] = {name: str(value) for name, value in matplotlib.rcParams.items()}
    return found
"""
LIBRARIES = "import torch, lightning.pytorch, datasets, matplotlib.pyplot, transformers"


def difference(before: str, after: str) -> list[str]:
    """What a program in a fresh interpreter finds changed by `after`, which runs behind `before`."""
    code = f"{LOOK}\n{before}\nfirst = look()\n{after}\nsecond = look()\n"
    code += "print(json.dumps([name for name in second if name in first and first[name] != second[name]]))"
    kept = {name: value for name, value in os.environ.items() if name in ("HOME", "PATH", "PYTHONPATH")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, env=kept)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found: list[str] = json.loads(done.stdout)
    return found


def test_the_import_changes_nothing() -> None:
    """Not even where nothing else was imported before."""
    assert difference("", "import seqmodels, seqmodels.cli.main") == []


def test_the_names_change_nothing() -> None:
    """Beside what the libraries below do when they are imported first, which is theirs."""
    use = "import seqmodels\nfor name in seqmodels.__all__: getattr(seqmodels, name)\n"
    use += "import seqmodels.report, seqmodels.training.loggers"
    assert difference(LIBRARIES, use) == []


def test_changes_are_seen() -> None:
    for change, name in (
        ("os.environ['X'] = 'y'", "environment"),
        ("gc.disable()", "collection"),
        ("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "signals"),
        ("warnings.simplefilter('ignore')", "warnings"),
        ("random.random()", "seeds"),
        ("ctypes.CDLL(None).mallopt", "allocator"),
    ):
        assert difference("", change) == [name]
