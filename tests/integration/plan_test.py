"""The plan: what --dry-run prints, and the metadata and formats that it settles.

    QCORE=build/bin/qcore python3 tests/integration/plan_test.py

Needs numpy and gguf.
"""

import json
import os
import pathlib
import sys
import tempfile
import unittest

import gguf
import numpy

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "fixtures")]

import make_random_models
import qcore

MATRICES = {"token_embd.weight": (288, 40), "output.weight": (256, 40), "blk.0.attn_q.weight": (256, 8),
            "blk.0.attn_v.weight": (256, 8), "blk.0.ffn_down.weight": (512, 8), "blk.0.ffn_up.weight": (100, 8)}


class PlanTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.write_model("model.gguf")

    def write_model(self, name, keys=()):
        random = numpy.random.default_rng(3)
        writer = gguf.GGUFWriter(self.folder / name, "mystery")
        writer.add_block_count(1)
        writer.add_file_type(1)
        writer.add_quantization_version(1)
        for key, value in keys:
            writer.add_string(key, value)
        for tensor, (columns, rows) in MATRICES.items():
            writer.add_tensor(tensor, random.standard_normal((rows, columns)).astype(numpy.float16))
        writer.add_tensor("blk.0.attn_norm.weight", numpy.ones(256, numpy.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    def run_recipe(self, *arguments, output="out.gguf", model="model.gguf", output_keys=None, **quantize):
        recipe = {"model": {"path": model}, "quantize": quantize, "output": {"path": output, **(output_keys or {})}}
        (self.folder / "recipe.yaml").write_text(json.dumps(recipe))
        return qcore.run("-c", "recipe.yaml", *arguments, cwd=self.folder, env={**os.environ, "QCORE_CONFIG": ""})

    def plan(self, **recipe):
        process = self.run_recipe("--dry-run", "--json", **recipe)
        self.assertEqual(process.returncode, 0, process.stderr)
        plan = json.loads(process.stdout)
        return {tensor["name"]: tensor for tensor in plan["tensors"]}, plan

    def keys_of_output(self, **recipe):
        """{key: (type, value)} of the file that a run writes."""
        process = self.run_recipe("-q", output_keys={"overwrite": True}, **recipe)
        self.assertEqual(process.returncode, 0, process.stderr)
        fields = gguf.GGUFReader(self.folder / "out.gguf").fields
        return {key: (field.types[0].name, field.contents()) for key, field in fields.items()
                if not key.startswith("GGUF.")}

    def test_table(self):
        process = self.run_recipe("--dry-run", preset="Q4_K_M")
        self.assertEqual(process.returncode, 0, process.stderr)
        lines = process.stdout.splitlines()
        self.assertEqual(lines[0].split(), ["tensor", "shape", "from", "to", "bits", "bytes"])
        row = next(line for line in lines if line.startswith("blk.0.attn_q.weight "))
        self.assertRegex(row, r" 256 x 8 +f16 +q4_k +4\.5000 +1152\b")
        self.assertRegex(process.stdout, r"\nq5_0 +1 +5\.5000 +7\.73 KiB +31\.5 %\n")
        self.assertEqual(list(self.folder.glob("out*")), [])

    def test_sizes(self):
        tensors, plan = self.plan(preset="Q8_0")
        self.assertEqual(tensors["blk.0.ffn_down.weight"]["bytes_after"], 512 * 8 * 34 // 32)
        self.assertEqual(tensors["blk.0.ffn_down.weight"]["bytes_before"], 512 * 8 * 2)
        weights = sum(columns * rows for columns, rows in MATRICES.values()) + 256
        self.assertAlmostEqual(plan["bits_per_weight_after"], 8 * plan["bytes_after"] / weights, places=5)
        self.assertEqual(self.run_recipe("-q", preset="Q8_0").returncode, 0)
        written = sum(int(t.n_bytes) for t in gguf.GGUFReader(self.folder / "out.gguf").tensors)
        self.assertEqual(plan["bytes_after"], written)

    def test_widths_that_do_not_fit(self):
        tensors, _ = self.plan(preset="Q4_K_M")
        self.assertEqual(tensors["token_embd.weight"]["to"], "q5_0")
        self.assertEqual(tensors["token_embd.weight"]["note"], "width 288: q4_k falls back to q5_0")
        self.assertEqual(tensors["blk.0.ffn_up.weight"]["to"], "f16")
        tensors, _ = self.plan(preset="Q4_K_M", rules=[{"role": "token_embd", "encoding": "q6_k"}])
        self.assertEqual(tensors["token_embd.weight"]["to"], "q8_0")
        tensors, _ = self.plan(preset="Q4_K_M", fallback={"q4_k": "bf16"})
        self.assertEqual(tensors["token_embd.weight"]["to"], "bf16")

    def test_what_is_kept(self):
        tensors, _ = self.plan(preset="Q4_K_M", rules=[{"name": "*", "encoding": "q8_0"}])
        norm = tensors["blk.0.attn_norm.weight"]
        self.assertTrue(norm["carried"])
        self.assertEqual((norm["from"], norm["to"]), ("f32", "f32"))
        tensors, _ = self.plan(preset="F16")
        self.assertTrue(all(tensor["carried"] for tensor in tensors.values()))

    def test_small_tensors_of_a_checkpoint_become_f32(self):
        make_random_models.write_model("llama", self.folder / "llama")
        tensors, _ = self.plan(model="llama", preset="Q8_0", rules=[{"role": "output", "encoding": "keep"}])
        self.assertEqual((tensors["output_norm.weight"]["from"], tensors["output_norm.weight"]["to"]), ("bf16", "f32"))
        self.assertEqual(tensors["output.weight"]["to"], "bf16")
        self.assertTrue(tensors["output.weight"]["carried"])
        tensors, _ = self.plan(model="llama", output="folder", preset="F16")
        self.assertEqual(tensors["output_norm.weight"]["to"], "bf16")

    def test_quantizing_again_is_mentioned(self):
        for preset, wanted in ("Q8_0", ""), ("Q4_0", "qcore: warning: 4 of 7 tensors come from fewer than 8 bits"):
            self.assertEqual(self.run_recipe("-q", output=f"{preset}.gguf", preset=preset).returncode, 0)
            process = self.run_recipe("--dry-run", model=f"{preset}.gguf", preset="Q5_0")
            self.assertEqual(process.returncode, 0, process.stderr)
            self.assertEqual(process.stderr[: len(wanted) or None], wanted)

    def test_rules_are_named(self):
        tensors, _ = self.plan(preset="Q4_K_M", rules=[{"role": "attn_q", "encoding": "q8_0"}])
        self.assertRegex(tensors["blk.0.attn_q.weight"]["rule"], r"^recipe\.yaml:1:\d+$")
        self.assertRegex(tensors["output.weight"]["rule"], r"presets/common/mix\.yaml:\d+:\d+$")

    def test_metadata(self):
        keys = self.keys_of_output(preset="Q4_K_M")
        self.assertEqual(keys["general.file_type"], ("UINT32", 15))
        self.assertEqual(keys["general.quantization_version"], ("UINT32", 2))
        self.assertNotIn("general.file_type", self.keys_of_output(encoding="q8_0"))
        self.write_model("noted.gguf", [("general.name", "old"), ("mystery.note", "kept")])
        own = {"general.name": "7", "mystery.count": 7, "mystery.scale": 0.5, "mystery.flag": True,
               "mystery.note": None}
        keys = self.keys_of_output(model="noted.gguf", preset="Q8_0", metadata=own)
        self.assertEqual(keys["general.name"], ("STRING", "7"))
        self.assertEqual(keys["mystery.count"], ("UINT32", 7))
        self.assertEqual(keys["mystery.scale"], ("FLOAT32", 0.5))
        self.assertEqual(keys["mystery.flag"], ("BOOL", True))
        self.assertNotIn("mystery.note", keys)

    def test_format_by_the_output_s_name(self):
        make_random_models.write_model("llama", self.folder / "llama")
        for output, kind in (("a.gguf", "gguf"), ("folder", "safetensors"), ("folder/", "safetensors")):
            _, plan = self.plan(model="llama", output=output, preset="F16")
            self.assertEqual(plan["format"], kind, output)
        _, plan = self.plan(output="a.bin", output_keys={"format": "gguf"}, preset="F16")
        self.assertEqual(plan["format"], "gguf")
        process = self.run_recipe("--dry-run", output="a.bin", preset="F16")
        self.assertEqual(process.returncode, 2)
        self.assertRegex(process.stderr, r"recipe\.yaml:1:\d+: .*a\.bin.*output\.format")
        process = self.run_recipe("--dry-run", output_keys={"format": "ggfu"}, preset="F16")
        self.assertEqual(process.returncode, 2)
        self.assertIn("did you mean 'gguf'?", process.stderr)

    def test_a_format_that_cannot_hold_an_encoding_says_so(self):
        make_random_models.write_model("llama", self.folder / "llama")
        process = self.run_recipe("--dry-run", model="llama", output="folder", preset="Q4_K_M")
        self.assertEqual(process.returncode, 3)
        self.assertRegex(process.stderr, r"\Aqcore: error: [^\n]*safetensors cannot hold it as q[46]_k[^\n]*\n\Z")
        self.assertRegex(process.stderr, r"chosen by the name of output\.path, [^\n]*folder\n")


if __name__ == "__main__":
    unittest.main()
