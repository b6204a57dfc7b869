"""Importance files of both layouts: what is taken from them, and what is refused.

    QCORE=build/bin/qcore python3 tests/integration/importance_test.py

Needs numpy and gguf.
"""

import pathlib
import struct
import sys
import tempfile
import unittest

import gguf
import numpy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import qcore

COLUMNS, ROWS, EXPERTS = 256, 48, 3
PLAIN, STACK, EMBEDDING = "blk.0.attn_q.weight", "blk.0.ffn_up_exps.weight", "token_embd.weight"


def relative_error(path, weights, importance, name=PLAIN):
    tensor = next(t for t in gguf.GGUFReader(path).tensors if t.name == name)
    error = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(float) - weights
    return (error * error * importance).sum() / (weights * weights * importance).sum()


class ImportanceTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        random = numpy.random.default_rng(5)
        cls.plain = random.standard_normal((ROWS, COLUMNS)).astype("<f4")
        cls.stack = random.standard_normal((EXPERTS, ROWS, COLUMNS)).astype("<f4")
        cls.embedding = random.standard_normal((64, COLUMNS)).astype("<f4")
        cls.mean = (random.random(COLUMNS) ** 8 + 1e-3).astype("<f4")
        cls.expert_means = (random.random((EXPERTS, COLUMNS)) ** 8 + 1e-3).astype("<f4")

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.scratch = pathlib.Path(folder.name)
        self.model = self.write_gguf("model.gguf", {PLAIN: self.plain, STACK: self.stack, EMBEDDING: self.embedding})

    def write_gguf(self, name, tensors, kind="model"):
        writer = gguf.GGUFWriter(self.scratch / name, "mystery")
        writer.add_type(kind)
        if kind == "imatrix":
            writer.add_array("imatrix.datasets", ["calibration.txt"])
            writer.add_uint32("imatrix.chunk_count", 12)
            writer.add_uint32("imatrix.chunk_size", 512)
        for tensor, value in tensors.items():
            writer.add_tensor(tensor, value)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return self.scratch / name

    def write_new(self, entries, name="imatrix.gguf"):
        """entries: {tensor: (sums [matrices, columns], counts [matrices])}."""
        tensors = {}
        for tensor, (sums, counts) in entries.items():
            tensors[f"{tensor}.in_sum2"] = numpy.atleast_2d(sums).astype("<f4")
            tensors[f"{tensor}.counts"] = numpy.asarray(counts, "<f4").reshape(-1, 1)
        return self.write_gguf(name, tensors, "imatrix")

    def write_old(self, entries, name="imatrix.dat"):
        """entries: {tensor: (values, calls)}."""
        data = struct.pack("<i", len(entries))
        for tensor, (values, calls) in entries.items():
            values = numpy.asarray(values, "<f4").ravel()
            data += struct.pack("<i", len(tensor)) + tensor.encode() + struct.pack("<ii", calls, len(values))
            data += values.tobytes()
        data += struct.pack("<ii", 12, 15) + b"calibration.txt"
        (self.scratch / name).write_bytes(data)
        return self.scratch / name

    def quantize(self, imatrix, output="out.gguf", method="imatrix", preset="Q4_K_M"):
        sections = {"quantize": {"preset": preset, "methods": [method]}}
        if imatrix:
            sections["calibration"] = {"imatrix": str(imatrix)}
        recipe = qcore.write_recipe(self.scratch / "recipe.yaml", self.model, self.scratch / output, **sections)
        return qcore.run("-c", recipe, "-q")

    def bytes_with(self, imatrix, **options):
        process = self.quantize(imatrix, **options)
        self.assertEqual(process.returncode, 0, process.stderr)
        output = self.scratch / "out.gguf"
        tensors = {t.name: (t.tensor_type, t.data.tobytes()) for t in gguf.GGUFReader(output).tensors}
        output.unlink()
        return tensors

    def expect_error(self, imatrix, status, words):
        process = self.quantize(imatrix)
        self.assertEqual(process.returncode, status, process.stderr)
        self.assertRegex(process.stderr.splitlines()[-1], f"^qcore: error: .*{words}")
        self.assertFalse((self.scratch / "out.gguf").exists())

    def test_both_layouts_give_the_same_bytes(self):
        new = self.write_new({PLAIN: (self.mean * 64, [64]), STACK: (self.expert_means * 64, [64] * EXPERTS)})
        old = self.write_old({PLAIN: (self.mean * 64, 64), STACK: (self.expert_means * 64, 64)})
        self.assertEqual(self.bytes_with(new), self.bytes_with(old))

    def test_it_lowers_the_error_that_counts(self):
        new = self.write_new({PLAIN: (self.mean * 64, [64])})
        self.assertEqual(self.quantize(new, "with.gguf").returncode, 0)
        self.assertEqual(self.quantize(None, "without.gguf", "rtn").returncode, 0)
        weights = self.plain.astype(float)
        self.assertLess(relative_error(self.scratch / "with.gguf", weights, self.mean.astype(float)),
                        0.95 * relative_error(self.scratch / "without.gguf", weights, self.mean.astype(float)))

    def test_each_expert_has_its_own(self):
        one = self.write_new({STACK: (self.expert_means * 8, [8] * EXPERTS)}, "one.gguf")
        other = self.write_new({STACK: (self.expert_means[[0, 2, 1]] * 8, [8] * EXPERTS)}, "other.gguf")
        a, b = self.bytes_with(one)[STACK][1], self.bytes_with(other)[STACK][1]
        third = len(a) // EXPERTS
        self.assertEqual(a[:third], b[:third])
        self.assertNotEqual(a[third : 2 * third], b[third : 2 * third])

    def test_an_expert_never_reached_counts_evenly(self):
        sums = self.expert_means * 8
        sums[1] = 0
        never = self.write_new({STACK: (sums, [8, 0, 8])}, "never.gguf")
        sums[1] = 8
        evenly = self.write_new({STACK: (sums, [8, 8, 8])}, "evenly.gguf")
        self.assertEqual(self.bytes_with(never)[STACK], self.bytes_with(evenly)[STACK])

    def test_metadata_names_the_file(self):
        new = self.write_new({PLAIN: (self.mean, [1])})
        self.assertEqual(self.quantize(new).returncode, 0)
        fields = gguf.GGUFReader(self.scratch / "out.gguf").fields
        self.assertIn("imatrix.gguf", fields["quantize.imatrix.file"].contents())
        self.assertEqual(fields["quantize.imatrix.dataset"].contents(), "calibration.txt")
        self.assertEqual(fields["quantize.imatrix.entries_count"].contents(), 1)
        self.assertEqual(fields["quantize.imatrix.chunks_count"].contents(), 12)

    def test_what_is_refused(self):
        bad = self.mean.copy()
        bad[3] = numpy.nan
        self.expect_error(self.write_new({PLAIN: (bad, [1])}), 6, "blk.0.attn_q.weight.*column 3")
        bad[3] = -1
        self.expect_error(self.write_new({PLAIN: (bad, [1])}), 6, "blk.0.attn_q.weight.*column 3")
        self.expect_error(self.write_new({PLAIN: (self.mean, [numpy.inf])}), 6, "count")
        self.expect_error(self.write_new({PLAIN: (self.mean[:128], [1])}), 2, "128 columns, the tensor has 256")
        self.expect_error(self.write_new({STACK: (self.expert_means[:2], [1, 1])}), 2, "made for another model")
        self.expect_error(self.write_new({"blk.7.attn_q.weight": (self.mean, [1])}), 2, "none of its entries")
        self.expect_error(self.model, 2, "holds no importance")
        self.expect_error(self.scratch / "none.gguf", 5, "No such file")

    def test_importance_is_no_model(self):
        statistics = self.write_new({PLAIN: (self.mean, [1])})
        recipe = qcore.write_recipe(self.scratch / "recipe.yaml", statistics, self.scratch / "out.gguf", "Q8_0")
        process = qcore.run("-c", recipe)
        self.assertEqual(process.returncode, 2)
        self.assertIn("holds statistics, not a model", process.stderr)

    def test_the_embedding_s_may_have_another_width(self):
        new = self.write_new({PLAIN: (self.mean, [1]), EMBEDDING: (numpy.ones(128), [1])})
        process = self.quantize(new)
        self.assertEqual(process.returncode, 0, process.stderr)
        self.assertRegex(process.stderr, "warning: .*token_embd.weight.*ignored")

    def test_broken_files(self):
        good = self.write_new({PLAIN: (self.mean, [1])}).read_bytes()
        old = self.write_old({PLAIN: (self.mean, 1)}).read_bytes()
        for name, data in ("imatrix.gguf", good), ("imatrix.dat", old):
            for length in 3, 20, 100, len(data) // 2:
                (self.scratch / name).write_bytes(data[:length])
                process = self.quantize(self.scratch / name)
                self.assertIn(process.returncode, (2, 3, 4), process.stderr)
                self.assertEqual(len(process.stderr.splitlines()), 1, process.stderr)


if __name__ == "__main__":
    unittest.main()
