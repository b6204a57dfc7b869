"""Control-C while a model runs: exit code 130, one line, and nothing left of files that were begun.

    QCORE=build/bin/qcore python3 tests/integration/interrupt_test.py
"""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "support"))

import qcore

TALE, TEXT = TESTS / "models" / "tale", TESTS / "models" / "tale-eval" / "calibration.txt"
LONG = ["--text", TEXT] * 30  # minutes of work

COMMANDS = {
    "hidden states in a file": ["eval", TALE, *LONG, "--memory", "16MiB"],
    "beside a reference": ["eval", TALE, "--reference", TALE, *LONG],
    "recording": ["calibrate", TALE, *LONG, "--record", "gram", "--output", "out/x.gguf", "--imatrix", "y.dat"],
    "cutting a text": ["eval", TALE, *["--text", "long.txt"] * 4],
}


class InterruptTest(unittest.TestCase):
    def test_nothing_stays(self):
        for name, arguments in COMMANDS.items():
            with self.subTest(name), tempfile.TemporaryDirectory() as folder:
                scratch = pathlib.Path(folder)
                (scratch / "tmp").mkdir()
                if "long.txt" in arguments:
                    (scratch / "long.txt").write_bytes(TEXT.read_bytes() * 300)
                process = subprocess.Popen([str(qcore.PROGRAM), *map(str, arguments), "-q"], cwd=scratch, text=True,
                                           env={**os.environ, "TMPDIR": str(scratch / "tmp")},
                                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                time.sleep(1.5)
                process.send_signal(signal.SIGINT)
                output, error = process.communicate(timeout=60)
                self.assertEqual((process.returncode, output), (130, ""), error)
                self.assertRegex(error, r"^qcore: error: .*interrupted\n$")
                left = {str(path.relative_to(scratch)) for path in scratch.rglob("*")}
                self.assertLessEqual(left, {"tmp", "long.txt"})


if __name__ == "__main__":
    unittest.main()
