#!/usr/bin/env bash
# What a GPU is for, within 12 minutes: the speed of sampling beside the bare gradient and matrix products, then CIFAR-10
# at width, its grid and its distances. The same command goes on where it was stopped.
#
#   ANILA_DATA=FOLDER scripts/gpu_images.sh             # figures and pictures in $OUT, or in runs/gpu
#   LENGTH=toy scripts/gpu_images.sh                    # seconds of everything, on any processor
#
# PYTHON names the interpreter, DATA the images (cifar10, or a path), WORK the folder of checkpoints.
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
WORK=${WORK:-runs/gpu}
OUT=${OUT:-$WORK}
toy=$([ "${LENGTH:-full}" = toy ] && echo --toy || true)
patience=${toy:+4}   # compiling on a processor takes long
patience=${patience:-1}
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}"

if ! "$PYTHON" -c "import torch" 2>/dev/null; then
    echo "$PYTHON has no torch: make the environment first (make demo), or name another interpreter by PYTHON=…" >&2
    exit 2
fi
if [ -z "$toy" ] && ! "$PYTHON" -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; then
    echo "torch finds no GPU here. LENGTH=toy $0 tries the script on the processor." >&2
    exit 2
fi

part() { # name, seconds at most
    echo "== $1"
    timeout "$((patience * $2))" "$PYTHON" benchmarks/gpu_images.py "$1" --out "$OUT" --work "$WORK" --data "${DATA:-cifar10}" $toy
}

part speed 180 || echo "speed was not finished; the rest goes on"
status=0
part train 450 || status=$?
if [ "$status" = 124 ]; then
    echo "training is not finished: the same command goes on"
    exit 0
fi
[ "$status" = 0 ] || exit "$status"
part draw 90
