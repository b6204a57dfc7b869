"""llama.cpp runs what qcore writes, and agrees with Hugging Face's transformers on the source.

For each random model of tests/fixtures and each trained one of tests/models: an F16 file gives the
stored token ids, log-probabilities and greedy continuation; Q8_0, Q4_K_M and Q2_K files load and stay
as close as their bits allow.

    QCORE=build/bin/qcore python3 tests/integration/client_test.py

Needs numpy and xllamacpp; QCORE_SKIP_CLIENT=1 leaves the whole test out.
"""

import hashlib
import json
import os
import pathlib
import sys
import tempfile
import unittest

import numpy

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "fixtures")]

import llama_client
import make_random_models
import qcore

EXPECTED_LOGITS = TESTS / "fixtures" / "expected_logits"
EXPECTED_IDS = TESTS / "fixtures" / "expected_ids"
AWKWARD = json.loads((TESTS / "fixtures" / "awkward.json").read_text())
TRAINED = sorted(path.parent.name for path in (TESTS / "models").glob("*/model.safetensors"))

LOGIT_TOLERANCE = 0.05
CLEAR = 0.1  # a greedy choice closer than this may fall the other way after rounding
SAMPLE = 8  # positions at which the smaller files are compared

# preset: largest mean Kullback-Leibler divergence (nats) from the source that its bits explain
DIVERGENCE = {"Q8_0": 0.01, "Q4_K_M": 0.25, "Q2_K": 2.0}


def log_softmax(logits):
    logits = logits.astype(float)
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - numpy.log(numpy.exp(logits).sum(axis=-1, keepdims=True))


def tokenizer_of(name):
    return make_random_models.CASES[name][1] if name in make_random_models.CASES else name


class ClientTest(unittest.TestCase):
    """One method for each model and preset, made below."""

    @classmethod
    def setUpClass(cls):
        if os.environ.get("QCORE_SKIP_CLIENT") == "1":
            raise unittest.SkipTest("QCORE_SKIP_CLIENT=1")
        if not llama_client.available():
            raise RuntimeError("the package xllamacpp is missing: pip install xllamacpp, or set QCORE_SKIP_CLIENT=1")
        cls.scratch = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.scratch.name)

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def source(self, name):
        """The model's Hugging Face folder, written on first use."""
        if name in TRAINED:
            return TESTS / "models" / name
        folder = self.folder / name
        return folder if folder.exists() else make_random_models.write_model(name, folder)

    def stored(self, name):
        """What transformers made of the source, as long as it was this source."""
        stored = numpy.load(EXPECTED_LOGITS / f"{name}.npz")
        if "weights" in stored:
            weights = hashlib.sha256((self.source(name) / "model.safetensors").read_bytes()).hexdigest()
            self.assertEqual(str(stored["weights"]), weights, "other weights: run make_expected.py logits " + name)
        return stored

    def convert(self, name, preset):
        output = self.folder / f"{name}-{preset}.gguf"
        return (
            output if output.exists() else qcore.convert(self.source(name), output, preset, self.folder / "recipe.yaml")
        )

    def check_faithful(self, name):
        """The F16 file: ids, log-probabilities, greedy continuation."""
        stored = self.stored(name)
        ids = json.loads((EXPECTED_IDS / f"{tokenizer_of(name)}.json").read_text())
        answer = llama_client.ask(
            self.convert(name, "F16"),
            tokenize=AWKWARD,
            parse=[text for text, _ in ids["parsed"]],
            logits=stored["tokens"],
            greedy=stored["tokens"],
            count=len(stored["greedy"]),
        )
        self.check_ids(AWKWARD, ids["plain"], answer["tokens"])
        self.check_ids(*zip(*ids["parsed"]), answer["parsed"])
        self.check_logits(stored["logits"], answer["log_probabilities"])
        self.check_greedy(stored, answer["greedy"])
        if "text" in stored and min(stored["margin"]) >= CLEAR:
            self.assertEqual(answer["text"], str(stored["text"]))

    def check_ids(self, texts, expected, got):
        wrong = [f"{ascii(t)}: expected {e}, got {g}" for t, e, g in zip(texts, expected, got) if e != g]
        self.assertFalse(wrong, f"{len(wrong)} of {len(texts)} texts differ:\n" + "\n".join(wrong[:10]))

    def check_logits(self, logits, log_probabilities):
        got = numpy.array(log_probabilities, float)
        self.assertEqual(got.shape, logits.shape)
        self.assertLessEqual(numpy.abs(got - log_softmax(logits)).max(), LOGIT_TOLERANCE)

    def check_greedy(self, stored, got):
        close = numpy.flatnonzero(stored["margin"] < CLEAR)
        clear = int(close[0]) if len(close) else len(stored["greedy"])
        self.assertGreaterEqual(clear, 4, "the stored continuation is too uncertain to compare")
        self.assertEqual(list(got[:clear]), stored["greedy"][:clear].tolist())

    def check_close(self, name, preset):
        self.check_divergence(name, preset, self.convert(name, preset))

    def check_divergence(self, name, preset, file):
        """A smaller file: it loads, and the distribution stays near the source's."""
        stored = self.stored(name)
        answer = llama_client.ask(file, logits=stored["tokens"][:SAMPLE])
        got, source = numpy.array(answer["log_probabilities"], float), log_softmax(stored["logits"][:SAMPLE])
        divergence = (numpy.exp(source) * (source - got)).sum(axis=1).mean()
        self.assertLessEqual(divergence, DIVERGENCE[preset])

    def test_from_gguf(self):
        """A GGUF file as the source: what comes out is what comes of the folder, a rounding to F16 aside."""
        recipe = self.folder / "recipe.yaml"
        for name in ("llama", "qwen3"):
            output = self.folder / f"{name}-again.gguf"
            qcore.convert(self.convert(name, "F16"), output, "Q4_K_M", recipe)
            self.check_divergence(name, "Q4_K_M", output)


def add_tests():
    for name in list(make_random_models.CASES) + TRAINED:
        label = name.replace("-", "_")
        setattr(ClientTest, f"test_{label}_F16", lambda self, name=name: self.check_faithful(name))
        for preset in DIVERGENCE:
            setattr(
                ClientTest,
                f"test_{label}_{preset}",
                lambda self, name=name, preset=preset: self.check_close(name, preset),
            )


add_tests()

if __name__ == "__main__":
    unittest.main()
