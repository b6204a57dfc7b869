"""Recipes as the command line reads them: what is wrong is said with file, line and column; --set; site defaults.

    QCORE=build/bin/qcore python3 tests/integration/recipe_test.py

Broken recipes are those of the fuzz corpus: a comment in their first line is what must be said of them.
"""

import json
import os
import pathlib
import shutil
import sys
import tempfile
import unittest

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "fixtures")]

import make_random_models
import qcore

CORPUS = TESTS / "fuzz" / "corpus" / "recipe"
CONFIGS = TESTS.parent / "configs"
GENERAL = {"model": {"path": "model"}, "quantize": {"preset": "Q4_K_M"}, "output": {"path": "out.gguf"}}


class RecipeCase(unittest.TestCase):
    """A folder with a model of every test's own; the program runs in it, without the user's or the site's settings."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        make_random_models.write_model("llama", cls.folder / "model")

    def setUp(self):
        self.environment = {**os.environ, "HOME": str(self.folder), "QCORE_CONFIG": "", "XDG_CONFIG_HOME": ""}

    def run_with(self, *arguments):
        return qcore.run(*arguments, cwd=self.folder, env=self.environment)

    def write(self, name, text):
        (self.folder / name).write_text(text if isinstance(text, str) else json.dumps(text, indent=2))
        return name

    def plan(self, recipe, *arguments):
        """{tensor: entry} of the plan, and the whole."""
        process = self.run_with("-c", self.write("recipe.yaml", recipe), "--dry-run", "--json", *arguments)
        self.assertEqual(process.returncode, 0, process.stderr)
        plan = json.loads(process.stdout)
        return {tensor["name"]: tensor for tensor in plan["tensors"]}, plan

    def expect_error(self, message, *arguments, status=2):
        process = self.run_with(*arguments)
        self.assertEqual(process.returncode, status, process.stderr)
        self.assertEqual(process.stderr.count("\n"), 1, process.stderr)
        self.assertIn(message, process.stderr)


class BrokenTest(RecipeCase):
    def test_corpus(self):
        cases = sorted(CORPUS.glob("bad_*"))
        self.assertGreaterEqual(len(cases), 40)
        for path in cases:
            with self.subTest(path.name):
                shutil.copy(path, self.folder)
                first = path.read_bytes().split(b"\n")[0]
                wanted = first[2:].decode() if first.startswith(b"# ") else ""
                place = f"{path.name}:" if wanted[:1].isdigit() else ""
                status = 5 if "No such file" in wanted else 7 if "too deep" in wanted else 2
                self.expect_error(place + wanted, "-c", path.name, "--dry-run", status=status)

    def test_files(self):
        self.expect_error("nowhere.yaml: No such file", "-c", "nowhere.yaml", status=5)
        self.expect_error("model: ", "-c", "model", status=5)
        self.write("long.yaml", "# " + "x" * (1 << 20) + "\n")
        self.expect_error("long.yaml: more than 1048576 bytes", "-c", "long.yaml", status=7)

    def test_presets_of_ones_own(self):
        self.write("round.yaml", "include: round.yaml\nencoding: q4_k\n")
        self.write("recipe.yaml", {**GENERAL, "quantize": {"preset": "round.yaml"}})
        self.expect_error("round.yaml:1:1: presets include each other", "-c", "recipe.yaml")
        self.write("round.yaml", "encoding: q4_k\nrules:\n  - {role: attn_v, encodign: q6_k}\n")
        self.expect_error("round.yaml:3:20: unknown key 'encodign' in a rule; did you mean 'encoding'?", "-c",
                          "recipe.yaml")

    def test_what_only_the_model_tells(self):
        for quantize, message in (
            ({"encoding": "q4_kk"}, "no encoding 'q4_kk'; did you mean 'q4_k'?"),
            ({"preset": "Q4_K_M", "methods": ["rnt"]}, "no method 'rnt'; did you mean 'rtn'?"),
            ({"preset": "Q4_K_M", "methods": [{"rtn": {"speed": 3}}]}, "'speed'"),
            ({"preset": "Q4_K_M", "methods": ["imatrix"]}, "calibration.imatrix"),
            ({"preset": "Q4_K_M", "rules": [{"role": "ffn_down", "encoding": "q9_k"}]}, "no encoding 'q9_k'"),
            ({"preset": "Q4_K_M", "rules": [{"role": "fnn_down", "encoding": "q6_k"}]}, "did you mean 'ffn_down'?"),
            ({"preset": "Q2_K_S"}, "calibration.imatrix"),
        ):
            with self.subTest(message):
                self.write("recipe.yaml", {**GENERAL, "quantize": quantize})
                self.expect_error(message, "-c", "recipe.yaml", "--dry-run")

    def test_a_format_that_is_none(self):
        model = {**GENERAL["model"], "format": "safetensor"}
        self.write("recipe.yaml", {**GENERAL, "model": model, "quantize": {"preset": "F16"}})
        self.expect_error("no format 'safetensor'; did you mean 'safetensors'?", "-c", "recipe.yaml", "--dry-run")


class MeaningTest(RecipeCase):
    def test_a_preset_copied_alone_finds_what_it_is_built_on(self):
        (self.folder / "alone").mkdir()
        shutil.copy(CONFIGS / "presets" / "Q4_K_M.yaml", self.folder / "alone" / "copy.yaml")
        copied, _ = self.plan({**GENERAL, "quantize": {"preset": "alone/copy.yaml"}})
        shipped, _ = self.plan(GENERAL)
        self.assertEqual({name: t["to"] for name, t in copied.items()}, {name: t["to"] for name, t in shipped.items()})

    def test_files_as_windows_writes_them(self):
        text = "model: {path: model}\r\nquantize:\r\n  preset: Q8_0\r\noutput: {path: out.gguf}\r\n"
        (self.folder / "windows.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())
        process = self.run_with("-c", "windows.yaml", "--dry-run")
        self.assertEqual(process.returncode, 0, process.stderr)

    def test_a_preset_that_includes_nothing(self):
        self.write("bare.yaml", "encoding: q8_0\n")
        bare, _ = self.plan({**GENERAL, "quantize": {"preset": "bare.yaml"}})
        self.assertEqual(bare["blk.0.ffn_up.weight"]["to"], "q8_0")

    def test_later_rules_win(self):
        rules = [
            {"role": "ffn_down", "encoding": "q4_0"},
            {"role": "ffn_down", "layers": 0, "encoding": "q8_0"},
            {"name": "blk.*.attn_[qk].weight", "encoding": "q5_1"},
            {"role": "token_embd", "encoding": "keep"},
        ]
        tensors, _ = self.plan({**GENERAL, "quantize": {"preset": "Q4_K_M", "rules": rules}})
        self.assertEqual(tensors["blk.0.ffn_down.weight"]["to"], "q8_0")
        self.assertEqual(tensors["blk.1.ffn_down.weight"]["to"], "q4_0")
        self.assertEqual(tensors["blk.1.attn_k.weight"]["to"], "q5_1")
        self.assertIn("recipe.yaml:", tensors["blk.1.attn_k.weight"]["rule"])
        self.assertIn("Q4_K_M.yaml:", tensors["blk.0.attn_v.weight"]["rule"])

    def test_encoding_without_a_preset(self):
        tensors, _ = self.plan({**GENERAL, "quantize": {"encoding": "q8_0"}})
        self.assertEqual({t["to"] for t in tensors.values()}, {"q8_0", "f32"})
        self.assertTrue(all(t["to"] == "f32" for t in tensors.values() if len(t["shape"]) == 1))

    def test_encoding_over_a_preset(self):
        tensors, _ = self.plan({**GENERAL, "quantize": {"preset": "Q4_K_M", "encoding": "q5_0"}})
        self.assertEqual(tensors["blk.0.ffn_up.weight"]["to"], "q5_0")
        self.assertEqual(tensors["output.weight"]["to"], "q6_k")

    def test_a_copy_of_a_preset_is_a_mix_of_ones_own(self):
        shutil.copytree(CONFIGS / "presets", self.folder / "mixes")
        tensors, _ = self.plan({**GENERAL, "quantize": {"preset": "mixes/Q3_K_M.yaml"}})
        shipped, _ = self.plan({**GENERAL, "quantize": {"preset": "Q3_K_M"}})
        self.assertEqual({n: t["to"] for n, t in tensors.items()}, {n: t["to"] for n, t in shipped.items()})

    def test_totals(self):
        tensors, plan = self.plan(GENERAL)
        self.assertEqual(plan["bytes_after"], sum(t["bytes_after"] for t in tensors.values()))
        self.assertFalse((self.folder / "out.gguf").exists())

    def test_a_rule_that_matches_nothing_is_mentioned(self):
        rules = [{"name": "blk.99.*", "encoding": "q6_k"}]
        recipe = self.write("recipe.yaml", {**GENERAL, "quantize": {"preset": "Q4_K_M", "rules": rules}})
        process = self.run_with("-c", recipe, "--dry-run")
        self.assertEqual(process.returncode, 0, process.stderr)
        self.assertIn("qcore: warning: recipe.yaml:", process.stderr)

    def test_worked_examples_are_recipes(self):
        examples = sorted((CONFIGS / "recipes").glob("*.yaml"))
        self.assertTrue(examples)
        for path in examples:
            with self.subTest(path.name):
                is_run = "\nquantize:" in path.read_text()
                command = ["-c", path, "--dry-run"] if is_run else ["eval", "-c", path]
                process = self.run_with(*command, "--set", "model.path=nowhere")
                self.assertEqual(process.returncode, 5, process.stderr)
                self.assertIn("nowhere", process.stderr)


class SetTest(RecipeCase):
    def test_values(self):
        tensors, _ = self.plan(GENERAL, "--set", "quantize.preset=Q8_0")
        self.assertEqual(tensors["blk.0.ffn_up.weight"]["to"], "q8_0")
        tensors, _ = self.plan(GENERAL, "--set", "quantize.rules=[{role: ffn_up, encoding: q5_k}]")
        self.assertEqual(tensors["blk.0.ffn_up.weight"]["to"], "q5_k")
        self.assertIn("--set", tensors["blk.0.ffn_up.weight"]["rule"])

    def test_items_of_lists(self):
        rules = [{"role": "ffn_up", "encoding": "q5_k"}]
        recipe = {**GENERAL, "quantize": {"preset": "Q4_K_M", "rules": rules}}
        tensors, _ = self.plan(recipe, "--set", "quantize.rules[0].encoding=q6_k", "--set",
                               "quantize.rules[]={role: ffn_gate, encoding: q8_0}")
        self.assertEqual(tensors["blk.0.ffn_up.weight"]["to"], "q6_k")
        self.assertEqual(tensors["blk.0.ffn_gate.weight"]["to"], "q8_0")

    def test_no_recipe_at_all(self):
        process = self.run_with("-s", "model.path=model", "-s", "quantize.encoding=q8_0", "-s", "output.path=a.gguf", "-n")
        self.assertEqual(process.returncode, 0, process.stderr)
        self.expect_error("output.path is missing", "-s", "model.path=model", "-s", "quantize.preset=F16")
        self.expect_error("no recipe given", "-n")

    def test_errors_name_the_argument(self):
        self.write("recipe.yaml", GENERAL)
        for argument, message in (
            ("quantize.prest=Q8_0", "--set quantize.prest=Q8_0: unknown key 'prest'"),
            ("run.threads=many", "--set run.threads=many: a whole number"),
            ("quantize.rules[3].encoding=q6_k", "--set quantize.rules[3].encoding=q6_k: "),
            ("model.path.name=x", "--set model.path.name=x: "),
            ("quantize", "--set quantize: "),
            ("=x", "--set =x: "),
            ("a..b=x", "--set a..b=x: "),
            ("quantize.preset={a: b", "--set quantize.preset={a: b:"),
        ):
            with self.subTest(argument):
                self.expect_error(message, "-c", "recipe.yaml", "--set", argument)


class SiteTest(RecipeCase):
    def test_defaults_and_who_wins(self):
        self.environment["QCORE_CONFIG"] = self.write("site.ini", "[run]\nmemory = 2MiB\nthreads = 1\n")
        recipe = self.write("recipe.yaml", GENERAL)
        self.assertNotEqual(self.run_with("-c", recipe, "-q").returncode, 2)
        self.environment["QCORE_CONFIG"] = self.write("site.ini", "[run]\nthreads = many\n")
        self.expect_error("site.ini:2: threads wants a whole number", "-c", recipe)

    def test_of_the_user(self):
        (self.folder / ".config" / "qcore").mkdir(parents=True)
        self.write(".config/qcore/qcore.ini", "[plugins]\npaht = /nowhere\n")
        self.addCleanup((self.folder / ".config/qcore/qcore.ini").unlink)
        recipe = self.write("recipe.yaml", GENERAL)
        self.expect_error("qcore.ini:2: unknown key 'paht' in [plugins]; did you mean 'path'?", "-c", recipe)

    def test_file_that_is_named_must_be_there(self):
        self.environment["QCORE_CONFIG"] = "nowhere.ini"
        self.expect_error("nowhere.ini", "-c", self.write("recipe.yaml", GENERAL), status=5)


if __name__ == "__main__":
    unittest.main()
