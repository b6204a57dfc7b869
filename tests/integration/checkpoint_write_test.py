"""Checkpoints that qcore writes, unpacked by the rules of the programs that load them: GPTQModel's, AutoAWQ's and
compressed-tensors', each written down here again in NumPy, against the values that the encodings decode to."""
import json
import os
import pathlib
import shutil
import struct
import sys
import tempfile
import unittest

import numpy as np
from safetensors import safe_open

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import qcore  # noqa: E402
from qcore_encodings import Encoding  # noqa: E402

TALE = qcore.ROOT / "tests" / "models" / "tale"
HIDDEN, WIDE = 256, 768
DTYPES = {"F32": "<f4", "F16": "<f2", "I32": "<i4", "I64": "<i8", "I8": "i1", "BF16": "<u2"}


def read_arrays(path):
    """Name -> (dtype, array) of one file, after the safetensors package has looked at it; BF16 widened to float32."""
    with safe_open(path, framework="np") as opened:
        names = set(opened.keys())
    data = pathlib.Path(path).read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + n])
    assert header.pop("__metadata__")["format"] == "pt"
    assert set(header) == names
    arrays = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        raw = np.frombuffer(data[8 + n + begin:8 + n + end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
        if entry["dtype"] == "BF16":
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        arrays[name] = (entry["dtype"], raw)
    return arrays


def read_folder(folder):
    arrays = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        found = read_arrays(path)
        assert not set(arrays) & set(found)
        arrays.update(found)
    return arrays


def fields(words, bits, n):
    """The last dimension's words as a bit string of n fields, bit 0 of word 0 first."""
    word = np.asarray(words).astype(np.int64) & 0xffffffff
    single = (word[..., None] >> np.arange(32)) & 1
    string = single.reshape(*word.shape[:-1], -1)
    assert not string[..., n * bits:].any(), "padding is 0"
    return string[..., :n * bits].reshape(*word.shape[:-1], n, bits) @ (1 << np.arange(bits))


def unpack_gptq(arrays, name, config):
    bits = config["bits"]
    qweight, qzeros = arrays[name + ".qweight"][1], arrays[name + ".qzeros"][1]
    dtype, scales = arrays[name + ".scales"]
    groups = arrays[name + ".g_idx"][1]
    assert dtype == "F16"
    codes = fields(qweight.T, bits, len(groups))
    zeros = fields(qzeros, bits, scales.shape[1])
    if config["checkpoint_format"] == "gptq":
        zeros = (zeros + 1) & ((1 << bits) - 1)
    return scales.astype(np.float32)[groups].T * (codes - zeros[groups].T).astype(np.float32)


AWQ_ORDER = [0, 4, 1, 5, 2, 6, 3, 7]  # the nibble that output k of a word is in


def unpack_awq(arrays, name, config):
    def nibbles(words):
        return fields(words, 4, words.shape[1] * 8).reshape(len(words), -1, 8)[:, :, AWQ_ORDER].reshape(len(words), -1)

    codes, zeros = nibbles(arrays[name + ".qweight"][1]), nibbles(arrays[name + ".qzeros"][1])
    scales = arrays[name + ".scales"][1].astype(np.float32)
    size = config["group_size"] if config["group_size"] > 0 else len(codes)
    group = np.arange(len(codes)) // size
    return (scales[group] * (codes - zeros[group]).astype(np.float32)).T


def unpack_compressed(arrays, name, weights):
    bits = weights["num_bits"]
    scales = arrays[name + ".weight_scale"][1].astype(np.float32)
    if name + ".weight" in arrays:
        return arrays[name + ".weight"][1].astype(np.float32) * scales
    dtype, shape = arrays[name + ".weight_shape"]
    assert dtype == "I64"
    rows, cols = shape
    codes = fields(arrays[name + ".weight_packed"][1], bits, cols) - (1 << (bits - 1))
    zeros = np.zeros_like(scales, dtype=np.int64)
    if not weights["symmetric"]:
        zeros = fields(arrays[name + ".weight_zero_point"][1].T, bits, rows).T - (1 << (bits - 1))
    size = cols // scales.shape[1]
    group = np.arange(cols) // size
    return scales[:, group] * (codes - zeros[:, group]).astype(np.float32)


SOURCE = read_folder(TALE)
LINEARS = [name.removesuffix(".weight") for name, (_, a) in SOURCE.items() if ".layers." in name and a.ndim == 2]


def expected(encoding, name, plugin="ints"):
    rows = SOURCE[name + ".weight"][1]
    coder = Encoding(plugin, encoding, rows.shape[1])
    return coder.decode(coder.encode(rows))


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = pathlib.Path(tempfile.mkdtemp())
        cls.addClassCleanup(shutil.rmtree, cls.scratch)

    def quantize(self, out, encoding, layout, settings=None, rules=None, model=TALE, status=0, **sections):
        folder = self.scratch / out
        quantize = {"preset": "W4A16", "encoding": encoding, "rules": rules or []}
        output = {"path": str(folder), "format": {layout: settings} if settings else layout}
        recipe = {"model": {"path": str(model)}, "quantize": quantize, "output": output, **sections}
        path = self.scratch / (out + ".yaml")
        path.write_text(json.dumps(recipe))
        process = qcore.run("-c", path)
        self.assertEqual(process.returncode, status, process.stderr)
        return process.stderr if status else folder

    def config(self, folder):
        return json.loads((folder / "config.json").read_text())

    def check_rest(self, arrays, suffixes):
        """All that is no linear of a block is as it was, and linears have these arrays and no others."""
        want = {name for name in SOURCE if name.removesuffix(".weight") not in LINEARS}
        for name in want:
            self.assertEqual(arrays[name][0], SOURCE[name][0])
            self.assertTrue(np.array_equal(arrays[name][1], SOURCE[name][1]), name)
        self.assertEqual(set(arrays), want | {n + "." + s for n in LINEARS for s in suffixes})

    def check_values(self, values_of, encoding, plugin="ints"):
        for name in LINEARS:
            self.assertTrue(np.array_equal(values_of(name), expected(encoding, name, plugin)), name)


class Gptq(Case):
    SUFFIXES = ("qweight", "qzeros", "scales", "g_idx")

    def test_every_width(self):
        for bits in (2, 3, 4, 8):
            for group in ("g128", "g32", "channel"):
                for zeros in ("", "_asym"):
                    encoding = f"int{bits}_{group}{zeros}"
                    with self.subTest(encoding):
                        folder = self.quantize("gptq_" + encoding, encoding, "gptq")
                        config = self.config(folder)["quantization_config"]
                        self.assertEqual(config["checkpoint_format"], "gptq_v2" if zeros else "gptq")
                        self.assertEqual((config["bits"], config["sym"]), (bits, not zeros))
                        self.assertEqual(config["group_size"], -1 if group == "channel" else int(group[1:]))
                        self.assertFalse(config["desc_act"])
                        arrays = read_folder(folder)
                        self.check_rest(arrays, self.SUFFIXES)
                        self.check_values(lambda name: unpack_gptq(arrays, name, config), encoding)
                        shutil.rmtree(folder)

    def test_zero_points_of_symmetric_codes(self):
        for form, word in (("gptq", 0x77777777), ("gptq_v2", 0x88888888)):
            folder = self.quantize("zeros_" + form, "int4_g128", "gptq", {"checkpoint_format": form})
            for name in LINEARS:
                self.assertEqual(set(read_folder(folder)[name + ".qzeros"][1].view(np.uint32).ravel()), {word})

    def test_configuration(self):
        folder = self.quantize("configuration", "int4_g128", "gptq")
        before, after = json.loads((TALE / "config.json").read_text()), self.config(folder)
        quantization = after.pop("quantization_config")
        self.assertEqual(list(after.items()), list(before.items()))
        self.assertEqual(quantization, json.loads((folder / "quantize_config.json").read_text()))
        self.assertTrue(0 < quantization["damp_percent"] < 1)
        self.assertTrue(quantization["meta"]["quantizer"][0].startswith("qcore:"))
        self.assertNotIn("dynamic", quantization)
        text = (folder / "config.json").read_text()
        self.assertIn('"rms_norm_eps": 1e-05,\n', text)  # as it was written, not as another program prints it
        for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "special_tokens_map.json"):
            self.assertEqual((folder / name).read_bytes(), (TALE / name).read_bytes())

    def test_exceptions(self):
        rules = [{"name": "blk.0.attn_q.weight", "encoding": "int8_g32"},
                 {"name": "blk.3.ffn_down.weight", "encoding": "keep"}]
        folder = self.quantize("exceptions", "int4_g128", "gptq", rules=rules)
        config = self.config(folder)["quantization_config"]
        self.assertEqual(config["dynamic"], {
            "+:^model\\.layers\\.0\\.self_attn\\.(?:q_proj|qkv_proj)$": {"bits": 8, "group_size": 32, "sym": True},
            "-:^model\\.layers\\.3\\.mlp\\.down_proj$": {}})
        inside = config["modules_in_block_to_quantize"][0]
        self.assertIn("mlp.up_proj", inside)
        self.assertEqual([name for name in inside if "down_proj" in name],
                         [f"model.layers.{i}.mlp.down_proj" for i in (0, 1, 2, 4, 5)])
        arrays = read_folder(folder)
        name = "model.layers.0.self_attn.q_proj"
        values = unpack_gptq(arrays, name, {**config, "bits": 8})
        self.assertTrue(np.array_equal(values, expected("int8_g32", name)))
        self.assertIn("model.layers.3.mlp.down_proj.weight", arrays)

    def test_refusals(self):
        for encoding, settings, words in (
                ("int4_g128_asym", {"checkpoint_format": "gptq"}, "gptq_v2"),
                ("int5_g128", None, "2, 3, 4 or 8 bits"),
                ("q4_k", None, "whole numbers with one scale and one zero point a group")):
            said = self.quantize("refused", encoding, "gptq", settings, status=3)
            self.assertIn(words, said)
            self.assertFalse((self.scratch / "refused").exists())
        rules = [{"role": "token_embd", "encoding": "int4_g32"}]
        for layout in ("gptq", "awq", "compressed-tensors"):
            said = self.quantize("refused", "int4_g32", layout, rules=rules, status=3)
            self.assertIn("token_embd.weight", said)
            self.assertIn("look embeddings up as plain numbers: keep it as it is", said)


class Awq(Case):
    def test_every_group(self):
        for group in ("g128", "g64", "g32", "channel"):
            for zeros in ("", "_asym"):
                encoding = f"int4_{group}{zeros}"
                with self.subTest(encoding):
                    folder = self.quantize("awq_" + encoding, encoding, "awq")
                    config = self.config(folder)["quantization_config"]
                    self.assertEqual(config["version"], "gemm")
                    self.assertIs(config["zero_point"], True)
                    self.assertEqual(config["modules_to_not_convert"], ["lm_head"])
                    arrays = read_folder(folder)
                    self.check_rest(arrays, ("qweight", "qzeros", "scales"))
                    self.check_values(lambda name: unpack_awq(arrays, name, config), encoding)

    def test_refusals(self):
        self.assertIn("AWQ layouts have 4 bits", self.quantize("refused", "int3_g128", "awq", status=3))
        rules = [{"role": "ffn_down", "encoding": "int4_g32"}]
        self.assertIn("groups of different sizes", self.quantize("refused", "int4_g128", "awq", rules=rules, status=3))


class CompressedTensors(Case):
    PACKED = ("weight_packed", "weight_scale", "weight_shape")

    def test_every_width(self):
        for bits in range(2, 9):
            for group in ("g128", "g32", "channel"):
                for zeros in ("", "_asym"):
                    encoding = f"int{bits}_{group}{zeros}"
                    with self.subTest(encoding):
                        folder = self.quantize("ct_" + encoding, encoding, "compressed-tensors")
                        config = self.config(folder)["quantization_config"]
                        self.assertEqual((config["format"], config["quantization_status"]),
                                         ("pack-quantized", "compressed"))
                        self.assertEqual((list(config["config_groups"]), config["ignore"]), (["group_0"], ["lm_head"]))
                        only = config["config_groups"]["group_0"]
                        self.assertEqual((only["targets"], only["input_activations"]), (["Linear"], None))
                        self.assertEqual(only["weights"].get("group_size"),
                                         None if group == "channel" else int(group[1:]))
                        arrays = read_folder(folder)
                        self.assertEqual(arrays[LINEARS[0] + ".weight_scale"][0], "BF16")
                        self.check_rest(arrays, self.PACKED + ("weight_zero_point",) * bool(zeros))
                        self.check_values(lambda name: unpack_compressed(arrays, name, only["weights"]), encoding)
                        shutil.rmtree(folder)

    def test_scale_dtypes(self):
        for dtype in ("f16", "f32"):
            folder = self.quantize("scale_" + dtype, "int4_g128", "compressed-tensors", {"scale_dtype": dtype})
            arrays, weights = read_folder(folder), {"num_bits": 4, "symmetric": True}
            self.assertEqual(arrays[LINEARS[0] + ".weight_scale"][0], dtype.upper())
            self.check_values(lambda name: unpack_compressed(arrays, name, weights), "int4_g128")

    def test_groups_of_32_of_gguf(self):
        for encoding in ("q4_0", "q8_0"):  # their scales are f16 and seldom bf16
            if encoding == "q4_0":  # those of q8_0, 1/128 of bf16 weights, are
                said = self.quantize("rounded", encoding, "compressed-tensors", status=6)
                self.assertRegex(said, r"\.weight: row \d+: the scale [-+.e0-9]+ is no bf16, .* set scale_dtype f16 or f32")
                self.assertFalse((self.scratch / "rounded").exists())
            folder = self.quantize("ct_" + encoding, encoding, "compressed-tensors", {"scale_dtype": "f16"})
            arrays = read_folder(folder)
            weights = self.config(folder)["quantization_config"]["config_groups"]["group_0"]["weights"]
            self.assertEqual(weights["group_size"], 32)
            self.check_values(lambda name: unpack_compressed(arrays, name, weights), encoding, "legacy")

    def test_whole_numbers_and_activations(self):
        folder = self.quantize("w8a8", "int8_channel", "compressed-tensors", {"layout": "int-quantized"})
        config = self.config(folder)["quantization_config"]
        self.assertEqual(config["format"], "int-quantized")
        only = config["config_groups"]["group_0"]
        self.assertEqual(only["weights"]["strategy"], "channel")
        self.assertEqual((only["input_activations"]["strategy"], only["input_activations"]["dynamic"]), ("token", True))
        arrays = read_folder(folder)
        self.check_rest(arrays, ("weight", "weight_scale"))
        self.assertEqual(arrays[LINEARS[0] + ".weight"][0], "I8")
        self.check_values(lambda name: unpack_compressed(arrays, name, only["weights"]), "int8_channel")
        said = self.quantize("refused", "int8_g32", "compressed-tensors", {"layout": "int-quantized"}, status=3)
        self.assertIn("int8_channel", said)

    def test_two_schemes(self):
        rules = [{"role": "ffn_down", "encoding": "int8_channel"}, {"name": "blk.2.*", "encoding": "keep"}]
        folder = self.quantize("two", "int4_g128", "compressed-tensors", rules=rules)
        config = self.config(folder)["quantization_config"]
        arrays, seen = read_folder(folder), set()
        for group in config["config_groups"].values():
            encoding = "int4_g128" if group["weights"]["num_bits"] == 4 else "int8_channel"
            for name in group["targets"]:
                values = unpack_compressed(arrays, name, group["weights"])
                self.assertTrue(np.array_equal(values, expected(encoding, name)), name)
            seen |= set(group["targets"])
        self.assertEqual(set(config["ignore"]), set(LINEARS) - seen | {"lm_head"})
        self.assertTrue(all(".layers.2." in name for name in set(config["ignore"]) - {"lm_head"}))


class Folders(Case):
    def test_shards(self):
        whole = self.quantize("whole", "int4_g128", "gptq")
        folder = self.quantize("shards", "int4_g128", "gptq", {"shard_bytes": 500000})
        index = json.loads((folder / "model.safetensors.index.json").read_text())
        arrays = read_folder(folder)
        self.assertEqual(set(index["weight_map"]), set(arrays))
        self.assertEqual(index["metadata"]["total_size"], sum(a.nbytes if d != "BF16" else a.nbytes // 2
                                                             for d, a in arrays.values()))
        self.assertEqual({p.name for p in folder.glob("*.safetensors")}, set(index["weight_map"].values()))
        self.assertTrue(len(set(index["weight_map"].values())) > 3)
        for name in LINEARS:
            self.assertEqual(len({index["weight_map"][name + "." + s] for s in Gptq.SUFFIXES}), 1)
        for name, (dtype, array) in read_folder(whole).items():
            self.assertEqual(dtype, arrays[name][0])
            self.assertTrue(np.array_equal(array, arrays[name][1]))

    def test_same_bytes_for_any_number_of_threads(self):
        for layout, encoding in (("gptq", "int3_g32_asym"), ("awq", "int4_g128_asym"),
                                 ("compressed-tensors", "int3_g128_asym")):
            written = []
            for threads, memory in ((1, "1GiB"), (3, "64MiB")):
                folder = self.quantize(f"{layout}_{threads}", encoding, layout, run={"threads": threads,
                                                                                    "memory": memory})
                written.append({p.name: p.read_bytes() for p in folder.iterdir()})
            self.assertEqual(*written)

    def test_aligned_as_the_reference_writes(self):
        from safetensors.numpy import save_file
        rng = np.random.default_rng(3)
        tensors = {"b": rng.random((3, 5)).astype(np.float32), "a": rng.random(7).astype(np.float16),
                   "model.norm.weight": rng.random(4).astype(np.float32), "c": np.arange(3, dtype=np.int64),
                   "d": np.arange(5, dtype=np.uint8), "e": np.arange(5, dtype=np.int8)}
        save_file(tensors, self.scratch / "theirs.safetensors", metadata={"format": "pt"})
        tool = os.environ.get("FORMAT_TOOL", os.path.join(os.environ.get("QCORE_BUILD", "build"),
                                                          "tests/tools/format_tool"))
        import subprocess
        (self.scratch / "ours").mkdir()
        subprocess.run([tool, "copy", "safetensors", str(self.scratch / "theirs.safetensors"), "safetensors",
                        str(self.scratch / "ours")], check=True)
        self.assertEqual((self.scratch / "ours" / "model.safetensors").read_bytes(),
                         (self.scratch / "theirs.safetensors").read_bytes())

    def test_other_number_type(self):
        config = json.loads((TALE / "config.json").read_text())
        folder = self.scratch / "half"
        recipe = qcore.write_recipe(self.scratch / "half.yaml", TALE, {"path": str(folder), "format": "safetensors"}, "F16")
        self.assertEqual(qcore.run("-c", recipe).returncode, 0)
        self.assertEqual(self.config(folder), {**config, "torch_dtype": "float16"})

    def test_head_that_is_stored_although_tied(self):
        tied = self.scratch / "tied"
        shutil.copytree(TALE, tied)
        text = (TALE / "config.json").read_text().replace('"tie_word_embeddings": false', '"tie_word_embeddings": true')
        (tied / "config.json").write_text(text)
        folder = self.quantize("untied", "int4_g128", "compressed-tensors", model=tied)
        self.assertIs(self.config(folder)["tie_word_embeddings"], False)

    def test_side_files(self):
        model = self.quantize("quantized", "int4_g128", "compressed-tensors")
        copied = ["merges.txt", "chat_template.jinja", "modeling_tale.py", "LICENSE", "README.md",
                  "preprocessor_config.json", "additional_chat_templates/tools.jinja"]
        left = ["pytorch_model.bin", "pytorch_model.bin.index.json", "quantize_config.json", "optimizer.pth",
                "original/params.json"]
        for name in copied + left:
            (model / name).parent.mkdir(exist_ok=True)
            (model / name).write_text(name)
        rules = [{"name": "blk.*_*.weight", "encoding": "bf16"}]
        for folder in (self.quantize("with_more", "int4_g128", "awq", model=model),
                       self.quantize("plain", "bf16", "safetensors", rules=rules, model=model)):
            for name in copied:
                self.assertEqual((folder / name).read_text(), name)
            for name in left:
                self.assertFalse((folder / name).exists(), name)
        self.assertNotIn("quantization_config", self.config(folder))

    def test_from_one_layout_to_another(self):
        """Codes are carried over, whatever is between them."""
        first = self.quantize("first", "int4_g32_asym", "compressed-tensors")
        second = self.quantize("second", "int4_g32_asym", "awq", model=first)
        third = self.quantize("third", "int4_g32_asym", "gptq", model=second)
        fourth = self.quantize("fourth", "int4_g32_asym", "compressed-tensors", model=third)
        for name in os.listdir(first):
            self.assertEqual((first / name).read_bytes(), (fourth / name).read_bytes(), name)

    def test_needs_a_folder(self):
        gguf = qcore.convert(TALE, self.scratch / "tale.gguf", "F16", self.scratch / "gguf.yaml")
        for layout in ("gptq", "awq", "compressed-tensors"):
            said = self.quantize("refused", "int4_g128", layout, model=gguf, status=2)
            self.assertIn("needs a Hugging Face folder as its input", said)


if __name__ == "__main__":
    unittest.main()
