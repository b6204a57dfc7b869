"""Method by encoding: what each loses on the model in the tree (KL divergence ± standard error), and what it costs.

    QCORE=build/bin/qcore python3 tests/bench/methods_bench.py --tools DIR [--cases NAME,…] [--presets NAME,…] [options]

DIR has llama-imatrix, llama-quantize and llama-perplexity. They make the rows that qcore is compared with, from the same
calibration text, and judge all files, ours too; `qcore eval` then gives its own figure beside theirs. Presets that no GGUF
file can hold become checkpoints, which are decoded to F32 (by qcore) for llama-perplexity.

Python alone is needed. The whole table takes about an hour on one core; --tokens N takes only the head of each text.
"""

import argparse
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import qcore

MODEL = qcore.ROOT / "tests/models/tale"
TEXTS = qcore.ROOT / "tests/models/tale-eval"
PRESETS = ["Q4_K_M", "Q3_K_S", "Q4_0", "IQ4_NL", "Q2_K"]
CHECKPOINTS = {"W4A16": "int4_g128", "W3A16": "int3_g128"}  # presets that no GGUF file can hold, and what llama.cpp cannot do
LLAMA = "llama.cpp imatrix"  # what the last column compares with
CASES = {
    "rtn": ["rtn"],
    "imatrix": ["imatrix"],
    "equalize, imatrix": ["equalize", "imatrix"],
    "gptq": ["gptq"],
    "equalize, gptq": ["equalize", "gptq"],
    "awq": ["awq"],
    "awq, gptq": ["awq", "gptq"],
    "equalize, gptq, by block": ["equalize", "gptq"],
    "equalize, gptq, by linear": ["equalize", "gptq"],
}
SEQUENTIAL = {"by block": "block", "by linear": "linear"}


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tools", type=pathlib.Path, required=True, help="folder of llama-perplexity and its like")
    parser.add_argument("--presets", default=",".join(PRESETS))
    parser.add_argument("--cases", default="|".join(CASES), help=f"separated by |, of: {' | '.join(CASES)}")
    parser.add_argument("--texts", default=f"{TEXTS / 'eval.txt'},{TEXTS / 'other.txt'}", help="what to judge on")
    parser.add_argument("--calibration", default=str(TEXTS / "calibration.txt"), help="files, separated by commas")
    parser.add_argument("--tokens", type=int, default=0, help="of each text at most, in windows of 512")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for every run of qcore's")
    parser.add_argument("--no-peer", action="store_true", help="without llama.cpp's own quantizer")
    parser.add_argument("--no-own-eval", action="store_true", help="without qcore eval")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=pathlib.Path, help="write all figures there too")
    return parser.parse_args()


def chunks(tokens):
    return ["--chunks", str(tokens // 512)] if tokens else []


def timed(command, env=None):
    """The output of a command that must succeed, its wall and its CPU seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, errors="replace", env=env)
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(str(part) for part in command)}\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
    return done.stdout, done.stderr, wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Bench:
    def __init__(self, chosen, scratch):
        self.chosen, self.scratch = chosen, scratch
        self.texts = {pathlib.Path(text).stem: text for text in chosen.texts.split(",")}
        self.calibration = chosen.calibration.split(",")
        self.env = dict(os.environ, LD_LIBRARY_PATH=f"{chosen.tools}:{os.environ.get('LD_LIBRARY_PATH', '')}")
        self.original = scratch / "F16.gguf"

    def tool(self, name, *arguments):
        return timed([self.chosen.tools / name, *arguments], self.env)

    def perplexity(self, model, text, *arguments):
        stdout, stderr, *_ = self.tool("llama-perplexity", "-m", model, "-f", self.texts[text], "-c", 512, "-t", self.chosen.threads,
                                       *chunks(self.chosen.tokens), *arguments)
        return stdout + stderr

    def prepare(self):
        """The original as GGUF, its logits, and llama.cpp's importance matrix."""
        qcore.convert(MODEL, self.original, "F16", self.scratch / "F16.yaml")
        for text in self.texts:
            self.perplexity(self.original, text, "--save-all-logits", self.scratch / f"{text}.kld")
        if self.chosen.no_peer:
            return
        joined = self.scratch / "calibration.txt"
        joined.write_bytes(b"\n".join(pathlib.Path(name).read_bytes() for name in self.calibration))
        *_, self.imatrix_cpu = self.tool("llama-imatrix", "-m", self.original, "-f", joined, "--process-output", "--no-ppl", "-t",
                                         self.chosen.threads, "-o", self.scratch / "imatrix.gguf")

    def divergence(self, model, text):
        """What llama-perplexity found. On a busy machine it may end before all its lines are out: then it runs again."""
        for _ in range(30):
            printed = self.perplexity(model, text, "--kl-divergence", "--kl-divergence-base", self.scratch / f"{text}.kld")
            kld, top = re.search(r"Mean\s+KLD:\s*(\S+) ±\s*(\S+)", printed), re.search(r"Same top p:\s*(\S+)", printed)
            if kld and top:
                return kld, top
        raise SystemExit(f"llama-perplexity says no divergence:\n{printed[-1500:]}")

    def judge(self, row, model, decoded=None):
        """KLD of every text, by llama-perplexity and by us."""
        for text in self.texts:
            kld, top = self.divergence(decoded or model, text)
            row["kld"][text] = [float(kld.group(1)), float(kld.group(2))]
            row["same_top"][text] = float(top.group(1))
            if not self.chosen.no_own_eval:
                row["own_kld"][text] = self.own(model, text)

    def own(self, model, text):
        limit = ["--tokens", self.chosen.tokens] if self.chosen.tokens else []
        stdout, *_ = timed([qcore.PROGRAM, "eval", model, "--reference", MODEL, "--text", self.texts[text], "--json", "-q",
                            "--threads", self.chosen.threads, *limit])
        mean = json.loads(stdout)["metrics"]["kld"]["mean"]
        return [mean["value"], mean["error"]]

    def row(self, preset, case, size, wall, cpu):
        return {"preset": preset, "case": case, "bytes": size, "seconds": wall, "cpu_seconds": cpu, "kld": {}, "same_top": {},
                "own_kld": {}}

    def peer(self, preset):
        output = self.scratch / "peer.gguf"
        _, _, wall, cpu = self.tool("llama-quantize", "--imatrix", self.scratch / "imatrix.gguf", self.original, output, preset,
                                    self.chosen.threads)
        row = self.row(preset, LLAMA, output.stat().st_size, wall, cpu + self.imatrix_cpu)
        self.judge(row, output)
        return row

    def recipe(self, preset, case, output):
        calibration = {"text": self.calibration}
        ending = case.rsplit(", ", 1)[-1]
        if ending in SEQUENTIAL:
            calibration["sequential"] = SEQUENTIAL[ending]
        sections = {} if CASES[case] == ["rtn"] else {"calibration": calibration}
        section = {"path": str(output), "overwrite": True}
        if preset in CHECKPOINTS:
            section["format"] = "compressed-tensors"
        path = qcore.write_recipe(self.scratch / "recipe.yaml", MODEL, section, preset, run={"threads": self.chosen.threads}, **sections)
        made = json.loads(path.read_text())
        made["quantize"]["methods"] = CASES[case]
        path.write_text(json.dumps(made, indent=2))
        return path

    def run(self, preset, case):
        checkpoint = preset in CHECKPOINTS
        output = self.scratch / (f"{preset}-{len(CASES[case])}-{time.monotonic_ns()}" if checkpoint else "ours.gguf")
        sets = [part for one in self.chosen.set for part in ("--set", one)]
        _, _, wall, cpu = timed([qcore.PROGRAM, "-c", self.recipe(preset, case, output), "-q", *sets])
        decoded = None
        if checkpoint:
            section = {"path": str(self.scratch / "decoded.gguf"), "overwrite": True}
            decode = qcore.write_recipe(self.scratch / "decode.yaml", output, section, "F16", quantize={"encoding": "f32"})
            timed([qcore.PROGRAM, "-q", "-c", decode])
            decoded = section["path"]
        size = sum(f.stat().st_size for f in output.glob("*.safetensors")) if checkpoint else output.stat().st_size
        row = self.row(preset, case, size, wall, cpu)
        self.judge(row, output, decoded)
        return row


def show(row, texts, base):
    """A line of the table; what is saved is against llama.cpp, or rtn where llama.cpp has no such encoding."""
    cells = [row["preset"], row["case"]]
    for text in texts:
        value, error = row["kld"][text]
        saved = f" ({100 * (value / base['kld'][text][0] - 1):+.0f} %)" if base and base is not row else ""
        own = f" / {row['own_kld'][text][0]:.5f}" if text in row["own_kld"] else ""
        cells += [f"{value:.5f} ± {error:.5f}{own}{saved}", f"{row['same_top'][text]:.1f} %"]
    print("| " + " | ".join(cells + [f"{row['bytes'] / 2**20:.2f}", f"{row['seconds']:.0f}", f"{row['cpu_seconds']:.0f}"]) + " |", flush=True)


def main():
    chosen = options()
    with tempfile.TemporaryDirectory() as scratch:
        bench, rows = Bench(chosen, pathlib.Path(scratch)), []
        bench.prepare()
        heads = [head for text in bench.texts for head in (f"KLD on {text}" + ("" if chosen.no_own_eval else " / by qcore eval"), "same top")]
        columns = ["preset", "method", *heads, "MiB", "seconds", "CPU s"]
        print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
        for preset in chosen.presets.split(","):
            base = None
            cases = chosen.cases.split("|")
            if not chosen.no_peer and preset not in CHECKPOINTS:
                cases = [LLAMA, *cases]
            for case in cases:
                row = bench.peer(preset) if case == LLAMA else bench.run(preset, case)
                base = base or row
                rows.append(row)
                show(row, bench.texts, base)
                if chosen.json:
                    chosen.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
