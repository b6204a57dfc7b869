"""The same recipe and input give the same bytes: for any number of threads, any memory, any CPU level.

    QCORE=build/bin/qcore python3 tests/integration/determinism_test.py
"""

import hashlib
import pathlib
import sys
import tempfile
import unittest

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "fixtures")]

import big_model
import make_random_models
import qcore

PRESETS = ["Q8_0", "Q4_K_M", "Q2_K", "Q5_0"]
LEVELS = ["generic", "x86-v2", "x86-v3", "x86-v4", "neon"]


class DeterminismTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.scratch = pathlib.Path(cls.folder.name)
        make_random_models.write_model("llama", cls.scratch / "llama")
        big_model.write(cls.scratch / "wide", hidden=512, feed_forward=1536, layers=2, vocabulary=2000)

    def digest(self, model, preset, *arguments, **sections):
        output = self.scratch / "out.gguf"
        recipe = qcore.write_recipe(self.scratch / "recipe.yaml", self.scratch / model, output, preset, **sections)
        process = qcore.run("-c", recipe, "-q", *arguments)
        self.assertEqual(process.returncode, 0, process.stderr)
        digest = hashlib.sha256(output.read_bytes()).hexdigest()
        output.unlink()
        return digest

    def test_threads_and_memory(self):
        for model in "llama", "wide":
            for preset in PRESETS:
                wanted = self.digest(model, preset, "--threads", 1)
                for threads, memory in (2, "1GiB"), (7, "1GiB"), (3, "24MiB"):
                    with self.subTest(model=model, preset=preset, threads=threads, memory=memory):
                        got = self.digest(model, preset, "--threads", threads, run={"memory": memory})
                        self.assertEqual(got, wanted)

    def test_levels(self):
        for preset in PRESETS:
            wanted = self.digest("wide", preset, "--cpu-mask", "generic")
            for level in LEVELS[1:]:
                with self.subTest(preset=preset, level=level):
                    self.assertEqual(self.digest("wide", preset, "--cpu-mask", level), wanted)

    def test_twice(self):
        self.assertEqual(self.digest("llama", "Q4_K_M"), self.digest("llama", "Q4_K_M"))


if __name__ == "__main__":
    unittest.main()
