"""Ten seeds of a plane preset, as a user would train them: seconds and exact KL(data ‖ model) of each.

python benchmarks/rings_seeds.py rings
python benchmarks/rings_seeds.py mixture
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset")
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seeds):
            run = Path(folder) / str(seed)
            command = [
                sys.executable,
                "-m",
                "anila",
                "train",
                arguments.preset,
                f"training.seed={seed}",
                "--run",
                str(run),
            ]
            began = time.perf_counter()
            subprocess.run([*command, "--json"], check=True, capture_output=True)
            seconds = time.perf_counter() - began
            last = json.loads((run / "stats.jsonl").read_text().splitlines()[-1])
            found.append(last["kl"])
            print(f"seed {seed}: KL {last['kl']:.4f} nats, {seconds:.1f} s from command to prompt", flush=True)
    print(f"worst {max(found):.4f}, mean {sum(found) / len(found):.4f}")


if __name__ == "__main__":
    main()
