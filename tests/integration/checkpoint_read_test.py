"""Packed checkpoints as inputs: folders written by NumPy alone, read by qcore, read back from GGUF by the gguf package.
Values are those of the definition, bit for bit; where the grids match, codes and scales stay as they are."""

import json
import pathlib
import sys
import tempfile
import unittest

import numpy as np
from gguf import GGUFReader

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import packed_folders as pf  # noqa: E402
import qcore  # noqa: E402


def gptq_config(bits=4, group=32, **more):
    return {"quant_method": "gptq", "bits": bits, "group_size": group or -1, "desc_act": False, "sym": True, **more}


AWQ = {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm"}


def tensors_config(bits=4, kind="int", symmetric=True, strategy="group", group=32, form="pack-quantized", **more):
    weights = {"num_bits": bits, "type": kind, "symmetric": symmetric, "strategy": strategy, "dynamic": False}
    if strategy == "group":
        weights["group_size"] = group
    weights.update(more)
    return {"quant_method": "compressed-tensors", "format": form, "quantization_status": "compressed",
            "ignore": ["lm_head"],
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": None}}}


class Case(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = pathlib.Path(scratch.name)
        self.rng = np.random.default_rng(3)

    def write(self, make, pack, config, **options):
        """make(rows, cols) -> codes; pack(codes) -> parts."""
        def linear(name, rows, cols):
            self.made[name + ".weight"] = codes = make(rows, cols)
            return pack(codes), codes.values()
        self.made = {}
        self.folder = self.scratch / "folder"
        return pf.write(self.folder, linear, config, **options)

    def run_qcore(self, encoding):
        recipe = qcore.write_recipe(self.scratch / "recipe.yaml", self.folder, self.scratch / "out.gguf",
                                    quantize={"encoding": encoding, "methods": ["rtn"]})
        return qcore.run("-c", recipe)

    def convert(self, encoding):
        process = self.run_qcore(encoding)
        self.assertEqual(process.returncode, 0, process.stderr)
        self.said = process.stderr + process.stdout
        return {t.name: t.data for t in GGUFReader(self.scratch / "out.gguf").tensors}

    def expect_values(self, make, pack, config, **options):
        values, _ = self.write(make, pack, config, **options)
        got = self.convert("f32")
        for name, expected in values.items():
            found = got[pf.gguf_name(name)]
            self.assertEqual(found.dtype, np.float32)
            expected = pf.gguf_rows(name, expected) + np.float32(0)  # -0 is 0
            np.testing.assert_array_equal(found + np.float32(0), expected, name)

    def codes(self, bits=4, group=32, **options):
        return lambda rows, cols: pf.Codes(self.rng, rows, cols, bits, group, **options)


class Values(Case):
    def test_gptq_widths(self):
        for bits in 2, 3, 4, 8:
            with self.subTest(bits=bits):
                self.setUp()
                self.expect_values(self.codes(bits), pf.gptq, gptq_config(bits))

    def test_gptq_whole_rows(self):
        self.expect_values(self.codes(4, 0), pf.gptq, gptq_config(4, 0))

    def test_gptq_odd_groups(self):
        self.expect_values(self.codes(4, 48), pf.gptq, gptq_config(4, 48))

    def test_gptq_asymmetric_first_version(self):
        for bits in 2, 3, 4, 8:
            with self.subTest(bits=bits):
                self.setUp()
                self.expect_values(self.codes(bits, symmetric=False), pf.gptq, gptq_config(bits, sym=False))
                self.assertNotIn("zero points stored", self.said)

    def test_gptq_asymmetric_second_version(self):
        self.expect_values(self.codes(symmetric=False, first_zeros=True), lambda c: pf.gptq(c, "gptq_v2"),
                           gptq_config(sym=False, checkpoint_format="gptq_v2"))

    def test_gptq_zeros_from_fields(self):
        self.expect_values(self.codes(symmetric=False, first_zeros=True), pf.gptq, gptq_config(sym=False))
        self.assertIn("zero points stored as 2^bits - 1", self.said)

    def test_gptq_zeros_from_whole_words(self):
        for bits in 2, 4, 8:
            with self.subTest(bits=bits):
                self.setUp()
                self.expect_values(self.codes(bits, symmetric=False, first_zeros=True),
                                   lambda c: pf.gptq(c, from_whole_words=True),
                                   gptq_config(bits, sym=False, meta={"quantizer": ["gptqmodel:7.7.0"]}))

    def test_gptq_act_order(self):
        for bits in 3, 4:
            with self.subTest(bits=bits):
                self.setUp()
                self.expect_values(self.codes(bits, order=True, symmetric=False), pf.gptq,
                                   gptq_config(bits, desc_act=True, sym=False))

    def test_gptq_mixed(self):
        def make(rows, cols):
            return pf.Codes(self.rng, rows, cols, *((8, 64) if rows > 128 else (4, 32)))
        self.expect_values(make, pf.gptq, gptq_config(dynamic={"+:.*gate.*": {"bits": 8, "group_size": 64}}))

    def test_gptq_side_file(self):
        config = gptq_config()
        del config["quant_method"]
        self.expect_values(self.codes(), pf.gptq, config, side_file="quantize_config.json")

    def test_awq(self):
        self.expect_values(self.codes(symmetric=False, first_zeros=True), pf.awq, AWQ)

    def test_awq_side_file(self):
        self.expect_values(self.codes(symmetric=False), pf.awq, {"w_bit": 4, "q_group_size": 32, "zero_point": True},
                           side_file="quant_config.json")

    def test_packed_widths(self):
        for bits in range(1, 9):
            for symmetric in True, False:
                with self.subTest(bits=bits, symmetric=symmetric):
                    self.setUp()
                    self.expect_values(self.codes(bits, symmetric=symmetric, dtype="BF16"), pf.packed,
                                       tensors_config(bits, symmetric=symmetric))

    def test_packed_as_it_was(self):
        for bits in 3, 5, 6, 7:
            for symmetric in True, False:
                with self.subTest(bits=bits, symmetric=symmetric):
                    self.setUp()
                    self.expect_values(self.codes(bits, symmetric=symmetric), lambda c: pf.packed(c, pf.whole_fields),
                                       tensors_config(bits, symmetric=symmetric))

    def test_packed_channels(self):
        self.expect_values(self.codes(4, 0, dtype="F32"), pf.packed, tensors_config(strategy="channel"))

    def test_packed_act_order(self):
        self.expect_values(self.codes(order=True, symmetric=False), lambda c: pf.packed(c, with_groups=True),
                           tensors_config(symmetric=False, actorder="group"))

    def test_scales_beyond_float16(self):
        def make(rows, cols):
            codes = pf.Codes(self.rng, rows, cols, 4, 32, dtype="BF16")
            codes.scale, codes.stored_scale = pf.as_bf16(codes.scale * np.float32(2.0 ** -20))
            return codes
        self.expect_values(make, pf.packed, tensors_config())

    def test_plain_codes(self):
        for symmetric in True, False:
            with self.subTest(symmetric=symmetric):
                self.setUp()
                self.expect_values(self.codes(8, 0, symmetric=symmetric, dtype="F32"), pf.plain_codes,
                                   tensors_config(8, strategy="channel", symmetric=symmetric, form="int-quantized"))

    def test_plain_codes_with_one_scale(self):
        def make(rows, cols):
            codes = pf.Codes(self.rng, rows, cols, 8, 0)
            codes.scale[:], codes.stored_scale = codes.scale[0, 0], codes.stored_scale[0, 0].reshape(1)
            return codes
        self.expect_values(make, pf.plain_codes, tensors_config(8, strategy="tensor", form="naive-quantized"))

    def test_fp8(self):
        for block in "channel", "tensor", (64, 48), (128, 128):
            with self.subTest(block=block):
                self.setUp()
                strategy = "block" if isinstance(block, tuple) else block
                more = {"block_structure": list(block)} if strategy == "block" else {}
                self.expect_values(lambda rows, cols: pf.Fp8(self.rng, rows, cols, block), pf.fp8,
                                   tensors_config(8, "float", strategy=strategy, form="float-quantized", **more))


class CodeForCode(Case):
    """No weight is rounded: the block has the very scale and codes."""

    def expect_blocks(self, encoding, make, pack, config, block, **options):
        self.write(make, pack, config, **options)
        got = self.convert(encoding)
        for name, codes in self.made.items():
            scale = np.repeat(codes.scale, codes.group // 32, axis=1).astype("<f2")
            code = codes.code.reshape(codes.rows, -1, 32)
            expected = block(scale, code).reshape(codes.rows, -1)
            found = got[pf.gguf_name(name)].reshape(codes.rows, -1)
            np.testing.assert_array_equal(found, pf.gguf_rows(name, expected), name)

    @staticmethod
    def q4_0(scale, code):
        nibbles = (code[..., :16] | code[..., 16:] << 4).astype(np.uint8)
        return np.concatenate([scale[..., None].view(np.uint8), nibbles], axis=-1)

    @staticmethod
    def q8_0(scale, code):
        return np.concatenate([scale[..., None].view(np.uint8), (code - 128).astype(np.int8).view(np.uint8)], axis=-1)

    def test_gptq(self):
        for group in 32, 64, 0:
            with self.subTest(group=group):
                self.setUp()
                self.expect_blocks("q4_0", self.codes(4, group), pf.gptq, gptq_config(4, group), self.q4_0)

    def test_awq_that_is_symmetric(self):
        self.expect_blocks("q4_0", self.codes(), pf.awq, AWQ, self.q4_0)

    def test_packed(self):
        self.expect_blocks("q4_0", self.codes(dtype="BF16"), pf.packed, tensors_config(), self.q4_0)

    def test_plain_codes(self):
        self.expect_blocks("q8_0", self.codes(8, 0), pf.plain_codes,
                           tensors_config(8, strategy="channel", form="int-quantized"), self.q8_0)

    def test_gptq_of_8_bits(self):
        self.expect_blocks("q8_0", self.codes(8, 64), pf.gptq, gptq_config(8, 64), self.q8_0)

    def test_from_layout_to_layout(self):
        values, _ = self.write(self.codes(dtype="F16"), pf.gptq, gptq_config())
        again = self.scratch / "again"
        recipe = qcore.write_recipe(self.scratch / "again.yaml", self.folder,
                                    {"path": str(again), "format": "compressed-tensors"},
                                    quantize={"encoding": "int4_g32", "methods": ["rtn"],
                                              "rules": [{"role": "token_embd", "encoding": "keep"}]})
        process = qcore.run("-c", recipe)
        self.assertEqual(process.returncode, 0, process.stderr)
        self.folder = again
        got = self.convert("f32")
        for name, expected in values.items():
            found = got[pf.gguf_name(name)]
            np.testing.assert_array_equal(found, pf.gguf_rows(name, expected), name)

    def test_the_plan_says_so(self):
        self.write(self.codes(), pf.gptq, gptq_config())
        recipe = qcore.write_recipe(self.scratch / "recipe.yaml", self.folder, self.scratch / "out.gguf",
                                    quantize={"encoding": "q4_0", "methods": ["rtn"]})
        plan = qcore.run("-c", recipe, "--dry-run").stdout
        self.assertIn("int4_g32", plan)
        self.assertIn("code for code", plan)


class Refusals(Case):
    """One clear line each."""

    Q = "model.layers.0.self_attn.q_proj."

    def refused(self, words, arrays=None, config=None):
        if arrays:
            pf.write_arrays(self.folder / "model.safetensors", arrays)
        if config:
            path = self.folder / "config.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), "quantization_config": config}))
        process = self.run_qcore("f32")
        self.assertNotEqual(process.returncode, 0)
        lines = [line for line in process.stderr.splitlines() if not line.startswith("qcore: warning: ")]
        self.assertEqual(len(lines), 1, process.stderr)
        self.assertIn(words, lines[0])
        self.assertFalse((self.scratch / "out.gguf").exists())

    def gptq(self, **options):
        return self.write(self.codes(**options), pf.gptq, gptq_config())[1]

    def changed(self, suffix, change, **options):
        arrays = self.gptq(**options)
        dtype, array = arrays[self.Q + suffix]
        arrays[self.Q + suffix] = change(dtype, array.copy())
        return arrays

    def test_missing_parts(self):
        for suffix, words in (("qzeros", "its qzeros are missing"), ("scales", "its scales are missing"),
                              ("qweight", "the codes that belong to it are missing")):
            with self.subTest(suffix=suffix):
                self.setUp()
                arrays = self.gptq()
                del arrays[self.Q + suffix]
                self.refused(words, arrays)

    def test_wrong_shapes(self):
        for suffix in "qweight", "qzeros", "scales", "g_idx":
            for change in (lambda d, a: (d, a[:-1]), lambda d, a: (d, a[..., :-1]), lambda d, a: (d, a.reshape(-1, 1)),
                           lambda d, a: (d, a[:0])):
                with self.subTest(suffix=suffix):
                    self.setUp()
                    arrays = self.changed(suffix, change)
                    self.refused("tensor 'model.layers.0.self_attn.q_proj.", arrays)

    def test_wrong_types(self):
        for suffix, dtype in (("qweight", "F32"), ("qzeros", "U32"), ("g_idx", "F32"), ("scales", "I16")):
            with self.subTest(suffix=suffix):
                self.setUp()
                self.refused("tensor 'model.layers.0.self_attn.q_proj.", self.changed(suffix, lambda d, a: (dtype, a)))

    def test_groups_out_of_range(self):
        for value in 4, -1, 1 << 30:
            def change(dtype, array):
                array[5] = value
                return dtype, array
            with self.subTest(value=value):
                self.setUp()
                self.refused("names a group that there is not", self.changed("g_idx", change))

    def test_scales_that_are_no_numbers(self):
        def change(dtype, array):
            array[1, 7] = np.inf
            return dtype, array
        self.refused("the scale of output 7, group 1 is Inf", self.changed("scales", change))

    def test_both_plain_and_packed(self):
        arrays = self.gptq()
        arrays[self.Q + "weight"] = ("F16", np.zeros((128, 128), "<f2"))
        self.refused("occurs twice", arrays)

    def test_wrong_bits(self):
        self.gptq()
        self.refused("do not agree", config=gptq_config(8))

    def test_wrong_group(self):
        self.gptq()
        self.refused("not what \"group_size\" makes", config=gptq_config(4, 128))

    def test_formats_that_cannot_be_read(self):
        for config, words in ((gptq_config(checkpoint_format="marlin"), "marlin"), ({**AWQ, "version": "gemv"}, "gemv"),
                              ({**AWQ, "bits": 3}, "4 bits"), (gptq_config(bits=40), "\"bits\""),
                              (gptq_config(bits=5), "5, 6 or 7 bits"),
                              ({"quant_method": "bitsandbytes"}, "bitsandbytes"),
                              ({**tensors_config(), "transform_config": {"a": 1}}, "rotated"),
                              (tensors_config(form="nvfp4-pack-quantized"), "nvfp4"),
                              (tensors_config(form="marlin-24"), "marlin-24")):
            with self.subTest(words=words):
                self.setUp()
                self.gptq()
                self.refused(words, config=config)

    def test_packed_shapes(self):
        for suffix, words in (("weight_shape", "weight_shape is missing"), ("weight_scale", "scales are missing"),
                              ("weight_zero_point", "do not agree")):
            with self.subTest(suffix=suffix):
                self.setUp()
                arrays = self.write(self.codes(symmetric=False), pf.packed, tensors_config(symmetric=False))[1]
                del arrays[self.Q + suffix]
                self.refused(words, arrays)

    def test_absurd_shape(self):
        for shape in ((1 << 60, 128), (128, -1), (0, 128), (1 << 40, 1 << 40)):
            with self.subTest(shape=shape):
                self.setUp()
                arrays = self.write(self.codes(), pf.packed, tensors_config())[1]
                arrays[self.Q + "weight_shape"] = ("I64", np.array(shape, "<i8"))
                self.refused("self_attn.q_proj.weight_", arrays)

    def test_zero_points_out_of_range(self):
        def bytes_of(codes):
            zero = (codes.zero - 8).astype("i1")
            zero[0, 0] = 100
            return {**pf.packed(codes), "weight_zero_point": ("I8", zero)}
        self.write(self.codes(symmetric=False), bytes_of, tensors_config(symmetric=False))
        self.refused("beyond the range")


if __name__ == "__main__":
    unittest.main()
