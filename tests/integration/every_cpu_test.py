"""The same recipe gives the same bytes on every CPU: the model in the tree in every preset, calibrated runs, an evaluation.

    QCORE=build/bin/qcore python3 tests/integration/every_cpu_test.py

QCORE_EMULATED names a command that runs the program as built for another family of machines; what it writes has to be the
same, too:

    QCORE_EMULATED="qemu-aarch64-static -L build-aarch64/sysroot build-aarch64/bin/qcore"
"""

import functools
import hashlib
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "support"))

import qcore
import short_model

WHOLE = TESTS / "models" / "tale"
TEXT = TESTS / "models" / "tale-eval" / "calibration.txt"
EVALUATION = TESTS / "models" / "tale-eval" / "eval.txt"
LEVELS = ["x86-v3", "x86-v4", "neon"]  # beside generic; one that this machine lacks is as good as none
EMULATED = shlex.split(os.environ.get("QCORE_EMULATED", ""))

PRESETS = sorted(path.stem for path in (TESTS.parent / "configs" / "presets").glob("*.yaml"))
CHECKPOINTS = {
    "W4A16_ASYM": "awq",
    "W3A16": "gptq",
    "W8A8": {"compressed-tensors": {"layout": "int-quantized"}},
}
CALIBRATED = {
    "importance": {"preset": "Q2_K", "methods": ["imatrix"]},
    "error correction": {"preset": "Q4_0", "methods": ["equalize", "gptq"]},
    "factors": {"preset": "Q3_K_S", "methods": ["awq"]},
}


def digest(path):
    """Of a file, or of all files of a folder with their names."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.relative_to(path)}\0".encode() + file.read_bytes())
    return total.hexdigest()


def remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class EveryCpu(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.scratch = pathlib.Path(cls.folder.name)
        cls.short = short_model.write(WHOLE, cls.scratch / "short", 1)
        calibrate = ["calibrate", WHOLE, "--text", TEXT, "--tokens", 512, "-q", "--imatrix", cls.scratch / "imatrix.gguf"]
        cls.call([qcore.PROGRAM], *calibrate)

    @staticmethod
    def call(program, *arguments):
        done = subprocess.run([*map(str, program), *map(str, arguments)], capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            raise AssertionError(f"{program} ended with status {done.returncode}: {done.stderr}")
        return done.stdout

    def run_recipe(self, program, model, output, options, **sections):
        remove(output["path"])
        recipe = qcore.write_recipe(self.scratch / "recipe.yaml", model, {**output, "path": str(output["path"])}, **sections)
        self.call(program, "-c", recipe, "-q", *options)
        return digest(output["path"])

    def preset(self, preset, program, *options):
        if preset.startswith("W"):
            output = {"path": self.scratch / "out", "format": CHECKPOINTS.get(preset, "compressed-tensors")}
        else:
            output = {"path": self.scratch / "out.gguf"}
        sections = {"calibration": {"imatrix": str(self.scratch / "imatrix.gguf")}} if preset == "Q2_K_S" else {}
        return self.run_recipe(program, WHOLE, output, options, preset=preset, **sections)

    def calibrated(self, name, program, *options):
        sections = {"calibration": {"text": str(TEXT), "tokens": 128, "context": 128}, "quantize": CALIBRATED[name]}
        return self.run_recipe(program, self.short, {"path": self.scratch / "out.gguf"}, options, **sections)

    def evaluation(self, program, *options):
        """What `qcore eval` says of a file that this machine wrote, as text."""
        file = self.scratch / "evaluated.gguf"
        if not file.exists():
            qcore.convert(self.short, file, "Q4_K_M", self.scratch / "recipe.yaml")
        return self.call(program, "eval", file, "--reference", self.short, "--text", EVALUATION, "--tokens", 256,
                         "--context", 128, "--layers", "--json", "-q", *options)

    def cases(self):
        """(name, function of a program and its options) of everything that is compared."""
        yield from ((name, functools.partial(self.preset, name)) for name in PRESETS)
        yield from ((name, functools.partial(self.calibrated, name)) for name in CALIBRATED)
        yield "evaluation", self.evaluation

    def test_levels(self):
        for name, result in self.cases():
            wanted = result([qcore.PROGRAM], "--cpu-mask", "generic")
            for level in LEVELS:
                with self.subTest(name, level=level):
                    self.assertEqual(result([qcore.PROGRAM], "--cpu-mask", level), wanted)

    @unittest.skipUnless(EMULATED, "QCORE_EMULATED is not set")
    def test_another_family(self):
        for name, result in self.cases():
            with self.subTest(name):
                self.assertEqual(result(EMULATED), result([qcore.PROGRAM]))


if __name__ == "__main__":
    unittest.main()
