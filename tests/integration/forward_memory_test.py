"""A model runs in one block's weights and one batch's activations, whatever its size, and says the same in any memory.

    QCORE_BUILD=build python3 tests/integration/forward_memory_test.py

Needs numpy and 750 MB of disk under $TMPDIR.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import big_model
import qcore

BENCH = pathlib.Path(os.environ.get("QCORE_BUILD", qcore.PROGRAM.parents[1])) / "tests" / "bench" / "forward_bench"
PROGRAM_ITSELF = 24  # MiB: code, plugins, headers of the model, what the allocator keeps


def run(model, tokens, context, memory, threads=2):
    """Resident MiB and the checksum of the logits."""
    arguments = [model, tokens, context, memory, threads]
    process = subprocess.run([BENCH, *map(str, arguments)], capture_output=True, text=True, timeout=800)
    if process.returncode:
        raise AssertionError(process.stderr)
    print(f"\nrun.memory {memory} MiB: {process.stdout.strip()}", file=sys.stderr)
    resident, checksum = re.search(r"(\d+) MiB resident.*checksum (\w+)", process.stdout).groups()
    return int(resident), checksum


@unittest.skipIf(os.environ.get("QCORE_SANITIZE"), "sanitizers need memory of their own")
@unittest.skipUnless(BENCH.exists(), "the benchmarks are not built")
class ForwardMemoryTest(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.addCleanup(self.scratch.cleanup)
        self.model = pathlib.Path(self.scratch.name) / "model"

    def test_a_model_much_larger_than_memory(self):
        size = big_model.write(self.model)
        self.assertGreater(size, 740e6)
        small, in_strips = run(self.model, 256, 64, 256)
        large, at_once = run(self.model, 256, 64, 1024, threads=7)
        self.assertEqual(in_strips, at_once)
        self.assertLessEqual(small, 256 + PROGRAM_ITSELF)
        self.assertLessEqual(large, 1024 + PROGRAM_ITSELF)

    def test_many_tokens_in_little_memory(self):
        """16384 tokens of 4 KiB each do not stay in 40 MiB."""
        big_model.write(self.model, hidden=1024, feed_forward=256, layers=1, vocabulary=2048)
        small, in_a_file = run(self.model, 16384, 128, 40)
        large, in_memory = run(self.model, 16384, 128, 1024)
        self.assertEqual(in_a_file, in_memory)
        self.assertLessEqual(small, 40 + PROGRAM_ITSELF)
        self.assertGreater(large, 64)


if __name__ == "__main__":
    unittest.main()
