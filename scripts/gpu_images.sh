#!/usr/bin/env bash
# What a GPU gives in 12 minutes: the speed of sampling compared with the bare gradient and with matrix products, then a
# wide net on CIFAR-10, its grid of samples and its distances. The same command continues where it was stopped.
#
#   ANILA_DATA=FOLDER scripts/gpu_images.sh             # figures and pictures in $OUT, or in runs/gpu
#   LENGTH=toy scripts/gpu_images.sh                    # a few seconds of everything, on any processor
#
# PYTHON names the interpreter, DATA the images (cifar10, or a path), WORK the folder of checkpoints.
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
WORK=${WORK:-runs/gpu}
OUT=${OUT:-$WORK}
DATA=${DATA:-cifar10}
toy= count= length=(training.minutes=6)
if [ "${LENGTH:-full}" = toy ]; then
    toy=--toy count="--count 32"
    length=(training.minutes=0.2 "network.widths=[8,16,16]" training.batch=8)
fi
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

within() { # seconds at most, command
    timeout --signal=TERM "$((patience * $1))" "${@:2}"
}

echo "== speed"
within 180 "$PYTHON" benchmarks/gpu_speed.py --out "$OUT" $toy || echo "speed was not finished; the rest goes on"
echo "== train"
status=0
within 480 "$PYTHON" -m anila train cifar10 data.name="$DATA" "${length[@]}" --run "$WORK/cifar10" || status=$?
if [ "$status" = 124 ]; then
    echo "training is not finished: the same command goes on"
    exit 0
fi
[ "$status" = 0 ] || exit "$status"
echo "== draw"
within 120 "$PYTHON" benchmarks/image_models.py "$WORK/cifar10" --set cifar10 --data "$DATA" --out "$OUT" $count
