#!/usr/bin/env bash
# datasets 5.2.0 with pyarrow 26.0.1 (Python 3.11)
#
# Guess: a column of JSON strings is a column of strings, and a row that does not fit is an error or changes that row.
#
# Seen: (1) A column in which every string is an ISO date becomes a column of timestamps, and a date comes back as a
# datetime; a translation pair such as "3 May 1979" and "1979-05-03" keeps one side as text and loses the other.
# (2) Files are read in blocks of 10 MiB. One number among the strings of a later block changes all rows of that block,
# not its own: each string of the column is then its JSON source, with quotation marks and \u escapes. No error, no
# warning; the feature is still `string`.
#
# Output seen:
#   {'human': Value('string'), 'machine': Value('timestamp[s]')} datetime.datetime(1979, 5, 3, 0, 0)
#   83607 of 200000 rows, from 116392 to 199999: "phrase num\u00e9ro 199999"
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0 pyarrow==26.0.1
cd "$folder"
HF_HOME="$folder/hub" venv/bin/python - <<'PYTHON'
import json

import datasets

datasets.disable_progress_bars()


def read(rows):
    with open("rows.jsonl", "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return datasets.load_dataset("json", data_files="rows.jsonl", split="train")


dates = read([{"human": "3 May 1979", "machine": "1979-05-03"}, {"human": "5 May 2009", "machine": "2009-05-05"}])
print(dates.features, repr(dates[0]["machine"]))
assert dates.features["machine"].dtype == "timestamp[s]"

rows = [{"en": f"sentence number {i} of a table", "fr": f"phrase numéro {i} d'un tableau"} for i in range(200_000)]
rows[190_000]["fr"] = 5
table = read(rows)
changed = [i for i, side in enumerate(table["fr"]) if side.startswith('"')]
print(f"{len(changed)} of {len(table)} rows, from {changed[0]} to {changed[-1]}: {table[199_999]['fr'][:26]}\"")
assert len(changed) > 10_000 and 190_000 not in changed and changed[-1] == 199_999
assert table.features["fr"].dtype == "string"
PYTHON
