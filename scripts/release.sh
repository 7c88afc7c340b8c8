#!/usr/bin/env bash
# Build the sdist, and the wheel from it, install the wheel in a separate environment and try it as a user would.
#
#     scripts/release.sh [FOLDER]     keeps both files in FOLDER
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
there=$(mktemp -d)
trap 'rm -rf "$there"' EXIT
cd "$there"

"${PYTHON:-python3}" -m venv env
env/bin/pip install --quiet --target build hatchling
build() { PYTHONPATH=$there/build "$there/env/bin/python" -m hatchling build --directory "$there/dist" --target "$1"; }
(cd "$root" && build sdist)
tar xzf dist/anila-*.tar.gz
(cd anila-*/ && build wheel)

env/bin/pip install --quiet --no-compile --constraint "$root/constraints.txt" dist/anila-*.whl
env/bin/pip check
export OMP_NUM_THREADS=1
env/bin/anila --version
env/bin/anila presets > presets.txt
env/bin/anila train rings training.iterations=10 'network.hidden=[16]' --run runs/rings
env/bin/anila sample pretrained:mnist --count 4 --out digits.png
env/bin/anila evaluate runs/rings --count 200
env/bin/anila report runs/rings
test -s digits.png && test -s runs/rings/scores.json && test -s runs/rings/report.html && grep --quiet rings presets.txt
if [ $# -gt 0 ]; then
  mkdir -p "$root/$1"
  cp dist/* "$root/$1"
fi
echo "the wheel and the sdist work in a clean environment"
