"""All that an architecture's table of names can say, with a plugin made for it: experts stacked, one added to norms,
heads paired, weights transposed, tensors dropped, missing and unknown; and the way back.

    QCORE=build/bin/qcore python3 tests/integration/names_test.py

Needs numpy, gguf, safetensors and a C compiler ($CC, by default cc).
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import gguf
import numpy
from safetensors.numpy import load_file, save_file

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "fixtures")]

import qcore

FIXTURE = TESTS / "fixtures" / "plugins" / "families"
TOKENIZER = TESTS / "fixtures" / "tokenizers" / "gpt2"
WIDTH, HEADS, EXPERTS, BLOCKS = 64, 4, 3, 2


def build_plugin(folder):
    target = folder / "families"
    target.mkdir(parents=True)
    shutil.copy(FIXTURE / "plugin.ini", target)
    suffix = ".dylib" if sys.platform == "darwin" else ".so"
    subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-fPIC", "-shared", "-I", str(qcore.ROOT / "sdk" / "include"),
                    str(FIXTURE / "families.c"), "-o", str(target / f"libqc_families{suffix}")], check=True)


def in_pairs(weight):
    half = weight.shape[0] // HEADS // 2
    return weight.reshape(HEADS, 2, half, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


class NamesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.plugins = pathlib.Path(cls.folder.name) / "plugins"
        build_plugin(cls.plugins)
        random = numpy.random.default_rng(7)
        cls.vocabulary = len(json.loads((TOKENIZER / "tokenizer.json").read_text())["model"]["vocab"]) + 8
        draw = lambda *shape: random.standard_normal(shape).astype("<f2")
        cls.tensors = {"embed.weight": draw(cls.vocabulary, WIDTH), "norm.weight": draw(WIDTH)}
        for block in range(BLOCKS):
            cls.tensors[f"layers.{block}.query.weight"] = draw(128, WIDTH)
            cls.tensors[f"layers.{block}.query.bias"] = draw(128)
            for expert in range(EXPERTS):
                cls.tensors[f"layers.{block}.experts.{expert}.up.weight"] = draw(40, WIDTH)
        cls.columns = {"embed.weight": cls.tensors["embed.weight"], "layers.0.up.weight": draw(WIDTH, 200)}

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.scratch = pathlib.Path(folder.name)

    def write_model(self, tensors, family="ExpertsForTest"):
        folder = self.scratch / "model"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(TOKENIZER, folder)
        (folder / "config.json").write_text(json.dumps({"architectures": [family]}))
        save_file(tensors, folder / "model.safetensors")
        return folder

    def run_on(self, model, name="out.gguf", preset="F16", **output):
        output = {"path": str(self.scratch / name), **output}
        recipe = qcore.write_recipe(self.scratch / "recipe.yaml", model, output, preset)
        return qcore.run("-c", recipe, "-q", "--plugin-path", self.plugins)

    def convert(self, model, name="out.gguf", **options):
        process = self.run_on(model, name, **options)
        self.assertEqual(process.returncode, 0, process.stderr)
        return self.scratch / name

    def expect_error(self, tensors, words, family="ExpertsForTest"):
        process = self.run_on(self.write_model(tensors, family))
        self.assertIn(process.returncode, (2, 3), process.stderr)
        self.assertRegex(process.stderr, f"^qcore: error: [^\n]*{words}")

    def values(self, path):
        return {t.name: t.data.reshape([int(n) for n in t.shape][::-1]) for t in gguf.GGUFReader(path).tensors}

    def test_names_and_rows(self):
        got = self.values(self.convert(self.write_model(self.tensors)))
        self.assertEqual(len(got), 3 + 3 * BLOCKS)
        equal = numpy.testing.assert_array_equal
        equal(got["token_embd.weight"], self.tensors["embed.weight"])
        equal(got["output_norm.weight"], self.tensors["norm.weight"].astype("<f4") + numpy.float32(1))
        equal(got["rope_freqs.weight"], numpy.float32([1, 2.5]))
        for block in range(BLOCKS):
            source = f"layers.{block}."
            equal(got[f"blk.{block}.attn_q.weight"], in_pairs(self.tensors[source + "query.weight"]))
            equal(got[f"blk.{block}.attn_q.bias"], in_pairs(self.tensors[source + "query.bias"]).astype("<f4"))
            stacked = numpy.stack([self.tensors[f"{source}experts.{e}.up.weight"] for e in range(EXPERTS)])
            equal(got[f"blk.{block}.ffn_up_exps.weight"], stacked)

    def test_columns_become_rows(self):
        got = self.values(self.convert(self.write_model(self.columns, "ColumnsForTest")))
        numpy.testing.assert_array_equal(got["blk.0.ffn_up.weight"], self.columns["layers.0.up.weight"].T)

    def test_what_is_dropped_and_what_may_be_absent(self):
        more = {**self.tensors, "layers.0.inv_freq": numpy.ones(4, "<f4")}
        del more["layers.1.query.bias"]
        got = self.values(self.convert(self.write_model(more)))
        self.assertEqual(len(got), 3 + 3 * BLOCKS - 1)
        self.assertNotIn("blk.1.attn_q.bias", got)

    def test_what_is_refused(self):
        def without(name):
            return {key: value for key, value in self.tensors.items() if key != name}

        def with_(**others):
            return {**self.tensors, **others}

        up = self.tensors["layers.0.experts.1.up.weight"]
        self.expect_error(without("layers.1.query.weight"), r"layers\.1\.query\.weight.*blk\.1\.attn_q\.weight.*missing")
        self.expect_error(without("layers.0.experts.1.up.weight"), "2 experts, but config.json says 3")
        self.expect_error(with_(**{"layers.0.experts.3.up.weight": up}), "4 experts, but config.json says 3")
        self.expect_error(with_(**{"layers.2.query.weight": up}), "of block 2, but config.json says 2 blocks")
        self.expect_error(with_(**{"layers.0.gate.weight": up}), "layers.0.gate.weight' has no place in a model of family experts")
        self.expect_error(with_(**{"layers.0.experts.1.up.weight": up[:39].copy()}), "differs in shape or type")
        self.expect_error(with_(**{"layers.0.experts.1.up.weight": up.astype("<f4")}), "differs in shape or type")
        self.expect_error(with_(**{"layers.0.query.weight": up[:20].copy()}), "20 rows cannot be cut into 4 heads")
        self.expect_error(with_(**{"layers.0.query.weight": up.ravel().copy()}), "must be a matrix")
        self.expect_error(with_(**{"embed.weight": up[:, :32].copy()}), "32 wide, but config.json says 64")

    def test_there_and_back_again(self):
        model = self.write_model(self.tensors)
        f32 = self.convert(model, "f16.gguf")
        for source, name in (f32, "from-gguf"), (model, "from-family"):
            got = load_file(self.convert(source, name, format="safetensors") / "model.safetensors")
            extra = {"rope_freqs.weight"} if source == f32 else set()
            self.assertEqual(set(got), set(self.tensors) | extra)
            for tensor, values in self.tensors.items():
                if tensor == "norm.weight" and source == f32:  # one added and taken away again, in f32
                    numpy.testing.assert_allclose(got[tensor], values.astype("<f4"), atol=2e-7)
                else:
                    numpy.testing.assert_array_equal(got[tensor], values.astype(got[tensor].dtype), tensor)

    def test_what_cannot_go_back(self):
        gguf_file = self.convert(self.write_model(self.columns, "ColumnsForTest"))
        process = self.run_on(gguf_file, "back", format="safetensors")
        self.assertEqual(process.returncode, 3)
        self.assertIn("cannot be written transposed", process.stderr)


if __name__ == "__main__":
    unittest.main()
