"""How fast whole runs are, and how much memory they take, on a model of 750 MB.

    QCORE=build/bin/qcore python3 tests/bench/pipeline_bench.py [PRESET...]

Prints one line a preset. Needs numpy and 1.5 GB of disk under $TMPDIR.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import big_model
import qcore

PRESETS = ["F16", "Q8_0", "Q4_0", "Q4_K_M", "Q2_K"]


def measure(recipe):
    """The run's summary, and its largest resident size in bytes."""
    process = subprocess.Popen([str(qcore.PROGRAM), "-c", str(recipe), "--json", "--quiet"], stdout=subprocess.PIPE)
    summary = json.load(process.stdout)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"qcore ended with status {os.waitstatus_to_exitcode(status)}")
    return summary, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main():
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        big_model.write(scratch / "model")
        print(f"{'preset':8} {'seconds':>8} {'MB/s':>8} {'resident MiB':>13} {'bits':>7} {'squared error':>14}")
        for preset in sys.argv[1:] or PRESETS:
            recipe = qcore.write_recipe(scratch / "recipe.yaml", scratch / "model", scratch / "out.gguf", preset)
            summary, resident = measure(recipe)
            (scratch / "out.gguf").unlink()
            print(f"{preset:8} {summary['seconds']:8.2f} {summary['megabytes_per_second']:8.1f} {resident / 2**20:13.0f} "
                  f"{summary['bits_per_weight_after']:7.3f} {summary['relative_squared_error']:14.3e}")


if __name__ == "__main__":
    main()
