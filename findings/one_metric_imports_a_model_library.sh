#!/usr/bin/env bash
# torchmetrics 1.9.0, transformers 5.24.0, scipy (Python 3.11; torch 2.13.0, CPU build)
#
# Guess: `from torchmetrics import Metric` needs torch; what single metrics are built on, such as the models of BERTScore
# or the filters of audio metrics, is imported when they are used, as the package's optional dependencies suggest.
#
# Seen: wherever transformers and scipy are installed, the base class alone imports both: transformers for BERTScore, and
# scipy.signal, which is looked at so that old audio metrics go on working. Where they are not installed it works without.
#
# Output seen:
#   without them: none
#   with them: scipy.signal transformers
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
install() { "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
cd "$folder"
cat > script.py <<'PYTHON'
import sys

from torchmetrics import Metric  # noqa: F401

print(" ".join(name for name in ("scipy.signal", "transformers") if name in sys.modules) or "none")
PYTHON
install torch==2.13.0 numpy torchmetrics==1.9.0
echo "without them: $(venv/bin/python script.py)" | tee found
install transformers==5.24.0 scipy
echo "with them: $(venv/bin/python script.py)" | tee -a found
diff found - <<'TEXT'
without them: none
with them: scipy.signal transformers
TEXT
