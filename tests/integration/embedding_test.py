"""The embedding's codes: chosen by what the first norm's readers make of its rows, against the same sums by NumPy.

    QCORE=build/bin/qcore python3 tests/integration/embedding_test.py

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
READERS = "attn_q", "attn_k", "attn_v"


def weights_of(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(float) for t in gguf.GGUFReader(path).tensors}


def readers_gram(weights):
    """(W g)'(W g) of the linears that read the first block's first norm."""
    rows = numpy.vstack([weights[f"blk.0.{name}.weight"] for name in READERS]) * weights["blk.0.attn_norm.weight"]
    return rows.T @ rows


def cost(w, h):
    return numpy.einsum("ij,jk,ik", w, h, w, optimize=True)


class EmbeddingTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.scratch = pathlib.Path(cls.folder.name)
        cls.text = cls.scratch / "text.txt"
        cls.text.write_text((MODELS / "tale-eval" / "calibration.txt").read_text()[:5000])
        cls.model = qcore.convert(MODELS / "tale", cls.scratch / "tale-F16.gguf", "F16", cls.scratch / "f16.yaml")
        cls.before = weights_of(cls.model)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def quantized(self, name, methods):
        recipe = qcore.write_recipe(self.scratch / f"{name}.yaml", self.model, self.scratch / f"{name}.gguf",
                                    calibration={"text": [str(self.text)]},
                                    quantize={"preset": "Q2_K", "methods": methods})
        process = qcore.run("-c", recipe, "--json")
        self.assertEqual(process.returncode, 0, process.stderr)
        return json.loads(process.stdout), weights_of(self.scratch / f"{name}.gguf")["token_embd.weight"]

    def test_what_it_costs_is_what_numpy_says(self):
        h, w = readers_gram(self.before), self.before["token_embd.weight"]
        report, rounded = self.quantized("gptq", ["equalize", "gptq"])
        told = next(linear for linear in report["linears"] if linear["name"] == "token_embd.weight")
        self.assertAlmostEqual(told["output_error"] / (cost(w - rounded, h) / cost(w, h)), 1, delta=0.1)
        _, plain = self.quantized("plain", ["equalize", "rtn"])
        self.assertLess(cost(w - rounded, h), 0.85 * cost(w - plain, h))


if __name__ == "__main__":
    unittest.main()
