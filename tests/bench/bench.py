"""What qcore costs: every encoding on one core, and whole runs; or whole runs beside any other program's.

    python3 tests/bench/bench.py [--csv FILE]
    python3 tests/bench/bench.py --against 'llama-quantize --pure {input} {output} Q4_K_S {threads}' -s quantize.encoding=q4_k

The first prints a table of encodings (build/tests/bench/encode_bench: rates a core, error) and one of runs (CPU and wall
seconds with one thread and with all, memory, error). The second runs qcore and the other command in turn on the same F16
file of 750 MB and prints the medians of CPU seconds, user and system, and their ratio pair by pair; {input}, {output} and
{threads} are filled in. Whatever -s says goes to qcore. Needs numpy, and 2.5 GB of disk under $TMPDIR; --model takes a
model of your own. Figures depend on the machine and on what else it does: CPU seconds less than wall seconds.
"""

import argparse
import csv
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import big_model
import qcore

ROOT = pathlib.Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "tests/fixtures/reference/encode_error.csv"
ENCODINGS = ["f16", "bf16", "q8_0", "q4_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "int4_g128"]
FORMATS = {"int4_g128": "compressed-tensors"}
COLUMNS = ["threads", "cpu_s", "user_s", "system_s", "wall_s", "resident_mib", "bits", "error"]


def measure(command, environment=None):
    """CPU, user, system and wall seconds, resident MiB, and what it printed."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if status:
        raise SystemExit(f"{shlex.join(map(str, command))} ended with status {os.waitstatus_to_exitcode(status)}")
    resident = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return {"cpu_s": usage.ru_utime + usage.ru_stime, "user_s": usage.ru_utime, "system_s": usage.ru_stime, "wall_s": wall,
            "resident_mib": resident}, printed


def our_command(source, output, threads, sets):
    command = [qcore.PROGRAM, "--quiet", "--json", "--threads", str(threads)]
    for item in [f"model.path={source}", f"output.path={output}", "output.overwrite=true", *sets]:
        command += ["--set", item]
    return command


def f16_file(folder, model):
    """An F16 GGUF: the model's own, or of a made-up one."""
    if model and model.endswith(".gguf"):
        return pathlib.Path(model)
    folder_of_model = pathlib.Path(model) if model else folder / "model"
    if not model:
        big_model.write(folder_of_model)
    subprocess.run(our_command(folder_of_model, folder / "f16.gguf", 1, ["quantize.preset=F16"]), check=True,
                   stdout=subprocess.DEVNULL)
    return folder / "f16.gguf"


def remove(path):
    for part in path.rglob("*") if path.is_dir() else []:
        part.unlink()
    path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)


def bench_encodings(build, csv_path):
    command = [build / "tests/bench/encode_bench", "--csv", csv_path]
    if REFERENCE.exists():
        command += ["--reference", REFERENCE]
    environment = {**os.environ, "QC_PLUGIN_DIR": str(build / "lib/qcore/plugins")}
    if subprocess.run(list(map(str, command)), env=environment).returncode:
        raise SystemExit("encode_bench failed")


def bench_runs(source, scratch, arguments, write):
    print(f"\nwhole runs, {source.stat().st_size / 1e6:.0f} MB of F16, medians of {arguments.pairs}\n{'encoding':12}", end="")
    print(*(f"{name:>12}" for name in COLUMNS), sep="")
    threads = sorted({1, arguments.threads})
    for encoding in arguments.encodings:
        output = scratch / ("out" if encoding in FORMATS else "out.gguf")
        sets = ["quantize.methods=[rtn]", f"quantize.encoding={encoding}", *arguments.sets]
        sets += [f"output.format={FORMATS[encoding]}"] if encoding in FORMATS else []
        for n in threads:
            runs = [measure(our_command(source, output, n, sets)) for _ in range(arguments.pairs)]
            row = {name: statistics.median(run[0][name] for run in runs) for name in runs[0][0]}
            summary = json.loads(runs[-1][1])
            row.update(threads=n, bits=summary["bits_per_weight_after"], error=summary["relative_squared_error"])
            remove(output)
            print(f"{encoding:12}", *(f"{row[name]:12.4g}" for name in COLUMNS), sep="", flush=True)
            write({"encoding": encoding, **row})


def bench_against(source, scratch, arguments, write):
    ours, theirs = scratch / "ours.gguf", scratch / "theirs.gguf"
    values = {"input": str(source), "output": str(theirs), "threads": str(arguments.threads)}
    other = [part.format(**values) for part in shlex.split(arguments.against)]
    command = our_command(source, ours, arguments.threads, arguments.sets)
    pairs = []
    for i in range(arguments.pairs):
        pair = measure(command)[0], measure(other)[0]
        pairs.append(pair)
        print(f"pair {i + 1}: qcore {pair[0]['cpu_s']:.2f} CPU s, {pair[0]['wall_s']:.2f} s; other {pair[1]['cpu_s']:.2f} "
              f"CPU s, {pair[1]['wall_s']:.2f} s", flush=True)
        write({"pair": i + 1, **{f"qcore_{k}": v for k, v in pair[0].items()}, **{f"other_{k}": v for k, v in pair[1].items()}})
    if ours.is_file() and theirs.is_file():
        print(f"bytes: {ours.stat().st_size} and {theirs.stat().st_size}")
    for name, word in ("cpu_s", "CPU seconds"), ("wall_s", "wall seconds"), ("resident_mib", "resident MiB"):
        mine, other_one = (statistics.median(pair[i][name] for pair in pairs) for i in (0, 1))
        ratio = statistics.median(pair[1][name] / pair[0][name] for pair in pairs)
        print(f"{word:14} qcore {mine:9.2f}  other {other_one:9.2f}  ratio {ratio:6.2f}")


def csv_writer(path):
    """A function that appends a row; the first row's names are the head."""
    if not path:
        return lambda row: None
    file = open(path, "w", newline="")
    writers = []

    def write(row):
        if not writers:
            writers.append(csv.DictWriter(file, row.keys()))
            writers[0].writeheader()
        writers[0].writerow(row)
        file.flush()
    return write


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", metavar="COMMAND", help="another program, with {input}, {output} and {threads}")
    parser.add_argument("-s", "--set", dest="sets", action="append", default=[], metavar="KEY=VALUE", help="for qcore's recipe")
    parser.add_argument("--pairs", type=int, default=3, help="runs of each (3)")
    parser.add_argument("--threads", type=int, help="beside one (all cores); with --against: of both programs (1)")
    parser.add_argument("--encodings", nargs="*", default=ENCODINGS, metavar="ID", help="of whole runs; none: kernels alone")
    parser.add_argument("--model", help="a folder or an F16 GGUF, not a made-up one")
    parser.add_argument("--build", type=pathlib.Path, default=qcore.PROGRAM.parents[1], help="where encode_bench was built")
    parser.add_argument("--csv", metavar="FILE", help="runs go there, kernels to FILE-kernels.csv beside it")
    arguments = parser.parse_args()
    arguments.threads = arguments.threads or (1 if arguments.against else os.cpu_count())
    write = csv_writer(arguments.csv)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        if not arguments.against:
            named = pathlib.Path(arguments.csv) if arguments.csv else scratch / "bench.csv"
            bench_encodings(arguments.build, named.with_name(named.stem + "-kernels.csv"))
        if arguments.against or arguments.encodings:
            source = f16_file(scratch, arguments.model)
            (bench_against if arguments.against else bench_runs)(source, scratch, arguments, write)


if __name__ == "__main__":
    main()
