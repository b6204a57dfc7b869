"""Models that are wrong in their metadata or their weights are refused, not run: one line, with the file and the place.

    QCORE=build/bin/qcore python3 tests/integration/run_errors_test.py

Needs gguf and numpy.
"""

import pathlib
import sys
import tempfile
import unittest

import gguf
import numpy

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "support"))

import qcore

SMALL = TESTS / "fixtures" / "small_models" / "llama"
F32 = gguf.GGMLQuantizationType.F32
LEFT_OUT = object()

NUMERIC, CORRUPT, UNSUPPORTED, INVALID = 6, 4, 3, 2


def times(factor):
    return lambda weights: weights * numpy.float32(factor)


def with_nan(weights):
    weights[3, 5] = numpy.nan
    return weights


# (name, changed metadata, changed tensors, exit code, words of the message)
CASES = [
    ("no heads", {"llama.attention.head_count": 0}, {}, CORRUPT, "llama.attention.head_count"),
    ("heads beyond any", {"llama.attention.head_count": 2**32 - 1}, {}, CORRUPT, "llama.attention.head_count"),
    ("many heads", {"llama.attention.head_count": 2**31 - 2}, {}, CORRUPT, "blk.0.attn_q.weight"),
    ("key heads", {"llama.attention.head_count_kv": 3}, {}, CORRUPT, "head_count_kv"),
    ("no context", {"llama.context_length": 0}, {}, CORRUPT, "llama.context_length"),
    ("many blocks", {"llama.block_count": 2**31 - 1}, {}, CORRUPT, "llama.block_count"),
    ("one block too many", {"llama.block_count": 3}, {}, CORRUPT, "blk.2."),
    ("one block too few", {"llama.block_count": 1}, {}, CORRUPT, "block_count is 1"),
    ("another width", {"llama.embedding_length": 64}, {}, CORRUPT, "embedding_length"),
    ("wide feed forward", {"llama.feed_forward_length": 1 << 30}, {}, CORRUPT, "blk.0.ffn_gate.weight"),
    ("turns beyond a head", {"llama.rope.dimension_count": 18}, {}, CORRUPT, "rope.dimension_count"),
    ("a head of one", {"llama.attention.key_length": 1, "llama.attention.value_length": 1,
                       "llama.rope.dimension_count": 2}, {}, CORRUPT, "2 channels turn in heads of 1"),
    ("no base", {"llama.rope.freq_base": 0.0}, {}, CORRUPT, "llama.rope.freq_base"),
    ("experts", {"llama.expert_count": 8}, {}, UNSUPPORTED, "llama.expert_count"),
    ("no norm", {}, {"output_norm.weight": LEFT_OUT}, CORRUPT, "output_norm.weight"),
    ("no query", {}, {"blk.1.attn_q.weight": LEFT_OUT}, CORRUPT, "blk.1.attn_q.weight"),
    ("no embedding", {}, {"token_embd.weight": LEFT_OUT}, CORRUPT, "token_embd.weight"),
    ("short output", {}, {"output.weight": lambda w: w[:40]}, CORRUPT, "different numbers of rows"),
    ("short embedding", {}, {"token_embd.weight": lambda w: w[:40]}, CORRUPT, "different numbers of rows"),
    ("small vocabulary", {}, {"token_embd.weight": lambda w: w[:2], "output.weight": lambda w: w[:2]}, INVALID,
     "is beyond the model's 2 tokens"),
    ("two matrices", {}, {"blk.1.attn_q.weight": lambda w: numpy.stack([w, w])}, CORRUPT,
     "blk.1.attn_q.weight: one matrix was expected"),
    ("transposed", {}, {"blk.1.ffn_up.weight": lambda w: w.T}, CORRUPT, "blk.1.ffn_up.weight"),
    ("short norm", {}, {"blk.1.attn_norm.weight": lambda w: w[:20]}, CORRUPT, "blk.1.attn_norm.weight"),
    ("NaN", {}, {"blk.1.ffn_up.weight": with_nan}, NUMERIC, "blk.1.ffn_up.weight: row 3, column 5 is NaN"),
    ("a huge product", {}, {"blk.1.ffn_down.weight": times(3e38)}, NUMERIC, r"blk.1.ffn_down.weight: .*block 1"),
    ("a huge norm", {}, {"blk.1.attn_norm.weight": times(1e38)}, NUMERIC, r"blk.1.attn_[qkv].weight: .*block 1"),
    ("huge scores", {}, {"blk.1.attn_q.weight": times(1e25), "blk.1.attn_k.weight": times(1e25)}, NUMERIC,
     "blk.1.attn_q.weight: the attention scores"),
    ("huge logits", {}, {"output.weight": times(3e38)}, NUMERIC, "output.weight: its product"),
]


class RunErrorsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.model = qcore.convert(SMALL, cls.folder / "good.gguf", "F16", cls.folder / "recipe.yaml")
        cls.text = cls.folder / "text.txt"
        cls.text.write_text("a cab a bat and a grab bag " * 40)

    def write(self, name, keys, tensors):
        """The good model with some things changed."""
        good, path = gguf.GGUFReader(self.model), self.folder / f"{name}.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        left = dict(keys)
        for field in good.fields.values():
            if field.name.startswith("GGUF.") or field.name == "general.architecture" or field.name in keys:
                continue
            kind = field.types[0]
            sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), kind, sub_type=sub)
        for key, value in left.items():
            kind = gguf.GGUFValueType.FLOAT32 if isinstance(value, float) else gguf.GGUFValueType.UINT32
            writer.add_key_value(key, value, kind)
        for tensor in good.tensors:
            change = tensors.get(tensor.name, lambda weights: weights)
            if change is LEFT_OUT:
                continue
            weights = numpy.array(tensor.data).astype(numpy.float32)
            with numpy.errstate(over="ignore"):
                writer.add_tensor(tensor.name, numpy.ascontiguousarray(change(weights)), raw_dtype=F32)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    def evaluate(self, model):
        return qcore.run("eval", model, "--text", self.text, "--context", 32, "--tokens", 128, "-q")

    def test_the_model_itself_runs(self):
        process = self.evaluate(self.write("as it is", {}, {}))
        self.assertEqual((process.returncode, process.stderr), (0, ""))

    def test_what_is_wrong_is_named(self):
        for name, keys, tensors, status, words in CASES:
            with self.subTest(name):
                model = self.write(name, keys, tensors)
                process = self.evaluate(model)
                self.assertEqual((process.returncode, process.stdout), (status, ""), process.stderr)
                self.assertEqual(len(process.stderr.splitlines()), 1, process.stderr)
                self.assertRegex(process.stderr, f"^qcore: error: .*{words}")
                self.assertIn(model.name, process.stderr)
                model.unlink()


if __name__ == "__main__":
    unittest.main()
