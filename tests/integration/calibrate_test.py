"""Calibration: an imatrix equal to llama-imatrix's, Gram matrices and samples that belong together, files that are
taken back, the same bytes for any threads, CPU and memory, and what is refused.

    QCORE=build/bin/qcore python3 tests/integration/calibrate_test.py

Needs numpy and gguf.
"""

import json
import pathlib
import shutil
import sys
import tempfile
import unittest

import gguf
import numpy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import qcore

TESTS = qcore.ROOT / "tests"
TALE = TESTS / "models" / "tale"
TEXT = TESTS / "models" / "tale-eval" / "calibration.txt"
SMALL = TESTS / "fixtures" / "small_models" / "llama"
EXPECTED = TESTS / "fixtures" / "expected_imatrix.gguf"
SUMS, COUNTS = ".in_sum2", ".counts"
QUERY, KEY, DOWN = "blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.1.ffn_down.weight"


def tensors_of(path):
    """{name: float32 array of the shape that the file has, slowest dimension first}."""
    return {t.name: t.data.reshape(tuple(reversed(t.shape.tolist()))).copy() for t in gguf.GGUFReader(path).tensors}


def fields_of(path):
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}


def write_statistics(path, tensors, fields):
    writer = gguf.GGUFWriter(path, "imatrix")
    writer.add_type("imatrix")
    for name, value in fields.items():
        if isinstance(value, list):
            writer.add_array(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
    for name, value in tensors.items():
        writer.add_tensor(name, numpy.ascontiguousarray(value, "<f4"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


class CalibrateTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.shared = pathlib.Path(cls.folder.name)
        cls.model = qcore.convert(TALE, cls.shared / "tale-F16.gguf", "F16", cls.shared / "f16.yaml")
        cls.wide = cls.record(cls.shared / "wide.gguf", "--record", "gram,absmax,samples", "--tokens", 2048)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def record(cls, output, *options, model=None, text=TEXT):
        """What qcore calibrate saves; an AssertionError that says what it said, if it fails."""
        process = qcore.run("calibrate", model or cls.model, "--text", text, "--output", output, "-q", *options)
        if process.returncode != 0:
            raise AssertionError(process.stderr)
        return output

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.scratch = pathlib.Path(folder.name)

    def quantized(self, name="out.gguf", **calibration):
        """Bytes of the tensors of a Q2_K with this calibration."""
        recipe = qcore.write_recipe(self.scratch / "recipe.yaml", self.model, self.scratch / name,
                                    calibration=calibration,
                                    quantize={"preset": "Q2_K", "methods": ["imatrix"]})
        process = qcore.run("-c", recipe, "-q")
        self.assertEqual(process.returncode, 0, process.stderr)
        return {t.name: t.data.tobytes() for t in gguf.GGUFReader(self.scratch / name).tensors}

    def expect_error(self, status, words, *arguments):
        process = qcore.run(*arguments)
        self.assertEqual(process.returncode, status, process.stderr)
        self.assertRegex(process.stderr.splitlines()[-1], f"^qcore: error: .*{words}")

    # ---- against llama-imatrix ----

    def test_equals_llama_imatrix(self):
        ours = self.scratch / "imatrix.gguf"
        process = qcore.run("calibrate", self.model, "--text", TEXT, "--tokens", 16 * 512, "--output-weight",
                            "--imatrix", ours, "-q")
        self.assertEqual(process.returncode, 0, process.stderr)
        mine, theirs = tensors_of(ours), tensors_of(EXPECTED)
        names = [name for name in theirs if name.endswith((SUMS, COUNTS))]
        self.assertEqual(sorted(mine), sorted(names))
        for name in names:
            self.assertEqual(mine[name].size, theirs[name].size)
            numpy.testing.assert_allclose(mine[name].ravel(), theirs[name].ravel(),
                                          rtol=0 if name.endswith(COUNTS) else 0.01, err_msg=name)
        for key in "general.type", "imatrix.chunk_count", "imatrix.chunk_size":
            self.assertEqual(fields_of(ours)[key], fields_of(EXPECTED)[key])
        self.assertEqual(fields_of(ours)["imatrix.datasets"], ["calibration.txt"])

    def test_takes_theirs(self):
        self.quantized(imatrix=str(EXPECTED))
        fields = fields_of(self.scratch / "out.gguf")
        self.assertEqual(fields["quantize.imatrix.chunks_count"], 16)
        self.assertEqual(fields["quantize.imatrix.entries_count"], 43)

    # ---- what is recorded ----

    def test_statistics_belong_together(self):
        tensors, fields = tensors_of(self.wide), fields_of(self.wide)
        inputs = dict(zip(fields["qcore.statistics.tensors"], fields["qcore.statistics.inputs"]))
        self.assertEqual(inputs[QUERY], KEY)
        self.assertEqual(inputs["blk.0.attn_v.weight"], KEY)
        self.assertEqual(inputs[DOWN], DOWN)
        self.assertNotIn(QUERY + ".gram", tensors)
        for name in set(inputs.values()):
            gram, mean = tensors[name + ".gram"].astype(float), tensors[name + SUMS].ravel() / 2048.0
            samples = tensors[name + ".samples"]
            numpy.testing.assert_allclose(numpy.diag(gram), mean, rtol=1e-4)
            numpy.testing.assert_array_equal(gram, gram.T)
            self.assertGreater(numpy.linalg.eigvalsh(gram).min(), -1e-5 * numpy.trace(gram))
            absmax = tensors[name + ".absmax"].ravel()
            self.assertTrue((absmax**2 >= mean * (1 - 1e-5)).all())
            self.assertTrue((numpy.abs(samples) <= absmax).all())
            self.assertEqual(tensors[name + ".n_samples"].ravel().tolist(), [228])  # every 9th of 2048

    def test_the_gram_matrix_is_that_of_the_samples(self):
        """Where every row is kept as a sample."""
        file = self.record(self.scratch / "few.gguf", "--record", "gram,absmax,samples", "--tokens", 64, "--context", 64)
        tensors = tensors_of(file)
        for name in KEY, DOWN:
            x = tensors[name + ".samples"].astype(float)[:64]
            self.assertEqual(tensors[name + ".n_samples"].ravel().tolist(), [64])
            scale = (x.T @ x / 64).max()
            numpy.testing.assert_allclose(tensors[name + ".gram"], x.T @ x / 64, rtol=1e-4, atol=1e-6 * scale)
            numpy.testing.assert_allclose(tensors[name + SUMS].ravel(), (x * x).sum(axis=0), rtol=1e-6)
            numpy.testing.assert_array_equal(tensors[name + ".absmax"].ravel(), numpy.abs(x).max(axis=0))

    def same_bytes(self, tokens, *variants):
        options = "--record", "gram,absmax,samples", "--output-weight", "--context", 128, "--tokens", tokens
        want = self.record(self.scratch / "want.gguf", *options).read_bytes()
        for more in variants:
            file = self.record(self.scratch / "other.gguf", *options, *more)
            self.assertEqual(file.read_bytes(), want, more)
            file.unlink()

    def test_same_bytes_for_threads_and_memory(self):
        """Six windows, of which the least memory has room for four at a time."""
        self.same_bytes(768, ("-t", 1), ("-t", 2), ("-t", 7), ("--memory", "56MiB"))

    def test_same_bytes_for_cpu_levels(self):
        """Few tokens: the level without vectors takes 60 times as long."""
        self.same_bytes(256, ("--cpu-mask", "generic"), ("--cpu-mask", "x86-v3"), ("--cpu-mask", "x86-v4"))

    def test_several_texts_are_one(self):
        text = TEXT.read_text()
        cut = text.index("\n", 9000)
        for name, part in (("a.txt", text[:cut]), ("b.txt", text[cut:20000])):
            (self.scratch / name).write_text(part)
        (self.scratch / "both.txt").write_text(text[:20000])
        apart = self.record(self.scratch / "apart.gguf", "--text", self.scratch / "b.txt", text=self.scratch / "a.txt")
        fields = fields_of(apart)
        self.assertEqual(fields["imatrix.datasets"], ["a.txt", "b.txt"])
        whole = fields_of(self.record(self.scratch / "whole.gguf", text=self.scratch / "both.txt"))
        self.assertLessEqual(abs(fields["imatrix.chunk_count"] - whole["imatrix.chunk_count"]), 1)

    # ---- use ----

    def test_saved_and_direct_give_the_same_bytes(self):
        saved = self.scratch / "saved.gguf"
        direct = self.quantized(text=[str(TEXT)], tokens=2048, output=str(saved), record=["gram", "absmax", "samples"])
        self.assertEqual(saved.read_bytes(), self.wide.read_bytes())
        self.assertEqual(direct, self.quantized("reused.gguf", imatrix=str(saved)))
        fields = fields_of(self.scratch / "out.gguf")
        self.assertEqual(fields["quantize.imatrix.dataset"], "calibration.txt")
        self.assertEqual(fields["quantize.imatrix.chunks_count"], 4)
        self.assertNotIn("quantize.imatrix.file", fields)

    def test_the_older_layout(self):
        process = qcore.run("calibrate", self.model, "--text", TEXT, "--tokens", 2048, "--imatrix",
                            self.scratch / "i.dat", "--imatrix", self.scratch / "i.dat", "-q")
        self.assertEqual(process.returncode, 0, process.stderr)
        data = (self.scratch / "i.dat").read_bytes()
        self.assertEqual(int.from_bytes(data[:4], "little"), 42)
        self.assertTrue(data.endswith(b"\x04\0\0\0\x0f\0\0\0calibration.txt"))
        old, new = self.quantized("old.gguf", imatrix=str(self.scratch / "i.dat")), self.quantized("new.gguf", imatrix=str(self.wide))
        same = sum(old[name] == new[name] for name in new)
        self.assertGreater(same, len(new) // 2)  # the rest differ where rounding a mean twice moves a code

    def test_the_name_of_a_text_that_is_shipped(self):
        options = "--tokens", 1024, "--record", "mean_square"
        file = qcore.ROOT / "configs" / "calibration" / "mixed.txt"
        named = self.record(self.scratch / "named.gguf", *options, text="mixed")
        self.assertEqual(named.read_bytes(), self.record(self.scratch / "file.gguf", *options, text=file).read_bytes())
        self.expect_error(5, "mixt.*No such file", "calibrate", self.model, "--text", "mixt", "--output", self.scratch / "x.gguf")

    def test_the_summary(self):
        arguments = "calibrate", self.model, "--text", TEXT, "--tokens", 1024, "--imatrix"
        process = qcore.run(*arguments, self.scratch / "a.gguf")
        self.assertRegex(process.stdout, "24 inputs of 42 tensors over 1024 tokens in 2 windows of 512")
        self.assertRegex(process.stdout, "most uneven inputs")
        self.assertRegex(process.stdout, r"Saved \S*a\.gguf\n$")
        summary = json.loads(qcore.run(*arguments, self.scratch / "b.gguf", "--json").stdout)
        self.assertEqual(summary["tokens"], 1024)
        self.assertEqual((summary["imatrix"], summary["output"]), (str(self.scratch / "b.gguf"), None))
        self.assertEqual(len(summary["inputs"]), 24)
        self.assertEqual(sum(i["tensors"] for i in summary["inputs"]), 42)

    def test_a_method_lacks_statistics(self):
        recipe = qcore.write_recipe(self.scratch / "recipe.yaml", self.model, self.scratch / "out.gguf",
                                    quantize={"preset": "Q4_K_M", "methods": ["imatrix"]})
        self.expect_error(2, "imatrix needs .*calibration.text, or .*calibration.imatrix", "-c", recipe)

    # ---- what is refused ----

    def test_bad_texts(self):
        (self.scratch / "empty.txt").write_text("")
        (self.scratch / "short.txt").write_text("Once upon a time.")
        for text, status, words in (("empty.txt", 2, "empty"), ("short.txt", 2, "512"), ("none.txt", 5, "none.txt")):
            self.expect_error(status, words, "calibrate", self.model, "--text", self.scratch / text, "--imatrix",
                              self.scratch / "i.gguf")
        self.assertFalse((self.scratch / "i.gguf").exists())

    def test_too_little_memory(self):
        self.expect_error(7, "needs .* of memory: .* for statistics; run.memory allows 24", "calibrate", self.model,
                          "--text", TEXT, "--record", "gram", "--output", self.scratch / "s.gguf", "--memory", "24MiB")

    def test_bad_places_to_save(self):
        """Said before the text is looked for."""
        for name, status, words in (("s.txt", 2, "name it"), ("s.dat", 3, "cannot hold")):
            self.expect_error(status, words, "calibrate", self.model, "--text", "none.txt", "--record", "gram",
                              "--output", self.scratch / name)
        model = shutil.copy(self.model, self.scratch / "model.gguf")
        self.expect_error(2, "model.gguf is an input", "calibrate", model, "--text", TEXT, "--tokens", 512, "--imatrix",
                          model)
        self.assertEqual(pathlib.Path(model).read_bytes(), self.model.read_bytes())

    def test_bad_files(self):
        tensors, fields = tensors_of(self.wide), fields_of(self.wide)
        keys, inputs = fields["qcore.statistics.tensors"], fields["qcore.statistics.inputs"]

        def changed(name, index, value):
            array = tensors[name].copy()
            array[index] = value
            return {name: array}

        cases = (
            (changed(DOWN + ".gram", (3, 4), numpy.nan), {}, 6, "Gram matrix"),
            (changed(DOWN + ".gram", (3, 3), -1), {}, 6, "diagonal"),
            (changed(DOWN + ".absmax", 0, -1), {}, 6, "absolute values"),
            (changed(DOWN + ".samples", (0, 0), numpy.inf), {}, 6, "samples"),
            (changed(DOWN + ".n_samples", 0, 513), {}, 4, "513 samples"),
            ({DOWN + ".gram": tensors[DOWN + ".gram"][:5]}, {}, 4, "numbers"),
            ({DOWN + ".samples": tensors[DOWN + ".samples"][:, :5]}, {}, 4, "numbers"),
            ({DOWN + ".absmax": tensors[DOWN + ".absmax"].ravel()[:5]}, {}, 4, "numbers"),
            ({DOWN + ".n_samples": None}, {}, 4, "n_samples beside it"),
            ({DOWN + COUNTS: None}, {}, 4, "counts beside it"),
            ({}, {"qcore.statistics.inputs": inputs[1:]}, 4, "one length"),
            ({}, {"qcore.statistics.tensors": keys[::-1]}, 4, "not in order"),
            ({}, {"qcore.statistics.inputs": [DOWN] * len(keys)}, 4, "cannot share"),
        )
        for i, (other, metadata, status, words) in enumerate(cases):
            bad = {k: v for k, v in {**tensors, **other}.items() if v is not None}
            bad = write_statistics(self.scratch / f"bad{i}.gguf", bad, {**fields, **metadata})
            recipe = qcore.write_recipe(self.scratch / "recipe.yaml", self.model, self.scratch / "out.gguf", "Q2_K",
                                        calibration={"imatrix": str(bad)})
            with self.subTest(words=words, case=i):
                self.expect_error(status, words, "-c", recipe, "-q")
        good = write_statistics(self.scratch / "good.gguf", tensors, fields)
        self.assertEqual(self.quantized(imatrix=str(good)), self.quantized("b.gguf", imatrix=str(self.wide)))


if __name__ == "__main__":
    unittest.main()
