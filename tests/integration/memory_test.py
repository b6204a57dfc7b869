"""Memory stays bounded by run.memory, whatever the model's size.

    QCORE=build/bin/qcore python3 tests/integration/memory_test.py

Needs numpy and 1.3 GB of disk under $TMPDIR.
"""

import os
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import big_model
import qcore

MOST = 200 << 20  # resident bytes


def run_and_measure(arguments):
    """Exit status and the largest resident size in bytes."""
    pid = os.posix_spawn(str(qcore.PROGRAM), [str(qcore.PROGRAM), *map(str, arguments)], os.environ)
    _, status, usage = os.wait4(pid, 0)
    unit = 1 if sys.platform == "darwin" else 1024
    return os.waitstatus_to_exitcode(status), usage.ru_maxrss * unit


class MemoryTest(unittest.TestCase):
    @unittest.skipIf(os.environ.get("QCORE_SANITIZE"), "sanitizers need memory of their own")
    def test_a_model_much_larger_than_memory(self):
        with tempfile.TemporaryDirectory() as scratch:
            scratch = pathlib.Path(scratch)
            size = big_model.write(scratch / "model")
            self.assertGreater(size, 740e6)
            recipe = qcore.write_recipe(scratch / "recipe.yaml", scratch / "model", scratch / "out.gguf", "Q8_0",
                                        run={"memory": "64MiB"})
            status, resident = run_and_measure(["-c", recipe, "-q"])
            self.assertEqual(status, 0)
            self.assertGreater((scratch / "out.gguf").stat().st_size, size // 2)
            print(f"\n{size / 1e6:.0f} MB of F16 in {resident / (1 << 20):.0f} MiB resident", file=sys.stderr)
            self.assertLessEqual(resident, MOST)

    def test_too_little_is_said_before_work(self):
        with tempfile.TemporaryDirectory() as scratch:
            scratch = pathlib.Path(scratch)
            big_model.write(scratch / "model", hidden=256, feed_forward=512, layers=1, vocabulary=1024)
            recipe = qcore.write_recipe(scratch / "recipe.yaml", scratch / "model", scratch / "out.gguf", "Q8_0",
                                        run={"memory": "1MiB"})
            process = qcore.run("-c", recipe)
            self.assertEqual(process.returncode, 7, process.stderr)
            self.assertRegex(process.stderr, r"^qcore: error: .* needs \d+ MiB of memory, run\.memory allows 1 MiB")
            self.assertFalse((scratch / "out.gguf").exists())
            self.assertEqual(sorted(path.name for path in scratch.iterdir()), ["model", "recipe.yaml"])


if __name__ == "__main__":
    unittest.main()
