"""qcore eval --matmul quantized: close to the exact run of the same file, and the same figures for any threads, memory
and CPU level.

    QCORE=build/bin/qcore python3 tests/integration/matmul_quantized_test.py

Needs numpy.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import qcore

MODEL = pathlib.Path(__file__).resolve().parents[1] / "models" / "tale"
TEXT = pathlib.Path(__file__).resolve().parents[1] / "models" / "tale-eval" / "eval.txt"


def evaluate(model, *options):
    command = [qcore.PROGRAM, "eval", model, "--text", TEXT, "--tokens", 2048, "--json", "-q", *options]
    process = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=600)
    if process.returncode:
        raise AssertionError(process.stderr)
    return json.loads(process.stdout)


class QuantizedTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)

    def quantized(self, preset):
        return qcore.convert(MODEL, self.folder / f"{preset}.gguf", preset, self.folder / "recipe.yaml")

    def test_little_is_lost(self):
        for preset in ("Q4_K_M", "Q4_0", "Q3_K_S", "Q8_0"):
            with self.subTest(preset):
                model = self.quantized(preset)
                figures = evaluate(model, "--reference", model, "--matmul", "quantized")
                self.assertEqual(figures["matmul"], "quantized")
                mean = figures["metrics"]["kld"]["mean"]["value"]
                print(f"\n{preset}: mean KLD of quantized products {mean:.6f}", file=sys.stderr)
                self.assertGreater(mean, 0)
                self.assertLess(mean, 1e-3)

    def test_the_same_in_any_threads_memory_and_cpu(self):
        model = self.quantized("Q4_K_M")
        ways = (["-t", "1"], ["-t", "7"], ["--cpu-mask", "x86-v3"], ["--cpu-mask", "generic"], ["--memory", "24MiB"])
        runs = [evaluate(model, "--matmul", "quantized", *way)["metrics"] for way in ways]
        self.assertEqual([run == runs[0] for run in runs], [True] * len(ways))
        self.assertNotEqual(runs[0], evaluate(model)["metrics"])

    def test_only_evaluation_can_be_told(self):
        command = [qcore.PROGRAM, "calibrate", MODEL, "--text", TEXT, "-s", "run.matmul=quantized",
                   "--imatrix", self.folder / "x.gguf"]
        process = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=600)
        self.assertNotEqual(process.returncode, 0)
        self.assertIn("run.matmul: quantized is for evaluation", process.stderr)


if __name__ == "__main__":
    unittest.main()
