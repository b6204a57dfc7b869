"""qcore and llama.cpp's quantizer on the same 750 MB F16 file, in turn: CPU seconds, and their ratio pair by pair.

    pip install numpy muthuishere-modelnexus          # the package brings libllama.so
    QCORE=build/bin/qcore python3 tests/bench/against_llama.py [PAIRS]

Both run with two threads and write to $TMPDIR (2 GB). qcore measures the error of what it wrote too; llama.cpp does not.
"""

import ctypes
import glob
import importlib.util
import os
import pathlib
import statistics
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

PRESETS = {"Q4_K_M": 15, "Q5_K_M": 17, "Q6_K": 18, "Q3_K_M": 12, "Q2_K": 10, "Q8_0": 7, "Q4_0": 2}  # llama_ftype
THREADS = 2


def llama_library():
    named = os.environ.get("LLAMA_LIBRARY")
    if named:
        return named
    package = importlib.util.find_spec("modelnexus")
    found = glob.glob(os.path.join(package.submodule_search_locations[0], "native", "*", "libllama.so")) if package else []
    if not found:
        sys.exit("no libllama.so: install muthuishere-modelnexus, or set LLAMA_LIBRARY")
    return found[0]


class Parameters(ctypes.Structure):
    """The head of llama_model_quantize_params; the rest keeps its defaults."""
    _fields_ = [("threads", ctypes.c_int32), ("file_type", ctypes.c_int32), ("rest", ctypes.c_char * 248)]


def llama_quantize(source, output, preset):
    for name in "libggml-base.so", "libggml.so":
        path = os.path.join(os.path.dirname(llama_library()), name)
        if os.path.exists(path):
            ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    llama = ctypes.CDLL(llama_library())
    llama.llama_model_quantize_default_params.restype = Parameters
    llama.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(Parameters)]
    parameters = llama.llama_model_quantize_default_params()
    parameters.threads, parameters.file_type = THREADS, PRESETS[preset]
    return llama.llama_model_quantize(os.fsencode(source), os.fsencode(output), ctypes.byref(parameters))


def cpu_seconds(work):
    """Of a child process that does the work with its output thrown away."""
    child = os.fork()
    if child == 0:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        os._exit(work() or 0)
    _, status, usage = os.wait4(child, 0)
    if status:
        sys.exit(f"a run ended with status {status}")
    return usage.ru_utime + usage.ru_stime


def main():
    import big_model
    import qcore

    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        source, ours, theirs = scratch / "model.gguf", scratch / "ours.gguf", scratch / "theirs.gguf"
        big_model.write(scratch / "model")
        qcore.convert(scratch / "model", source, "F16", scratch / "recipe.yaml")
        print(f"{'preset':8} {'qcore':>8} {'llama.cpp':>10} {'ratio':>7}   median CPU seconds of {pairs} pairs")
        for preset in PRESETS:
            recipe = qcore.write_recipe(scratch / "recipe.yaml", source, {"path": str(ours), "overwrite": True}, preset,
                                        run={"threads": THREADS})
            command = [str(qcore.PROGRAM), "-q", "-c", str(recipe)]
            times = [(cpu_seconds(lambda: os.execv(command[0], command)),
                      cpu_seconds(lambda: llama_quantize(source, theirs, preset))) for _ in range(pairs)]
            if ours.stat().st_size != theirs.stat().st_size:
                print(f"{preset}: {ours.stat().st_size} bytes against {theirs.stat().st_size}")
            mine, other = (statistics.median(pair[i] for pair in times) for i in (0, 1))
            print(f"{preset:8} {mine:8.2f} {other:10.2f} {statistics.median(b / a for a, b in times):7.2f}", flush=True)


if __name__ == "__main__":
    main()
