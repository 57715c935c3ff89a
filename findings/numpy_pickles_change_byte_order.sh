#!/usr/bin/env bash
# numpy 2.4.6: whether an array keeps its byte order through pickle depends on its gaps.
#
# Guess: what comes out of a pickle has the dtype of what went in, big-endian or not.
#
# Seen: it does for arrays without gaps, which protocol 5 takes as buffers.  An array with gaps,
# and one of dates, is copied into the pickle, and comes out in the byte order of the machine.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6
"$place/venv/bin/python" - <<'PROGRAM' | tee "$place/seen"
import pickle

import numpy as np

for name, array in {
    "without gaps": np.arange(6).astype(">i4"),
    "with gaps": np.arange(6).astype(">i4")[::2],
    "of dates": np.arange(6).astype(">M8[s]"),
}.items():
    found = pickle.loads(pickle.dumps(array, 5))
    print(f"{name}: {array.dtype.byteorder} becomes {found.dtype.str[0]},", (found == array).all())
PROGRAM
diff - "$place/seen" <<'SEEN'
without gaps: > becomes >, True
with gaps: > becomes <, True
of dates: > becomes <, True
SEEN
echo "as described"
