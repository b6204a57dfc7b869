"""qcore compare: its figures are those of qcore and qcore eval, in every format; nothing is left behind.

    QCORE=build/bin/qcore python3 tests/integration/compare_test.py
"""

import csv
import fcntl
import io
import json
import os
import pathlib
import pty
import re
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "support"))

import qcore

TALE, TEXTS = TESTS / "models" / "tale", TESTS / "models" / "tale-eval"
SMALL = {
    "model": {"path": str(TALE)},
    "calibration": {"text": str(TEXTS / "calibration.txt"), "tokens": 1024},
    "evaluate": {
        "text": str(TEXTS / "eval.txt"), "tokens": 1024, "context": 256,
        "metrics": ["perplexity", "kld", {"tasks": {"file": str(TEXTS / "tasks.jsonl"), "limit": 10}}],
    },
}
PRESETS = "Q8_0, Q2_K"


def without_seconds(value):
    """Times differ from run to run."""
    if isinstance(value, dict):
        return {k: without_seconds(v) for k, v in value.items() if k != "seconds"}
    return [without_seconds(v) for v in value] if isinstance(value, list) else value


class CompareTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.scratch = pathlib.Path(cls.folder.name)
        cls.recipe = cls.write_recipe("recipe.yaml", SMALL)
        cls.kept = cls.scratch / "kept"
        cls.table = json.loads(cls.compare("--keep", cls.kept, "--json").stdout)
        cls.rows = {row["scheme"]: row for row in cls.table["schemes"]}

    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.temporary = pathlib.Path(temporary.name)
        self.environment = {**os.environ, "TMPDIR": temporary.name}

    @classmethod
    def write_recipe(cls, name, recipe):
        path = cls.scratch / name
        path.write_text(json.dumps(recipe))
        return path

    @classmethod
    def compare(cls, *arguments, presets=PRESETS, status=0, **options):
        process = qcore.run("compare", "-c", cls.recipe, "--presets", presets, "-q", *arguments, **options)
        if process.returncode != status:
            raise AssertionError(f"status {process.returncode}: {process.stderr}")
        return process

    def test_rows(self):
        self.assertEqual([row["scheme"] for row in self.table["schemes"]], ["original", "Q8_0", "Q2_K"])
        self.assertTrue(self.table["complete"])
        original, small = self.rows["original"], self.rows["Q2_K"]
        self.assertEqual(original["metrics"]["kld"]["mean"]["value"], 0)
        self.assertEqual(original["metrics"]["kld"]["same_top"]["value"], 1)
        self.assertEqual(original["metrics"]["perplexity"]["difference"]["value"], 0)
        self.assertGreater(small["metrics"]["kld"]["mean"]["value"], self.rows["Q8_0"]["metrics"]["kld"]["mean"]["value"])
        self.assertAlmostEqual(small["size_change"], small["bytes"] / original["bytes"] - 1, 8)

    def test_files_and_figures_are_those_of_other_commands(self):
        for preset in "Q8_0", "Q2_K":
            row, output = self.rows[preset], self.scratch / f"{preset}.gguf"
            self.assertEqual(row["file"], str(self.kept / f"tale-{preset}.gguf"))
            process = qcore.run("-c", self.recipe, "-s", f"quantize.preset={preset}", "-s", f"output.path={output}",
                                "-s", "evaluate.layers=false", "--json", "-q")
            self.assertEqual(process.returncode, 0, process.stderr)
            summary = json.loads(process.stdout)
            self.assertEqual(output.read_bytes(), pathlib.Path(row["file"]).read_bytes())
            self.assertEqual(summary["bits_per_weight_after"], row["bits_per_weight"])
            self.assertEqual(summary["bytes_after"], row["bytes"])
            self.assertEqual(summary["metrics"], row["metrics"])
            process = qcore.run("eval", output, "-c", self.recipe, "--reference", TALE, "-s", "model.path=" + str(output),
                                "--json", "-q")
            self.assertEqual(process.returncode, 0, process.stderr)
            self.assertEqual(json.loads(process.stdout)["metrics"], row["metrics"])

    def test_threads_do_not_matter(self):
        wanted = without_seconds(self.table)
        for row in wanted["schemes"]:
            row["file"] = None
        for threads in 1, 2, 7:
            got = json.loads(self.compare("--threads", threads, "--format", "json", env=self.environment).stdout)
            self.assertEqual(without_seconds(got), wanted)
            self.assertEqual(list(self.temporary.iterdir()), [])

    def test_csv(self):
        text = self.compare("--format", "csv", env=self.environment).stdout
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        self.assertEqual([row["scheme"] for row in rows], list(self.rows))
        for row in rows:
            wanted = self.rows[row["scheme"]]
            for key in "bits_per_weight", "bytes", "size_change":
                self.assertEqual(float(row[key]), wanted[key])
            for column in "perplexity.value", "perplexity.difference", "kld.mean", "kld.same_top", "tasks.accuracy":
                metric, name = column.split(".")
                self.assertEqual(float(row[column]), wanted["metrics"][metric][name]["value"])
                self.assertEqual(float(row[column + ".error"]), wanted["metrics"][metric][name]["error"])

    def test_markdown_and_own_presets(self):
        own = self.scratch / "a|b.yaml"
        own.write_text("encoding: q4_k\n")
        text = self.compare("--format", "markdown", presets=f"Q4_0,{own}", env=self.environment).stdout
        lines = text.splitlines()
        cells = [re.split(r"(?<!\\)\|", line) for line in lines]
        self.assertEqual(len({len(row) for row in cells}), 1)
        self.assertEqual([row[1].strip() for row in cells],
                         ["scheme", ":-------", "original", "Q4_0", r"a\|b"])
        headings = [heading.strip() for heading in cells[0][1:-1]]
        self.assertEqual(headings[:9], ["scheme", "bpw", "size", "Δsize", "perplexity", "ΔPPL", "KLD", "same top", "tasks"])
        self.assertTrue(all(re.fullmatch(r" ?:?-+:? ?", cell) for cell in cells[1][1:-1]))

    def test_text(self):
        lines = self.compare().stdout.splitlines()
        self.assertEqual([line.split()[0] for line in lines], ["scheme", "original", "Q8_0", "Q2_K"])
        self.assertEqual(lines[0].split()[:6], ["scheme", "bpw", "size", "Δsize", "perplexity", "ΔPPL"])
        self.assertIn("±", lines[2])

    def test_fits_a_terminal(self):
        for columns in 80, 40:
            leader, follower = pty.openpty()
            fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
            command = [str(qcore.PROGRAM), "compare", "-c", str(self.recipe), "--presets", "Q8_0", "-q"]
            process = subprocess.Popen(command, stdout=follower, env=self.environment)
            os.close(follower)
            text = b""
            try:
                while piece := os.read(leader, 4096):
                    text += piece
            except OSError:  # how Linux says that the other side is closed
                pass
            os.close(leader)
            self.assertEqual(process.wait(), 0)
            lines = text.decode().splitlines()
            self.assertLessEqual(max(map(len, lines)), columns)
            self.assertGreater(sum(line.startswith("scheme") for line in lines), 1)

    def test_nothing_is_done_for_a_wrong_name(self):
        for presets, words in (("Q8_0,Q4_KM", "no preset 'Q4_KM'; did you mean 'Q4_K_M'?"),
                               ("Q8_0,Q8_0", "names Q8_0 twice"), ("Q8_0,none.yaml", "none.yaml")):
            process = self.compare(presets=presets, status=2 if "none" not in presets else 5, env=self.environment)
            self.assertIn(words, process.stderr)
            self.assertEqual((process.stdout, list(self.temporary.iterdir())), ("", []))
        process = self.compare("--keep", self.kept, status=2)
        self.assertRegex(process.stderr, "tale-Q8_0.gguf exists already; --set output.overwrite=true replaces it")
        for keep in "", self.recipe:
            process = self.compare("--keep", keep, status=2)
            self.assertIn(f"--keep wants a folder, not '{keep}'", process.stderr)
            self.assertEqual(process.stdout, "")

    def test_an_encoding_that_would_overrule_every_preset(self):
        process = self.compare("-s", "quantize.encoding=q8_0", status=2, env=self.environment)
        self.assertRegex(process.stderr, "quantize.encoding stands over every preset's own.*leave it out")

    def test_a_preset_that_wants_importance(self):
        bare = self.write_recipe("bare.yaml", {k: v for k, v in SMALL.items() if k != "calibration"})
        process = qcore.run("compare", "-c", bare, "--presets", "Q8_0,Q2_K_S", "-q", env=self.environment)
        self.assertEqual((process.returncode, process.stdout), (2, ""))
        self.assertIn("Q2_K_S", process.stderr)
        self.assertEqual(list(self.temporary.iterdir()), [])

    def test_rows_that_are_done_are_shown(self):
        """The second scheme's file is larger than files may become."""
        limit = 4 << 20
        process = qcore.run("compare", "-c", self.recipe, "--presets", "Q2_K,Q8_0", "-q", "--keep", self.scratch / "half",
                            "--json", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        self.assertEqual(process.returncode, 5)
        table = json.loads(process.stdout)
        self.assertFalse(table["complete"])
        self.assertEqual([row["scheme"] for row in table["schemes"]], ["original", "Q2_K"])
        self.assertRegex(process.stderr, "^qcore: error: .*Q8_0")

    def test_interrupted(self):
        long = self.write_recipe("long.yaml", {**SMALL, "evaluate": {**SMALL["evaluate"], "tokens": 32768}})
        command = [str(qcore.PROGRAM), "compare", "-c", str(long), "--presets", "Q8_0,Q6_K,Q5_K_M,Q4_K_M"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment) as process:
            while not list(self.temporary.iterdir()) and process.poll() is None:
                time.sleep(0.01)
            time.sleep(1)
            process.send_signal(signal.SIGINT)
            errors = process.communicate()[1].decode()
        self.assertEqual(process.returncode, 130, errors)
        self.assertIn("interrupted", errors.splitlines()[-1])
        self.assertEqual(list(self.temporary.iterdir()), [])


if __name__ == "__main__":
    unittest.main()
