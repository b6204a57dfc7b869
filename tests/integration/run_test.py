"""Whole runs: what goes in comes out where and how the recipe says.

    QCORE=build/bin/qcore python3 tests/integration/run_test.py

Needs numpy, gguf and safetensors.
"""

import json
import os
import pathlib
import shutil
import struct
import sys
import tempfile
import unittest

import gguf
import numpy
import safetensors

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "fixtures")]

import make_random_models
import qcore

DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}


def read_checkpoint(folder):
    """{name: float64 array} of every *.safetensors file of a folder; BF16 too, which NumPy lacks."""
    tensors = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        data = path.read_bytes()
        start = 8 + struct.unpack("<Q", data[:8])[0]
        for name, entry in json.loads(data[8:start]).items():
            if name == "__metadata__":
                continue
            raw = data[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]]
            if entry["dtype"] == "BF16":
                values = (numpy.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
            else:
                values = numpy.frombuffer(raw, DTYPES[entry["dtype"]])
            tensors[name] = values.reshape(entry["shape"]).astype(float)
    return tensors


def tensors_of(path):
    """{name: (type, shape, bytes)} of a GGUF file."""
    return {t.name: (t.tensor_type.name, tuple(int(n) for n in t.shape), t.data.tobytes())
            for t in gguf.GGUFReader(path).tensors}


def in_pairs(weight, heads):
    """Rows of each head from halves to neighbours, as llama.cpp wants them of Llama."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


class RunTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.models = pathlib.Path(cls.folder.name)
        for name in "llama", "llama-sharded", "qwen2", "qwen3":
            make_random_models.write_model(name, cls.models / name)

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.scratch = pathlib.Path(folder.name)

    def convert(self, model, preset, name="out.gguf", **output):
        output = {"path": str(self.scratch / name), **output}
        recipe = self.recipe(model, preset, output)
        process = qcore.run("-c", recipe)
        self.assertEqual(process.returncode, 0, process.stderr)
        return self.scratch / name

    def recipe(self, model, preset, output):
        path = self.scratch / "recipe.yaml"
        path.write_text(json.dumps({"model": {"path": str(model)}, "quantize": {"preset": preset}, "output": output}))
        return path

    def expect_error(self, status, words, model, preset="F16", name="out.gguf", **output):
        recipe = self.recipe(model, preset, {"path": str(self.scratch / name), **output})
        process = qcore.run("-c", recipe, "-q")
        self.assertEqual(process.returncode, status, process.stderr)
        self.assertRegex(process.stderr, f"\\Aqcore: error: [^\n]*{words}[^\n]*\n\\Z")
        return process

    def write_gguf(self, name, tensors, architecture="mystery"):
        """tensors: {name: array, or (bytes as u8 array, type)}."""
        writer = gguf.GGUFWriter(self.scratch / name, architecture)
        for tensor, value in tensors.items():
            if isinstance(value, tuple):
                writer.add_tensor(tensor, value[0], raw_dtype=value[1])
            else:
                writer.add_tensor(tensor, value)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return self.scratch / name

    # ---- Hugging Face to GGUF ----

    def check_values(self, model, architecture, permuted):
        config = json.loads((self.models / model / "config.json").read_text())
        names = gguf.get_tensor_name_map(architecture, config["num_hidden_layers"])
        got = tensors_of(self.convert(self.models / model, "F16"))
        for name, weight in read_checkpoint(self.models / model).items():
            kind, shape, data = got.pop(names.get_name(name, (".weight", ".bias")))
            if permuted and ".q_proj." in name:
                weight = in_pairs(weight, config["num_attention_heads"])
            if permuted and ".k_proj." in name:
                weight = in_pairs(weight, config["num_key_value_heads"])
            self.assertEqual(kind, "F16" if weight.ndim > 1 else "F32", name)
            self.assertEqual(shape, weight.shape[::-1], name)
            self.assertEqual(data, weight.astype(DTYPES[kind]).tobytes(), name)
        self.assertEqual(set(got), set())

    def test_llama_rows_are_paired(self):
        self.check_values("llama", gguf.MODEL_ARCH.LLAMA, permuted=True)

    def test_shards(self):
        self.check_values("llama-sharded", gguf.MODEL_ARCH.LLAMA, permuted=True)

    def test_qwen_rows_are_not(self):
        self.check_values("qwen2", gguf.MODEL_ARCH.QWEN2, permuted=False)
        (self.scratch / "out.gguf").unlink()
        self.check_values("qwen3", gguf.MODEL_ARCH.QWEN3, permuted=False)

    def test_a_missing_tensor_is_named(self):
        broken = self.scratch / "broken"
        make_random_models.write_model("qwen2", broken)
        path = broken / "model.safetensors"
        data = path.read_bytes()
        path.write_bytes(data.replace(b"model.layers.1.mlp.up_proj.weight", b"model.layers.1.mlp.uq_proj.weight", 1))
        self.expect_error(3, "model.layers.1.mlp.uq_proj.weight", broken)
        path.write_bytes(data.replace(b'"model.layers.1.mlp.up_proj.weight"', b'"model.rotary_emb.inv_freq"        ', 1))
        self.expect_error(2, "model.layers.1.mlp.up_proj.weight.*blk.1.ffn_up.weight.*missing", broken)

    def test_an_unknown_class_lists_the_known(self):
        strange = self.scratch / "strange"
        make_random_models.write_model("llama", strange)
        config = (strange / "config.json").read_text().replace("LlamaForCausalLM", "FrogForCausalLM")
        (strange / "config.json").write_text(config)
        self.expect_error(3, "FrogForCausalLM.*LlamaForCausalLM", strange)

    # ---- GGUF to GGUF ----

    def test_two_ways_lead_to_the_same_bytes(self):
        f16 = self.convert(self.models / "llama", "F16", "f16.gguf")
        for preset in "Q8_0", "Q4_K_M":
            direct = self.convert(self.models / "llama", preset, f"direct-{preset}.gguf")
            again = self.convert(f16, preset, f"again-{preset}.gguf")
            self.assertEqual(tensors_of(direct), tensors_of(again))
            self.assertEqual(direct.read_bytes(), again.read_bytes())

    def test_what_no_plugin_decodes_is_carried_byte_for_byte(self):
        random = numpy.random.default_rng(2)
        weights = random.standard_normal((32, 256)).astype("<f2")
        codes = random.integers(0, 256, (16, 66), numpy.uint8)
        numbers = numpy.arange(8, dtype=numpy.int32)
        path = self.write_gguf("in.gguf", {
            "blk.0.attn_q.weight": weights,
            "blk.0.strange.weight": (codes, gguf.GGMLQuantizationType.IQ2_XXS),
            "blk.0.table": numbers,
        })
        got = tensors_of(self.convert(path, "Q8_0"))
        self.assertEqual(got["blk.0.strange.weight"], ("IQ2_XXS", (256, 16), codes.tobytes()))
        self.assertEqual(got["blk.0.table"], ("I32", (8,), numbers.tobytes()))
        wanted = gguf.quants.quantize(weights.astype("<f4"), gguf.GGMLQuantizationType.Q8_0)
        self.assertEqual(got["blk.0.attn_q.weight"][0], "Q8_0")
        decoded = gguf.quants.dequantize(numpy.frombuffer(got["blk.0.attn_q.weight"][2], numpy.uint8).reshape(wanted.shape),
                                         gguf.GGMLQuantizationType.Q8_0)
        self.assertLess(numpy.square(decoded - weights).sum() / numpy.square(weights.astype(float)).sum(), 1e-4)

    def test_a_run_that_could_quantize_nothing_says_so(self):
        codes = numpy.random.default_rng(2).integers(0, 256, (16, 66), numpy.uint8)
        path = self.write_gguf("in.gguf", {"blk.0.strange.weight": (codes, gguf.GGMLQuantizationType.IQ2_XXS)})
        self.expect_error(3, "no plugin decodes iq2_xxs, so nothing can be quantized", path, "Q4_K_M")

    def test_stacked_matrices(self):
        random = numpy.random.default_rng(3)
        experts = random.standard_normal((3, 40, 256)).astype("<f2")
        path = self.write_gguf("in.gguf", {"blk.0.ffn_up_exps.weight": experts})
        kind, shape, data = tensors_of(self.convert(path, "Q8_0"))["blk.0.ffn_up_exps.weight"]
        self.assertEqual((kind, shape), ("Q8_0", (256, 40, 3)))
        one = self.write_gguf("one.gguf", {"blk.0.ffn_up_exps.weight": experts[1].copy()})
        alone = tensors_of(self.convert(one, "Q8_0", "alone.gguf"))["blk.0.ffn_up_exps.weight"][2]
        self.assertEqual(data[len(alone) : 2 * len(alone)], alone)

    # ---- Hugging Face out ----

    def test_safetensors_out_keep_the_family_s_names(self):
        folder = self.convert(self.models / "llama", "F16", "hf", format="safetensors")
        self.compare_checkpoints(folder, self.models / "llama")
        for name in "tokenizer.json", "tokenizer_config.json":
            self.assertEqual((folder / name).read_bytes(), (self.models / "llama" / name).read_bytes())
        config = (self.models / "llama" / "config.json").read_text()
        self.assertEqual((folder / "config.json").read_text(), config.replace('"bfloat16"', '"float16"'))

    def test_from_gguf_back_to_the_family_s_names(self):
        f16 = self.convert(self.models / "llama", "F16")
        folder = self.convert(f16, "F16", "hf", format="safetensors")
        self.compare_checkpoints(folder, self.models / "llama")
        recipe = self.recipe(f16, "F16", {"path": str(folder), "format": "safetensors", "overwrite": True})
        self.assertIn("weights only", qcore.run("-c", recipe).stderr)

    def compare_checkpoints(self, got, source):
        mine, theirs = read_checkpoint(got), read_checkpoint(source)
        with safetensors.safe_open(got / "model.safetensors", "numpy") as file:
            self.assertEqual(set(file.keys()), set(theirs))
            for name, weight in theirs.items():
                self.assertEqual(tuple(file.get_slice(name).get_shape()), weight.shape)
                wanted = weight.astype("<f2") if weight.ndim > 1 else weight
                numpy.testing.assert_array_equal(mine[name], wanted, name)

    # ---- which file of a folder ----

    def test_shards_of_a_gguf_are_one_model(self):
        folder = self.scratch / "split"
        folder.mkdir()
        whole = self.convert(self.models / "llama", "F16", "whole.gguf")
        writer = gguf.GGUFWriter(folder / "model.gguf", "llama", split_max_tensors=8)
        for tensor in gguf.GGUFReader(whole).tensors:
            writer.add_tensor(tensor.name, tensor.data)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        self.assertEqual(len(list(folder.iterdir())), 3)
        self.assertEqual(tensors_of(self.convert(folder, "F16")), tensors_of(whole))

    def test_a_whole_file_is_read_before_shards(self):  # as transformers does
        both = self.scratch / "both"
        shutil.copytree(self.models / "llama", both)
        (both / "model.safetensors.index.json").write_text('{"weight_map": {"none": "gone.safetensors"}}')
        self.assertEqual(self.convert(both, "F16", "both.gguf").read_bytes(),
                         self.convert(self.models / "llama", "F16", "one.gguf").read_bytes())

    def test_a_folder_must_hold_one_model(self):
        folder = self.scratch / "folder"
        folder.mkdir()
        self.expect_error(2, "no model in this folder", folder)
        (folder / "imatrix.dat").write_bytes(b"no matter")
        self.expect_error(2, "no model in this folder", folder)
        self.convert(self.models / "llama", "F16", "folder/one.gguf")
        self.convert(folder, "F16", "again.gguf")
        self.convert(self.models / "llama", "F16", "folder/other.gguf")
        self.expect_error(2, "holds several models .*name the file", folder)
        (folder / "other.gguf").rename(folder / "model.safetensors")
        self.expect_error(2, "holds both", folder)

    def test_the_first_bytes_tell_what_a_name_does_not(self):
        f16 = self.convert(self.models / "llama", "F16", "f16.gguf")
        blob = self.scratch / "sha256-0123"
        f16.rename(blob)
        self.assertEqual(tensors_of(self.convert(blob, "F16")), tensors_of(blob))
        blob.write_bytes(b"nothing that anyone knows")
        self.expect_error(3, "no format plugin recognizes this file", blob, name="none.gguf")

    # ---- places ----

    def test_what_exists_stays(self):
        output = self.scratch / "out.gguf"
        output.write_bytes(b"mine")
        self.expect_error(2, "exists already", self.models / "llama")
        self.assertEqual(output.read_bytes(), b"mine")
        self.convert(self.models / "llama", "F16", overwrite=True)
        self.assertEqual(output.read_bytes()[:4], b"GGUF")
        self.assertEqual({path.name for path in self.scratch.iterdir()}, {"out.gguf", "recipe.yaml"})

    def test_no_weights_of_another_model_stay_in_the_folder(self):
        parts = {"safetensors": {"shard_bytes": 1000000}}
        folder = self.convert(self.models / "llama", "BF16", "hf", format=parts)
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        self.expect_error(2, "hf holds model.*safetensors.*remove it", self.models / "llama", "F16", "hf",
                          format="safetensors", overwrite=True)
        self.assertEqual({path.name: path.read_bytes() for path in folder.iterdir()}, before)
        self.convert(self.models / "llama", "F16", "hf", format=parts, overwrite=True)

    def test_the_input_is_no_output(self):
        f16 = self.convert(self.models / "llama", "F16", "f16.gguf")
        before = f16.read_bytes()
        os.link(f16, self.scratch / "hard.gguf")
        os.symlink(f16, self.scratch / "soft.gguf")
        for name in "f16.gguf", "hard.gguf", "soft.gguf":
            self.expect_error(2, "is an input", f16, name=name, overwrite=True)
        self.assertEqual(f16.read_bytes(), before)
        text = self.scratch / "text.gguf"
        text.write_text("Read, not to be replaced. " * 200)
        for section in "calibration", "evaluate":
            output = {"path": str(text), "overwrite": True}
            recipe = qcore.write_recipe(self.scratch / "recipe.yaml", f16, output, **{section: {"text": str(text)}})
            process = qcore.run("-c", recipe)
            self.assertEqual(process.returncode, 2, process.stderr)
            self.assertIn("is an input", process.stderr)
        self.assertTrue(text.read_text().startswith("Read"))

    def test_summary_as_json(self):
        recipe = self.recipe(self.models / "llama", "Q8_0", {"path": str(self.scratch / "out.gguf")})
        process = qcore.run("-c", recipe, "--json")
        self.assertEqual(process.returncode, 0, process.stderr)
        summary = json.loads(process.stdout)
        self.assertEqual(summary["output_bytes"], (self.scratch / "out.gguf").stat().st_size)
        self.assertLess(summary["relative_squared_error"], 1e-4)
        self.assertGreater(summary["relative_squared_error"], 1e-6)
        self.assertEqual({role["role"] for role in summary["roles"]} & {"attn_q", "ffn_down", "norm"},
                         {"attn_q", "ffn_down", "norm"})

    # ---- numbers ----

    def test_a_weight_that_is_no_number(self):
        for value, word in (numpy.nan, "NaN"), (numpy.inf, "Inf"):
            for kind in "<f2", "<f4":
                weights = numpy.ones((40, 256), kind)
                weights[33, 7] = value
                path = self.write_gguf("in.gguf", {"blk.0.attn_q.weight": weights})
                for preset in "F16", "Q8_0", "Q4_K_M":
                    self.expect_error(6, f"blk.0.attn_q.weight: row 33, column 7 is {word}", path, preset)
        self.assertFalse((self.scratch / "out.gguf").exists())

    def test_a_weight_that_does_not_fit(self):
        weights = numpy.ones((40, 256), "<f4")
        weights[2, 5] = 1e6
        path = self.write_gguf("in.gguf", {"blk.0.attn_q.weight": weights})
        self.expect_error(6, "blk.0.attn_q.weight: row 2, column 5: 1000000 does not fit into f16", path)


if __name__ == "__main__":
    unittest.main()
