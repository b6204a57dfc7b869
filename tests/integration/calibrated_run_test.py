"""Runs whose methods see a calibration text block by block: same bytes on any machine, factors that fold away, what is
refused and what is warned of.

    QCORE=build/bin/qcore python3 tests/integration/calibrated_run_test.py
"""

import hashlib
import json
import pathlib
import sys
import tempfile
import unittest

import gguf
import numpy

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "support")]

import qcore
import short_model

WHOLE = TESTS / "models" / "tale"
TEXT = TESTS / "models" / "tale-eval" / "calibration.txt"
EVALUATION = TESTS / "models" / "tale-eval" / "eval.txt"


def tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


class CalibratedRun(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.scratch = pathlib.Path(cls.folder.name)
        cls.model = short_model.write(WHOLE, cls.scratch / "tale", 2)

    def recipe(self, preset="Q4_0", methods=("equalize", "gptq"), output="out.gguf", tokens=1024, **more):
        calibration = {"text": [str(TEXT)], "tokens": tokens, **more.pop("calibration", {})}
        path = qcore.write_recipe(
            self.scratch / "recipe.yaml",
            self.model,
            {"path": str(self.scratch / output), "overwrite": True, **more.pop("to", {})},
            calibration=calibration,
            **more,
        )
        recipe = json.loads(path.read_text())
        recipe["quantize"] = {"methods": list(methods), **({"preset": preset} if isinstance(preset, str) else preset)}
        path.write_text(json.dumps(recipe))
        return path

    def run_recipe(self, *arguments, **recipe):
        process = qcore.run("-c", self.recipe(**recipe), *arguments)
        self.assertEqual(process.returncode, 0, process.stderr)
        return process

    def digest(self, *arguments, **recipe):
        self.run_recipe("-q", *arguments, **recipe)
        return hashlib.sha256((self.scratch / "out.gguf").read_bytes()).hexdigest()

    def refused(self, *arguments, **recipe):
        process = qcore.run("-c", self.recipe(**recipe), *arguments)
        self.assertNotEqual(process.returncode, 0)
        self.assertEqual(process.stderr.count("\n"), 1, process.stderr)
        return process.stderr


class SameBytes(CalibratedRun):
    def test_threads_memory_and_levels(self):
        for sequential in "none", "block", "linear":
            options = {"preset": "Q3_K_S", "calibration": {"sequential": sequential}}
            wanted = self.digest("--threads", 1, **options)
            for arguments in (
                ["--threads", 3, "--memory", "44MiB"],
                ["--threads", 2, "--cpu-mask", "generic" if sequential == "none" else "x86-v3"],
            ):
                with self.subTest(sequential=sequential, arguments=arguments):
                    self.assertEqual(self.digest(*arguments, **options), wanted)

    def test_ways_differ(self):
        digests = {self.digest(calibration={"sequential": s}) for s in ("none", "block", "linear")}
        self.assertEqual(len(digests), 3)

    def test_statistics_from_a_file(self):
        saved = self.scratch / "saved.gguf"
        self.run_recipe("-q", methods=["imatrix"], calibration={"output": str(saved)})
        recipe = self.recipe(methods=["equalize", "imatrix"])
        changed = json.loads(recipe.read_text())
        changed["calibration"] = {"imatrix": str(saved)}
        recipe.write_text(json.dumps(changed))
        self.assertEqual(qcore.run("-c", recipe, "-q").returncode, 0)
        from_file = tensors(self.scratch / "out.gguf")
        self.run_recipe("-q", methods=["equalize", "imatrix"])
        for name, wanted in tensors(self.scratch / "out.gguf").items():
            numpy.testing.assert_array_equal(from_file[name], wanted, err_msg=name)

class Folding(CalibratedRun):
    def test_factors_fold_away(self):
        """Norm times columns, and rows times columns, are what they were, up to eight bits of rounding."""
        self.run_recipe("-q", preset="F16", methods=["rtn"], output="plain.gguf")
        self.run_recipe("-q", preset="Q8_0", methods=["equalize", "rtn"])
        plain, scaled = tensors(self.scratch / "plain.gguf"), tensors(self.scratch / "out.gguf")
        for block in range(2):
            b = f"blk.{block}."
            for norm, readers in ("attn_norm", ["attn_q", "attn_k", "attn_v"]), ("ffn_norm", ["ffn_gate", "ffn_up"]):
                c = plain[f"{b}{norm}.weight"] / scaled[f"{b}{norm}.weight"]
                self.assertGreater(numpy.std(numpy.log(c)), 0.01)
                for reader in readers:
                    rows = self.row_factors(block, reader, plain, scaled)
                    wanted = plain[f"{b}{reader}.weight"] * c / rows[:, None]
                    got = scaled[f"{b}{reader}.weight"]
                    error = numpy.abs(got - wanted).max() / numpy.abs(wanted).max()
                    self.assertLess(error, 0.01, f"{b}{reader}")

    def row_factors(self, block, reader, plain, scaled):
        """Of v and up: the medians of what their rows were divided by, which o and down then have in their columns."""
        if reader not in ("attn_v", "ffn_up"):
            return numpy.ones(plain[f"blk.{block}.{reader}.weight"].shape[0])
        down = "attn_output" if reader == "attn_v" else "ffn_down"
        before, after = (m[f"blk.{block}.{down}.weight"] for m in (plain, scaled))
        columns = numpy.sqrt((after**2).sum(0) / (before**2).sum(0))
        n = plain[f"blk.{block}.{reader}.weight"].shape[0]
        return columns if len(columns) == n else self.of_key_heads(columns, n)

    @staticmethod
    def of_key_heads(columns, n):
        config = json.loads((WHOLE / "config.json").read_text())
        heads, key_heads = config["num_attention_heads"], config["num_key_value_heads"]
        by_head = columns.reshape(key_heads, heads // key_heads, -1)
        numpy.testing.assert_allclose(by_head.min(1), by_head.max(1), rtol=0.05)
        return by_head.mean(1).reshape(n)

    def test_the_model_computes_the_same(self):
        self.run_recipe("-q", preset="Q8_0", methods=["equalize", "rtn"])
        process = qcore.run("eval", self.scratch / "out.gguf", "--reference", self.model, "--text", EVALUATION, "--tokens",
                            "2048", "--json")
        self.assertEqual(process.returncode, 0, process.stderr)
        self.assertLess(json.loads(process.stdout)["metrics"]["kld"]["mean"]["value"], 2e-4)

    def test_plain_numbers_are_not_scaled(self):
        for preset, wanted in (("F16", True), ("Q8_0", False)):
            self.run_recipe("-q", preset=preset, methods=["equalize", "rtn"])
            first = tensors(self.scratch / "out.gguf")["blk.0.attn_norm.weight"]
            self.run_recipe("-q", preset=preset, methods=["rtn"])
            second = tensors(self.scratch / "out.gguf")["blk.0.attn_norm.weight"]
            self.assertEqual(bool((first == second).all()), wanted, preset)


class Summary(CalibratedRun):
    def test_each_linear(self):
        shown = self.run_recipe("--json")
        linears = json.loads(shown.stdout)["linears"]
        self.assertEqual(len(linears), 2 * 7 + 1)  # and the embedding
        for linear in linears:
            self.assertLess(linear["output_error"], linear["output_error_nearest"], linear["name"])
            self.assertGreater(linear["damping"], 0)
        self.assertIn("blk.1.ffn_down.weight", self.run_recipe().stdout)

    def test_alpha_is_shown(self):
        linears = json.loads(self.run_recipe("--json", methods=["awq"], preset="Q4_0").stdout)["linears"]
        self.assertTrue(any("alpha" in linear for linear in linears))

    def test_few_tokens_are_warned_of(self):
        self.assertIn("tokens of calibration are few for blk.0.ffn_down.weight", self.run_recipe().stderr)


class Refusals(CalibratedRun):
    def test_order_of_methods(self):
        self.assertIn("none can follow it", self.refused(methods=["rtn", "gptq"]))
        self.assertIn("does not round", self.refused(methods=["equalize"]))

    def test_an_order_that_cannot_be_stored(self):
        message = self.refused("--dry-run", methods=[{"gptq": {"act_order": True}}])
        self.assertIn("gguf cannot store an order of columns", message)

    def test_memory(self):
        message = self.refused("--memory", "16MiB")
        self.assertIn("run.memory allows 16.00 MiB", message)
        self.assertIn("--memory ", message)

    def test_an_imatrix_has_no_gram(self):
        saved = self.scratch / "sums.gguf"
        self.run_recipe("-q", methods=["imatrix"], calibration={"output": str(saved)})
        recipe = self.recipe()
        changed = json.loads(recipe.read_text())
        changed["calibration"] = {"imatrix": str(saved)}
        recipe.write_text(json.dumps(changed))
        process = qcore.run("-c", recipe, "--dry-run")
        self.assertEqual(process.returncode, 2)
        self.assertIn("method gptq needs Gram matrices", process.stderr)

    def test_no_calibration(self):
        recipe = self.recipe()
        changed = json.loads(recipe.read_text())
        del changed["calibration"]
        recipe.write_text(json.dumps(changed))
        self.assertIn("name text files in calibration.text", qcore.run("-c", recipe).stderr)

    def test_sequential_words(self):
        self.assertIn("none, block or linear", self.refused(calibration={"sequential": "layer"}))


if __name__ == "__main__":
    unittest.main()
