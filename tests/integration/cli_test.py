"""The command line: what it says, where it says it, and with which exit code.

    QCORE=build/bin/qcore python3 tests/integration/cli_test.py
"""

import json
import os
import pathlib
import pty
import subprocess
import sys
import tempfile
import unittest

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "fixtures")]

import big_model
import make_random_models
import qcore


def read_all(terminal):
    text = b""
    try:
        while piece := os.read(terminal, 4096):
            text += piece
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(terminal)
    return text.decode()


class CommandLineTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.scratch = pathlib.Path(cls.folder.name)
        cls.model = cls.scratch / "model"
        make_random_models.write_model("llama", cls.model)
        cls.output = cls.scratch / "out.gguf"
        cls.recipe = qcore.write_recipe(cls.scratch / "recipe.yaml", cls.model,
                                        {"path": str(cls.output), "overwrite": True}, "Q8_0")

    def expect_usage_error(self, words, *arguments):
        process = qcore.run(*arguments)
        self.assertEqual(process.returncode, 2)
        self.assertEqual(process.stdout, "")
        self.assertEqual(len(process.stderr.splitlines()), 1)
        self.assertIn(words, process.stderr)

    def test_help_and_version(self):
        process = qcore.run("--help")
        self.assertEqual((process.returncode, process.stderr), (0, ""))
        for words in "Examples", "Exit codes", "--dry-run", "--plugin-path", "130  interrupted":
            self.assertIn(words, process.stdout)
        self.assertLessEqual(max(map(len, process.stdout.splitlines())), 80)
        self.assertRegex(qcore.run("--version").stdout, r"^qcore \d+\.\d+\.\d+ \(plugin ABI \d+\.\d+\)\n$")

    def test_what_is_no_command_line(self):
        self.expect_usage_error("no recipe given")
        self.expect_usage_error("no-such-option", "--no-such-option")
        self.expect_usage_error("no command 'evall'; did you mean 'eval'?", "evall")
        self.expect_usage_error("no command 'model.gguf' (see qcore --help)", "model.gguf", "--text", "a.txt")
        self.expect_usage_error("unexpected argument: more", "-c", self.recipe, "more")
        for number in "0", "-1", "x", "1025", "":
            self.expect_usage_error("--threads wants a number", "-c", self.recipe, "--threads", number)

    def test_an_unknown_option_is_an_error_like_any_other(self):
        for arguments in (["--foo"], ["plugins", "--foo"]):
            process = qcore.run(*arguments)
            self.assertEqual(process.returncode, 2)
            self.assertRegex(process.stderr, "^qcore: error: .*--foo")

    def test_summary_goes_to_stdout_and_progress_to_stderr(self):
        process = qcore.run("-c", self.recipe)
        self.assertEqual(process.returncode, 0)
        for words in "squared error", "attn_q", "bits each", "MB/s":
            self.assertIn(words, process.stdout)
        self.assertNotIn("\033", process.stdout + process.stderr)

    def test_quiet_says_nothing(self):
        process = qcore.run("-c", self.recipe, "--quiet")
        self.assertEqual((process.returncode, process.stdout, process.stderr), (0, "", ""))

    def test_json_is_all_there_is_on_stdout(self):
        summary = json.loads(qcore.run("-c", self.recipe, "--json").stdout)
        self.assertEqual(summary["bytes_after"], sum(tensor["bytes_after"] for tensor in summary["tensors"]))
        plan = json.loads(qcore.run("-c", self.recipe, "--json", "--dry-run").stdout)
        self.assertTrue(plan)

    def test_a_dry_run_writes_nothing(self):
        output = self.scratch / "dry.gguf"
        process = qcore.run("-c", self.recipe, "--dry-run", "--set", f"output.path={output}")
        self.assertEqual(process.returncode, 0, process.stderr)
        self.assertIn("blk.1.ffn_down.weight", process.stdout)
        self.assertFalse(output.exists())

    @unittest.skipUnless(os.path.exists("/dev/full"), "a device of Linux")
    def test_a_plan_that_cannot_be_printed_is_an_error(self):
        with open("/dev/full", "w") as full:
            process = subprocess.run([str(qcore.PROGRAM), "-c", str(self.recipe), "--dry-run"], stdout=full,
                                     stderr=subprocess.PIPE, text=True)
        self.assertEqual(process.returncode, 5)
        self.assertIn("standard output", process.stderr)

    def on_a_terminal(self, **environment):
        master, slave = pty.openpty()
        process = subprocess.Popen([str(qcore.PROGRAM), "-c", str(self.recipe), "--set", "run.threads=1", "--set",
                                    "quantize.preset=Q2_K"], stdout=subprocess.DEVNULL, stderr=slave,
                                   env={**os.environ, "TERM": "xterm", **environment})
        os.close(slave)
        text = read_all(master)
        self.assertEqual(process.wait(), 0)
        return text

    def test_the_bar_is_cleared(self):
        text = self.on_a_terminal()
        if text:  # a fast machine is done before the first bar
            self.assertTrue(text.endswith("\r\033[K"), repr(text[-40:]))
            self.assertNotIn("\n", text)

    def test_the_summary_does_not_begin_in_the_bar(self):
        slow = self.scratch / "slow"
        big_model.write(slow, hidden=1024, feed_forward=4096, layers=2, vocabulary=1000)
        master, slave = pty.openpty()
        process = subprocess.Popen([str(qcore.PROGRAM), "-c", str(self.recipe), "--set", "run.threads=1", "--set",
                                    "quantize.preset=Q2_K", "--set", f"model.path={slow}"], stdout=slave, stderr=slave,
                                   env={**os.environ, "TERM": "xterm"})
        os.close(slave)
        text = read_all(master)
        self.assertEqual(process.wait(), 0)
        bars, summary = text.split(f"{slow} -> ")
        self.assertIn("ETA", bars)
        self.assertTrue(bars.endswith("\r\033[K"), repr(bars[-40:]))
        self.assertNotIn("ETA", summary)

    def test_no_color(self):
        self.assertNotIn("\033[3", self.on_a_terminal(NO_COLOR="1"))


if __name__ == "__main__":
    unittest.main()
