"""F16 files equal those of llama.cpp's own converter: every key, every tensor's bytes.

QCORE=build/bin/qcore python3 tests/integration/conversion_test.py
"""

import json
import pathlib
import sys
import tempfile
import unittest

import numpy

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "fixtures")]

import gguf_digest
import make_random_models
import qcore

# What llama.cpp assumes anyway, or never reads: writing it is a matter of taste.
OPTIONAL = (
    "attention.key_length",
    "attention.value_length",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "rope.dimension_count",
    "vocab_size",
    "add_bos_token",
    "add_eos_token",
    "add_sep_token",
    "add_space_prefix",
    "tokenizer.ggml.bos_token_id",
)


class ConversionTest(unittest.TestCase):
    """One method for each random model, made below."""

    def check(self, name):
        expected = json.loads((TESTS / "fixtures" / "expected_gguf" / f"{name}.json").read_text())
        with tempfile.TemporaryDirectory() as scratch:
            source = make_random_models.write_model(name, pathlib.Path(scratch) / name)
            got = gguf_digest.describe(qcore.convert(source, f"{scratch}/{name}.gguf", "F16", f"{scratch}/recipe.yaml"))
        self.check_keys(expected["keys"], got["keys"])
        self.assertEqual(set(got["tensors"]), set(expected["tensors"]))
        for tensor, description in expected["tensors"].items():
            self.assertEqual(got["tensors"][tensor], description, tensor)
        if expected["rope_freqs"]:
            numpy.testing.assert_allclose(got["rope_freqs"], expected["rope_freqs"], rtol=1e-5)

    def check_keys(self, expected, got):
        self.assertEqual(got["general.file_type"], [["UINT32"], 1])
        self.assertEqual(got["general.quantization_version"], [["UINT32"], 2])
        got = {key: value for key, value in got.items() if not key.startswith("general.")}
        missing = [key for key in set(expected) - set(got) if not key.endswith(OPTIONAL)]
        self.assertFalse(missing, "keys missing")
        added = [key for key in set(got) - set(expected) if not key.endswith(OPTIONAL)]
        self.assertFalse(added, "keys that the converter does not write")
        for key in set(expected) & set(got):
            self.assertEqual(got[key], expected[key], key)


def add_tests():
    for name in make_random_models.CASES:
        setattr(ConversionTest, "test_" + name.replace("-", "_"), lambda self, name=name: self.check(name))


add_tests()

if __name__ == "__main__":
    unittest.main()
