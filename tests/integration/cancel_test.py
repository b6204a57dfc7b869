"""Whatever ends a run early leaves no output and no trace, and never touches the input.

    QCORE=build/bin/qcore python3 tests/integration/cancel_test.py
"""

import hashlib
import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
import time
import unittest

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "fixtures")]

import big_model
import qcore


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


class EarlyEndTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.model = pathlib.Path(cls.folder.name) / "model"
        big_model.write(cls.model, hidden=1024, feed_forward=4096, layers=4, vocabulary=4000)
        cls.before = digests(cls.model)

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.scratch = pathlib.Path(folder.name)
        self.output = self.scratch / "out" / "model.gguf"

    def tearDown(self):
        self.assertEqual(digests(self.model), self.before)
        self.assertEqual([path.name for path in self.scratch.iterdir()], ["recipe.yaml"])

    def recipe(self, output=None, preset="Q8_0", **sections):
        return qcore.write_recipe(self.scratch / "recipe.yaml", self.model, output or self.output, preset, **sections)

    def expect_error(self, process, status, words):
        self.assertEqual(process.returncode, status, process.stderr)
        lines = [line for line in process.stderr.splitlines() if "error" in line]
        self.assertEqual(len(lines), 1, process.stderr)
        self.assertRegex(lines[0], f"^qcore: error: .*{words}")

    def interrupt(self, number):
        process = subprocess.Popen([str(qcore.PROGRAM), "-c", str(self.recipe(preset="Q2_K"))],
                                   stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while not self.output.parent.exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.2)  # well inside the work
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, error)
        self.assertRegex(error, r"qcore: error: .*interrupted")

    def test_control_c(self):
        self.interrupt(signal.SIGINT)

    def test_termination(self):
        self.interrupt(signal.SIGTERM)

    def test_a_closed_terminal(self):
        self.interrupt(signal.SIGHUP)

    def test_file_size_limit(self):
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        process = qcore.run("-c", self.recipe(), "-q", preexec_fn=limit)
        self.expect_error(process, 5, "no room for [0-9]+ bytes")

    def test_full_disk(self):
        small = self.scratch / "small"
        small.mkdir()
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True)
        if mount.returncode != 0:
            small.rmdir()
            self.skipTest("a small file system cannot be mounted here")
        try:
            process = qcore.run("-c", self.recipe(small / "out.gguf"), "-q")
            left = list(small.iterdir())
        finally:
            subprocess.run(["umount", str(small)], check=True)
            small.rmdir()
        self.expect_error(process, 5, "no room for [0-9]+ bytes")
        self.assertEqual(left, [])

    def test_folder_that_cannot_be_written(self):
        self.expect_error(qcore.run("-c", self.recipe("/proc/none/out.gguf"), "-q"), 5, "/proc/none")
        if os.geteuid() == 0:
            return
        closed = self.scratch / "closed"
        closed.mkdir(mode=0o555)
        try:
            self.expect_error(qcore.run("-c", self.recipe(closed / "out.gguf"), "-q"), 5, "Permission denied")
        finally:
            closed.rmdir()


if __name__ == "__main__":
    unittest.main()
