"""Files of packages on PyPI that ship weights: downloaded once, kept as data, and never imported or installed."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from filelock import FileLock

FOLDER = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "seqmodels-tests"
HASHES = {
    "g2p-en==2.1.0": "2a7aabf1fc7f270fcc3349881407988c9245173c2413debbe5432f4a4f31319f",
    "textgenrnn==2.0.0": "c2b6f1c201c76d5a6021079e95a8db499bbe15d9f3448d33cb51c0cd496c86f8",
}


def package(requirement: str) -> Path:
    """A folder with the files of a package; the test is skipped where the registry does not give it."""
    folder = FOLDER / requirement.replace("==", "-")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "done").exists():
            folder.mkdir(exist_ok=True)
            (folder / "requirements.txt").write_text(f"{requirement} --hash=sha256:{HASHES[requirement]}\n")
            words = ["download", "-q", "--no-deps", "--require-hashes", "-r", "requirements.txt"]
            try:
                subprocess.run([sys.executable, "-m", "pip", *words], cwd=folder, check=True, timeout=60)
            except (subprocess.SubprocessError, OSError) as error:
                pytest.skip(f"pip could not download {requirement}: {error!r:.200}")
            for file in folder.glob("*.whl"):
                zipfile.ZipFile(file).extractall(folder)
            for file in folder.glob("*.tar.gz"):
                with tarfile.open(file) as opened:
                    opened.extractall(folder, filter="data")
            (folder / "done").touch()
    return folder
