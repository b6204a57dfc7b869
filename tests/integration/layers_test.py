"""The layer view: what every linear lost in its weights and in its outputs, against NumPy on the same inputs, whose Gram
matrices a calibration saved: the error of the outputs is tr(E H E') / tr(W H W').

    QCORE=build/bin/qcore python3 tests/integration/layers_test.py

Needs numpy and gguf.
"""

import json
import pathlib
import sys
import tempfile
import unittest

import gguf
import numpy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import qcore

MODELS = qcore.ROOT / "tests" / "models"


def weights_of(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(float)
            for t in gguf.GGUFReader(path).tensors if len(t.shape) == 2}


class LayersTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.scratch = pathlib.Path(cls.folder.name)
        cls.text = cls.scratch / "text.txt"
        cls.text.write_text((MODELS / "tale-eval" / "calibration.txt").read_text()[:5000])
        cls.model = qcore.convert(MODELS / "tale", cls.scratch / "tale-F16.gguf", "F16", cls.scratch / "f16.yaml")
        recipe = qcore.write_recipe(
            cls.scratch / "recipe.yaml", cls.model, cls.scratch / "out.gguf",
            calibration={"text": [str(cls.text)], "record": ["gram"], "output_weight": True,
                         "output": str(cls.scratch / "statistics.gguf")},
            quantize={"preset": "Q3_K_S", "methods": ["imatrix"]},
            evaluate={"text": [str(cls.text)], "metrics": ["perplexity"], "layers": True})
        cls.recipe = recipe
        process = qcore.run("-c", recipe, "--json")
        if process.returncode != 0:
            raise AssertionError(process.stderr)
        cls.report = json.loads(process.stdout)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_equals_numpy(self):
        before, after = weights_of(self.model), weights_of(self.scratch / "out.gguf")
        reader = gguf.GGUFReader(self.scratch / "statistics.gguf")
        grams = {t.name: t.data.astype(float) for t in reader.tensors if t.name.endswith(".gram")}
        inputs = dict(zip(reader.fields["qcore.statistics.tensors"].contents(),
                          reader.fields["qcore.statistics.inputs"].contents()))
        self.assertEqual({layer["tensor"] for layer in self.report["layers"]}, set(inputs))
        for layer in self.report["layers"]:
            name = layer["tensor"]
            w, error, h = before[name], before[name] - after[name], grams[inputs[name] + ".gram"]
            outputs = numpy.sqrt(numpy.einsum("ij,jk,ik", error, h, error, optimize=True)
                                 / numpy.einsum("ij,jk,ik", w, h, w, optimize=True))
            self.assertAlmostEqual(layer["output_error"] / outputs, 1, delta=1e-3, msg=name)
            self.assertAlmostEqual(layer["weight_error"] / (numpy.linalg.norm(error) / numpy.linalg.norm(w)), 1,
                                   delta=1e-4, msg=name)

    def test_the_worst_come_first(self):
        worst = self.report["worst"]
        self.assertEqual(len(worst), 10)
        everything = sorted((layer["output_error"] for layer in self.report["layers"]), reverse=True)
        self.assertEqual([layer["output_error"] for layer in worst], everything[:10])

    def test_no_more_tokens_than_the_recipe_reads(self):
        process = qcore.run("-c", self.recipe, "--set", f"output.path={self.scratch / 'few.gguf'}",
                            "--set", f"calibration.output={self.scratch / 'few.statistics.gguf'}",
                            "--set", "calibration.tokens=64", "--set", "calibration.context=32")
        self.assertEqual(process.returncode, 0, process.stderr)
        self.assertRegex(process.stdout, "by the error of their outputs over 64 tokens")

    def test_the_summary_names_them(self):
        process = qcore.run("-c", self.recipe, "--set", f"output.path={self.scratch / 'again.gguf'}",
                            "--set", f"calibration.output={self.scratch / 'again.statistics.gguf'}")
        self.assertEqual(process.returncode, 0, process.stderr)
        self.assertRegex(process.stdout, "the worst 10 of 43")
        self.assertIn(self.report["worst"][0]["tensor"], process.stdout)


if __name__ == "__main__":
    unittest.main()
