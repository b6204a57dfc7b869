"""calibrate, eval, compare, inspect, tokenize: their help, and what they say to mistakes in the command line.

    QCORE=build/bin/qcore python3 tests/integration/commands_test.py
"""

import json
import pathlib
import sys
import tempfile
import unittest

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "support"))

import qcore

TALE, TEXTS = TESTS / "models" / "tale", TESTS / "models" / "tale-eval"
TEXT = TEXTS / "eval.txt"

OPTIONS = {
    "calibrate": "--text --imatrix --output --record --output-weight --tokens --context",
    "eval": "--text --reference --metrics --tokens --context --stride --layers",
    "compare": "--presets --keep --format --text --calibration --metrics --tokens",
    "inspect": "--calibration --imatrix --tokens --context",
    "tokenize": "--text --string --special --bare",
}
COMMON = "--config --set --json --quiet --threads --memory --plugin-path --cpu-mask --help"

# (arguments, words of the message, exit code)
MISTAKES = [
    (["calibrate"], "no model given", 2),
    (["calibrate", TALE], "calibration.text is missing", 2),
    (["calibrate", TALE, "--text", TEXT], "name --imatrix FILE or --output FILE", 2),
    (["calibrate", TALE, "--text", "none.txt", "--output", "x.gguf"], "none.txt", 5),
    (["calibrate", TALE, "--text", TEXT, "--output", "x.gguf", "--record", "absmx"], "absmx", 2),
    (["calibrate", TALE, "--text", TEXT, "--output", "x.gguf", "--tokens", "many"], "--tokens", 2),
    (["calibrate", TALE, "--text", TEXT, "--output", "x.gguf", "--context", "4"], "--context", 2),
    (["calibrate", "none", "--text", TEXT, "--output", "x.gguf"], "none", 5),
    (["calibrate", TALE, "--text", "none.txt", "--imatrix", "x.txt"], "x.txt does not tell by its name", 2),
    (["calibrate", TALE, "--text", "none.txt", "--output", "x.txt"], "x.txt does not tell by its name", 2),
    (["calibrate", TALE, "--text", TEXT, "--imatrix", "x.gguf", "--output", "x.gguf"], "two different files", 2),
    (["eval"], "no model given", 2),
    (["eval", "", "--text", TEXT], "MODEL", 2),
    (["eval", TALE, "--text", ""], "--text", 2),
    (["eval", TALE], "evaluate is missing", 2),
    (["eval", TALE, TALE, "--text", TEXT], "unexpected argument", 2),
    (["eval", TALE, "--text", TEXT, "--metrics", "perplexty"], "did you mean 'perplexity'", 2),
    (["eval", TALE, "--text", TEXT, "--metrics", "kld"], "reference", 2),
    (["eval", TALE, "--text", TEXT, "--layers"], "--reference", 2),
    (["eval", TALE, "--text", TEXT, "--stride", "1024"], "stride", 2),
    (["eval", TALE, "--text", "none.txt"], "none.txt", 5),
    (["eval", TALE, "--text", TEXT, "--reference", "none.gguf"], "none.gguf", 5),
    (["compare"], "no recipe given", 2),
    (["compare", TALE, "--text", TEXT], "no presets given", 2),
    (["compare", TALE, "--presets", "Q8_0"], "evaluate is missing", 2),
    (["compare", TALE, "--text", TEXT, "--presets", "Q8"], "no preset 'Q8'", 2),
    (["compare", TALE, "--text", TEXT, "--presets", "Q8_0,Q4_KM"], "did you mean 'Q4_K_M'", 2),
    (["compare", TALE, "--text", TEXT, "--presets", "Q8_0", "--format", "jsn"], "did you mean 'json'", 2),
    (["compare", TALE, "--text", TEXT, "--presets", "Q8_0", "--format", "html"], "text, csv, json and markdown", 2),
    (["compare", "-c", "none.yaml", "--presets", "Q8_0"], "none.yaml", 5),
    (["inspect"], "no model given", 2),
    (["inspect", TALE, "--calibration", TEXT, "--imatrix", "x.gguf"], "not both", 2),
    (["inspect", TALE, "--imatrix", "none.gguf"], "none.gguf", 5),
    (["inspect", TALE, "--tokens", "5"], "text", 2),
    (["tokenize"], "no model given", 2),
    (["tokenize", TALE], "--text FILE or --string TEXT", 2),
    (["tokenize", TALE, "--text", TEXT, "--string", "a"], "--text FILE or --string TEXT", 2),
    (["tokenize", TALE, "--text", "none.txt"], "none.txt", 5),
]


class CommandsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.scratch = pathlib.Path(folder.name)

    def run_well(self, *arguments):
        process = qcore.run(*arguments, cwd=self.scratch)
        self.assertEqual(process.returncode, 0, process.stderr)
        return process.stdout

    def test_help(self):
        overview = self.run_well("--help")
        for command, options in OPTIONS.items():
            with self.subTest(command):
                self.assertIn(f"qcore {command} ", overview)
                text = self.run_well(command, "--help")
                self.assertEqual(text, self.run_well(command, "-h"))
                self.assertTrue(text.startswith(f"qcore {command} "))
                self.assertIn("\nExamples\n", text)
                for option in (options + " " + COMMON).split():
                    self.assertIn(option + (" " if option != "--help" else ""), text.replace("\n", " "))
                self.assertLessEqual(max(map(len, text.splitlines())), 100)

    def test_mistakes(self):
        for arguments, words, status in MISTAKES:
            with self.subTest(" ".join(map(str, arguments))):
                process = qcore.run(*arguments, cwd=self.scratch)
                self.assertEqual((process.returncode, process.stdout), (status, ""), process.stderr)
                self.assertEqual(len(process.stderr.splitlines()), 1, process.stderr)
                self.assertTrue(process.stderr.startswith("qcore: error: "))
                self.assertIn(words, process.stderr)
                self.assertEqual(list(self.scratch.iterdir()), [])

    def test_unknown_options(self):
        for command in OPTIONS:
            with self.subTest(command):
                process = qcore.run(command, "--frobnicate")
                self.assertEqual((process.returncode, process.stdout), (2, ""))
                self.assertIn("frobnicate", process.stderr)

    def test_paths_with_marks_of_yaml(self):
        for name in ["it's \"so\" #1: [a]{b}, c", "back\\slash", "a\nline", "a\rreturn", "tab\tbed", "- *x", "ümlaut"]:
            with self.subTest(name):
                (self.scratch / name).write_bytes(TEXT.read_bytes()[:4000])
                arguments = ["eval", TALE, "--text", name, "--tokens", 128, "--context", 64, "--json", "-q"]
                self.assertEqual(json.loads(self.run_well(*arguments))["tokens"], 128)

    def expect_refusal(self, arguments, words, status):
        process = qcore.run(*arguments, cwd=self.scratch)
        self.assertEqual((process.returncode, process.stdout), (status, ""), process.stderr)
        self.assertRegex(process.stderr, f"^qcore: error: .*{words}")

    def test_what_fails_in_the_end_fails_at_once(self):
        """Even the text, which is not there, is looked for later."""
        (self.scratch / "x.gguf").write_bytes(b"kept")
        for option in "--imatrix", "--output":
            self.expect_refusal(["calibrate", TALE, "--text", "none.txt", option, "x.gguf"], "x.gguf exists already", 2)
        self.assertEqual((self.scratch / "x.gguf").read_bytes(), b"kept")

    def test_a_reference_that_a_run_does_not_look_at_is_said(self):
        process = qcore.run("-s", f"model.path={TALE}", "-s", "output.path=r.gguf", "-s", "quantize.preset=Q8_0", "-s",
                            f"evaluate.text={TEXT}", "-s", "evaluate.tokens=512", "-s", "evaluate.reference=other.gguf",
                            "--dry-run", cwd=self.scratch)
        self.assertEqual(process.returncode, 0, process.stderr)
        self.assertRegex(process.stderr, "^qcore: warning: evaluate.reference is for qcore eval: .*tale\n$")

    def test_a_run_that_cannot_be_written_is_not_begun(self):
        """Nor is its text run: what that would fail of, a window too long for it, is said without the mistake."""
        run = ["-s", f"model.path={TALE}", "-s", "output.path=x.gguf", "-s", f"calibration.text={TEXT}",
               "-s", "calibration.tokens=64"]
        self.expect_refusal([*run, "-s", "quantize.preset=Q8_0"], "one window needs 512", 2)
        (self.scratch / "x.gguf").write_bytes(b"kept")
        self.expect_refusal([*run, "-s", "quantize.preset=Q8_0"], "x.gguf exists already", 2)
        self.assertEqual((self.scratch / "x.gguf").read_bytes(), b"kept")

    def test_a_run_that_cannot_be_judged_is_not_begun(self):
        run = ["-s", f"model.path={TALE}", "-s", "quantize.preset=Q8_0", "-s", "output.path=out/x.gguf"]
        (self.scratch / "short.txt").write_text("Once upon a time.")
        for setting, words, status in [("text=none.txt", "none.txt", 5), ("text=short.txt", "tokens", 2),
                                       ("metrics=[{tasks: {file: none.jsonl}}]", "none.jsonl", 5)]:
            with self.subTest(setting):
                self.expect_refusal([*run, "-s", f"evaluate.{setting}"], words, status)
                self.assertFalse((self.scratch / "out").exists())

    def test_a_recipe_says_what_the_command_line_does_not(self):
        recipe = self.scratch / "recipe.yaml"
        recipe.write_text(json.dumps({
            "model": {"path": str(TALE)}, "evaluate": {"text": str(TEXT), "tokens": 256, "context": 128}}))
        said = json.loads(self.run_well("eval", TALE, "--text", TEXT, "--tokens", 256, "--context", 128, "--json", "-q"))
        read = json.loads(self.run_well("eval", "-c", recipe, "--json", "-q"))
        self.assertEqual(said["metrics"], read["metrics"])
        other = json.loads(self.run_well("eval", "-c", recipe, "--tokens", 128, "--json", "-q"))
        self.assertEqual((read["tokens"], other["tokens"]), (256, 128))


if __name__ == "__main__":
    unittest.main()
