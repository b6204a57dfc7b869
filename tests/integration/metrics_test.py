"""Metrics of the model in the tree: against NumPy on made-up logits, llama-perplexity's stored figures, llama.cpp's own
greedy decoding; the same for any number of threads; and what is refused.

    QCORE=build/bin/qcore python3 tests/integration/metrics_test.py

Needs numpy and gguf; xllamacpp for one test.
"""

import json
import os
import pathlib
import struct
import sys
import tempfile
import unittest

import numpy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import base_file
import llama_client
import qcore

TESTS = qcore.ROOT / "tests"
TALE, TEXT = TESTS / "models" / "tale", TESTS / "models" / "tale-eval" / "eval.txt"
TASKS = TESTS / "models" / "tale-eval" / "tasks.jsonl"
STORED = json.loads((TESTS / "fixtures" / "expected_perplexity.json").read_text())
SANITIZED = bool(os.environ.get("QCORE_SANITIZE"))


def evaluate(model, *options, **sections):
    """The metrics, by name; sections of `evaluate:` as keywords."""
    return json.loads(attempt(model, *options, **sections).stdout)["metrics"]


def attempt(model, *options, **sections):
    with tempfile.TemporaryDirectory() as folder:
        recipe = pathlib.Path(folder) / "recipe.yaml"
        sections = {key: str(value) if isinstance(value, pathlib.Path) else value for key, value in sections.items()}
        recipe.write_text(json.dumps({"model": {"path": str(model)}, "evaluate": sections}))
        process = qcore.run("eval", "-c", recipe, "--json", *options)
    return process


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = pathlib.Path(cls.folder.name)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()


class NumpyTest(Case):
    """Logits of 30 tokens are stored, as transformers has them: held against logits that are made up."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        stored = numpy.load(TESTS / "fixtures" / "expected_logits" / "tale.npz")
        cls.tokens, cls.logits = stored["tokens"], stored["logits"]
        cls.context = len(cls.tokens)
        rows = base_file.scored(cls.context)
        random = numpy.random.default_rng(7)
        made_up = cls.logits[rows] + random.standard_normal((len(rows), cls.logits.shape[1]))
        cls.base = base_file.write(cls.path / "base.kld", cls.context, [cls.tokens] * 3, numpy.array([made_up] * 3))
        cls.wanted = base_file.figures(cls.base, numpy.tile(cls.logits[rows], (3, 1)), numpy.tile(cls.tokens[rows + 1], 3))

    def test_figures_are_those_of_the_formulas(self):
        found = evaluate(TALE, reference=self.path / "base.kld")
        for metric, figures in self.wanted.items():
            for name, (value, error) in figures.items():
                with self.subTest(metric=metric, figure=name):
                    self.assertAlmostEqual(found[metric][name]["value"], value, delta=2e-4 * abs(value) + 1e-5)
                    self.assertEqual("error" in found[metric][name], error is not None)
                    if error is not None:
                        self.assertAlmostEqual(found[metric][name]["error"], error, delta=2e-4 * error + 1e-5)
        self.assertEqual(found["perplexity"]["tokens"]["value"], 3 * len(base_file.scored(self.context)))

    def test_the_file_replaces_the_text(self):
        both = attempt(TALE, reference=self.path / "base.kld", text=[str(TEXT)], context=64)
        self.assertIn("qcore: warning: ", both.stderr)
        self.assertIn("base.kld has windows of its own, which replace evaluate.text and context", both.stderr)
        alone = attempt(TALE, reference=self.path / "base.kld")
        self.assertNotIn("warning", alone.stderr)
        self.assertEqual(json.loads(both.stdout)["metrics"], json.loads(alone.stdout)["metrics"])


class AgreementTest(Case):
    """Figures that llama-perplexity printed: fixtures/README.md has the commands."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.found = {}
        qcore.convert(TALE, cls.path / "F16.gguf", "F16", cls.path / "r.yaml")
        for preset in () if SANITIZED else ("Q4_K_M", "Q2_K"):
            model = qcore.convert(TALE, cls.path / f"{preset}.gguf", preset, cls.path / "r.yaml")
            cls.found[preset] = evaluate(model, text=[str(TEXT)], reference=cls.path / "F16.gguf")

    def near(self, found, wanted, share):
        self.assertLessEqual(abs(found - wanted), share * abs(wanted), f"{found} is not within {share:%} of {wanted}")

    @unittest.skipIf(SANITIZED, "slow")
    def test_perplexity(self):
        for preset, found in self.found.items():
            self.near(found["perplexity"]["reference"]["value"], STORED["F16"]["perplexity"], 0.002)
            self.near(found["perplexity"]["value"]["value"], STORED[preset]["perplexity"], 0.002)
            self.near(found["perplexity"]["value"]["value"], STORED[preset + "-f32"]["perplexity"], 0.0002)
            self.near(found["perplexity"]["value"]["error"], STORED[preset]["perplexity_error"], 0.01)

    @unittest.skipIf(SANITIZED, "slow")
    def test_divergence(self):
        """Against the same weights as float32: llama.cpp then rounds no activations to 8 bits, which alone costs it 3 % of
        the divergence at Q4_K_M (see fixtures/README.md)."""
        for preset, found in self.found.items():
            wanted = STORED[preset + "-f32"]
            for name, key, share in (("mean", "kld", 0.02), ("median", "kld_median", 0.02), ("p99", "kld_99", 0.02),
                                     ("same_top", "same_top", 0.005), ("delta_p_rms", "delta_p_rms", 0.02)):
                self.near(found["kld"][name]["value"], wanted[key], share)
            self.near(found["kld"]["mean"]["error"], wanted["kld_error"], 0.02)
            self.near(found["kld"]["mean"]["value"], STORED[preset]["kld"], 0.05)


class TasksTest(Case):
    def test_exact_answers_are_what_llama_cpp_says(self):
        if not llama_client.available():
            self.skipTest("xllamacpp is not installed")
        lines = [json.loads(line) for line in TASKS.read_text().splitlines()]
        chosen = [line for kind in ("sum", "lookup", "rare", "cloze")
                  for line in [l for l in lines if l["kind"] == kind][5:7]]
        wrong = [dict(line, kind="wrong", answer=line["answer"][:-1]) for line in chosen[:3]]  # "16" where it says "169"
        file, model = self.path / "some.jsonl", self.path / "tale.gguf"
        file.write_text("".join(json.dumps(line) + "\n" for line in chosen + wrong))
        qcore.convert(TALE, model, "F16", self.path / "r.yaml")
        found = evaluate(model, metrics=[{"tasks": {"file": str(file)}}])["tasks"]
        right = 0
        prompts = llama_client.ask(model, parse=[line["prompt"] for line in chosen])["parsed"]
        for line, ids in zip(chosen, prompts):
            text = llama_client.ask(model, greedy=ids, count=10)["text"]
            after = text[len(line["answer"]):]
            right += text.startswith(line["answer"]) and not (after[:1].isalnum() and after[:1].isascii())
        self.assertEqual(found["wrong.accuracy"]["value"], 0)
        self.assertEqual(found["questions"]["value"], len(chosen) + len(wrong))
        self.assertAlmostEqual(found["accuracy"]["value"], right / (len(chosen) + len(wrong)), places=6)

    def test_choices_of_the_likelier_text_are_taken(self):
        file = self.path / "choices.jsonl"
        sums = [("12 + 30 =", 42), ("50 + 41 =", 91), ("73 + 96 =", 169), ("8 + 9 =", 17)]
        lines = [{"prompt": p, "choices": [f" {n - 1}", f" {n}", f" {n + 10}"], "answer": 1} for p, n in sums]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        found = evaluate(TALE, metrics=[{"tasks": {"file": str(file)}}, {"tasks": {"file": str(file), "limit": 1}}])
        self.assertEqual(found["tasks"]["accuracy"]["value"], 1)
        self.assertEqual(found["tasks"]["accuracy_per_byte"]["value"], 1)
        self.assertEqual(found["tasks#2"]["questions"]["value"], 1)

    def test_a_needle_in_the_form_the_model_learnt_is_found(self):
        needle = {"lengths": "128", "depths": "0, 100", "trials": 4, "needle": "The code of {name} is {value}.",
                  "question": "What is the code of {name}?", "names": "Karl, Hugo, Lena, Ben, Theo, Will, Rita"}
        found = evaluate(TALE, text=[str(TEXT)], tokens=4096, metrics=[{"retrieval": needle}])["retrieval"]
        self.assertEqual(found["questions"]["value"], 8)
        self.assertGreaterEqual(found["accuracy"]["value"], 0.5)
        self.assertEqual(found["accuracy"]["value"], found["length_128"]["value"])


class SamenessTest(Case):
    def test_threads_and_cpu_levels_change_no_bit(self):
        model = qcore.convert(TALE, self.path / "m.gguf", "Q2_K", self.path / "r.yaml")

        def same(tokens, questions, *variants):
            metrics = ["perplexity", "kld", "tokens", {"tasks": {"file": str(TASKS), "limit": questions}}]
            outputs = {attempt(model, *variant, text=[str(TEXT)], tokens=tokens, context=128, reference=str(TALE),
                               metrics=metrics).stdout for variant in variants}
            self.assertEqual(len(outputs), 1)
            self.assertEqual(set(json.loads(outputs.pop())["metrics"]), {"perplexity", "kld", "tokens", "tasks"})

        same(1600, 3, ("--threads", 1), ("--threads", 2), ("--threads", 7))
        # the level without vectors takes 60 times as long: few tokens
        same(256, 1, (), ("--cpu-mask", "x86-v3"), ("--cpu-mask", "x86-v2"))

    def test_a_stride_scores_every_token_once(self):
        common = {"text": [str(TEXT)], "tokens": 1024, "context": 256}
        plain = evaluate(TALE, **common)["perplexity"]
        strided = evaluate(TALE, stride=64, **common)["perplexity"]
        self.assertEqual(plain["tokens"]["value"], 4 * 127)
        self.assertEqual(strided["tokens"]["value"], 1024 - 129)
        self.assertNotEqual(plain["value"], strided["value"])


class RefusalTest(Case):
    def refused(self, words, model=TALE, code=2, **sections):
        process = attempt(model, **sections)
        self.assertEqual(process.returncode, code, process.stderr)
        lines = process.stderr.strip().splitlines()
        self.assertEqual(len(lines), 1, process.stderr)
        for word in words if isinstance(words, list) else [words]:
            self.assertIn(word, lines[0])

    def test_a_text_that_is_missing_empty_or_short(self):
        empty, short = self.path / "empty.txt", self.path / "short.txt"
        empty.write_text("")
        short.write_text("A few words.")
        self.refused(str(self.path / "none.txt"), code=5, text=[str(self.path / "none.txt")])
        self.refused("empty", text=[str(empty)])
        self.refused("512", text=[str(short)])
        self.refused("neither a text nor metrics")
        self.refused(["metric perplexity", "evaluate.text", "recipe.yaml:"], metrics=["perplexity"])
        self.refused(["metric retrieval", "there is none"], metrics=["retrieval"])

    def test_metrics_that_lack_something(self):
        self.refused(["metric kld", "evaluate.reference"], text=[str(TEXT)], metrics=["kld"])
        self.refused("did you mean", text=[str(TEXT)], metrics=["perplexty"])
        self.refused(["metric tasks", "'file' is missing"], metrics=["tasks"])
        self.refused(["metric tasks", "no setting 'files'"], metrics=[{"tasks": {"files": "x"}}])
        self.refused(["metric tasks", "none.jsonl"], code=5, metrics=[{"tasks": {"file": str(self.path / "none.jsonl")}}])
        bad = self.path / "bad.jsonl"
        bad.write_text('{"prompt": "a", "answer": " b"}\n{"prompt": "a", "answer": 3}\n')
        self.refused(["metric tasks", "bad.jsonl:2", '"answer" must be a text'], metrics=[{"tasks": {"file": str(bad)}}])

    def test_vocabularies_that_differ(self):
        sys.path.insert(0, str(TESTS / "fixtures"))
        import make_random_models

        make_random_models.write_model("llama", self.path / "llama")
        self.refused(["cannot be compared", "1536 tokens"], text=[str(TEXT)], reference=str(self.path / "llama"))

    def test_base_files_that_do_not_fit(self):
        tokens, logits = numpy.arange(8), numpy.random.default_rng(1).standard_normal((1, 3, 1536))
        good, other = self.path / "good.kld", self.path / "other.kld"
        base_file.write(good, 8, [tokens], logits)
        base_file.write(other, 8, [tokens], logits[:, :, :1000])
        self.refused(["cannot be compared", "1536", "1000", "other.kld"], reference=str(other))
        self.refused("stride", reference=str(good), stride=4)
        data = bytearray(good.read_bytes())
        for name, change in {"cut": data[:-1], "token": data[:20] + struct.pack("<i", 1536) + data[24:],
                             "context": data[:8] + struct.pack("<i", 2) + data[12:]}.items():
            (self.path / name).write_bytes(change)
            self.refused(name, code=4, reference=str(self.path / name))
        (self.path / "nan").write_bytes(data[:52] + struct.pack("<f", numpy.nan) + data[56:])
        self.refused("row 0", code=6, reference=str(self.path / "nan"))


if __name__ == "__main__":
    unittest.main()
