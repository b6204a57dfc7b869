"""qcore eval and calibrate against llama-perplexity and llama-imatrix on one F16 file, in turn: tokens a second, CPU seconds.

    pip install numpy
    QCORE=build/bin/qcore python3 tests/bench/forward_against_llama.py TOOLS [--model F16.gguf] [--pairs N] [--threads 1 2]

TOOLS is the folder of llama.cpp's programs. Without --model, one of 187 M weights is made in $TMPDIR (0.8 GB). Whole
programs are timed, opening the file included; the ratio is that of tokens a second (qcore's : llama.cpp's), pair by pair.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

TEXTS = pathlib.Path(__file__).resolve().parents[1] / "models" / "tale-eval"


def commands(program, model, scratch, threads, options):
    """By job: what qcore and what llama.cpp is called with, for the same windows of the same text."""
    ours = ["--context", options.context, "--tokens", options.windows * options.context, "--threads", threads, "-q"]
    theirs = ["-m", model, "-c", options.context, "--chunks", options.windows, "-t", threads]
    evaluation, calibration = TEXTS / "eval.txt", TEXTS / "calibration.txt"
    return {
        "eval": ([program, "eval", model, "--text", evaluation, *ours],
                 [options.tools / "llama-perplexity", "-f", evaluation, *theirs]),
        "calibrate": ([program, "calibrate", model, "--text", calibration, "--imatrix", scratch / "ours.gguf", *ours],
                      [options.tools / "llama-imatrix", "-f", calibration, "-o", scratch / "theirs.gguf", "--no-ppl", *theirs]),
    }


def measure(command, log):
    """Wall and CPU seconds, and the largest resident size in MiB."""
    environment = dict(os.environ, LD_LIBRARY_PATH=str(pathlib.Path(command[0]).parent))
    with open(log, "w") as said:
        began = time.monotonic()
        process = subprocess.Popen([str(word) for word in command], stdout=said, stderr=subprocess.STDOUT, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
    if status:
        sys.exit(f"{command[0]} ended with status {os.waitstatus_to_exitcode(status)}\n{log.read_text()[-2000:]}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def compare(job, pair, options, log):
    times = []
    for _ in range(options.pairs):
        (log.parent / "ours.gguf").unlink(missing_ok=True)
        times.append([measure(command, log) for command in pair])
    tokens = options.windows * options.context
    middle = [[statistics.median(run[who][what] for run in times) for what in range(3)] for who in (0, 1)]
    ratio, cpu_ratio = (statistics.median(theirs[what] / ours[what] for ours, theirs in times) for what in (0, 1))
    (wall, cpu, resident), (their_wall, their_cpu, their_resident) = middle
    return (f"{job:10} {tokens / wall:9.0f} {tokens / their_wall:10.0f} {ratio:7.2f} {cpu:9.1f} {their_cpu:10.1f} {cpu_ratio:7.2f}"
            f" {resident:9.0f} {their_resident:10.0f}")


def make_model(scratch):
    import big_model
    import qcore

    big_model.write(scratch / "folder", hidden=1024, feed_forward=2816, layers=12)
    return qcore.convert(scratch / "folder", scratch / "model.gguf", "F16", scratch / "recipe.yaml")


def main():
    import qcore

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tools", type=pathlib.Path)
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--windows", type=int, default=16, help="of text (16)")
    parser.add_argument("--context", type=int, default=512, help="tokens of a window (512)")
    parser.add_argument("--jobs", nargs="+", default=["eval", "calibrate"])
    options = parser.parse_args()
    options.tools = options.tools.absolute()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        model = options.model or make_model(scratch)
        print(f"{'':18} {'tokens a second':>20} {'':7} {'CPU seconds':>20} {'':7} {'resident MiB':>20}")
        print(f"threads {'job':10} {'qcore':>9} {'llama.cpp':>10} {'ratio':>7} {'qcore':>9} {'llama.cpp':>10} {'ratio':>7}"
              f" {'qcore':>9} {'llama.cpp':>10}   medians of {options.pairs} pairs")
        for threads in options.threads:
            pairs = commands(qcore.PROGRAM, model, scratch, threads, options)
            for job in options.jobs:
                print(f"{threads:7} {compare(job, pairs[job], options, scratch / 'log')}", flush=True)


if __name__ == "__main__":
    main()
