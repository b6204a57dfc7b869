"""Presets on models of many shapes choose what llama-quantize's rules, written out here as one function, choose.

    QCORE=build/bin/qcore python3 tests/integration/mixes_test.py

tests/unit/rules_mixes_test.c compares with what llama-quantize itself chose on four shapes; this goes where those four
do not: tied embeddings, other families, other numbers of experts, blocks without a feed-forward part, odd widths.
"""

import dataclasses
import json
import os
import pathlib
import re
import sys
import tempfile
import unittest

import gguf
import numpy

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "support")]

import qcore

BASE = {"F16": "f16", "BF16": "bf16", "Q8_0": "q8_0", "Q4_0": "q4_0", "Q4_1": "q4_1", "Q5_0": "q5_0", "Q5_1": "q5_1",
        "Q2_K": "q2_k", "Q2_K_S": "q2_k", "Q3_K_S": "q3_k", "Q3_K_M": "q3_k", "Q3_K_L": "q3_k", "Q4_K_S": "q4_k",
        "Q4_K_M": "q4_k", "Q5_K_S": "q5_k", "Q5_K_M": "q5_k", "Q6_K": "q6_k", "IQ4_NL": "iq4_nl"}
NARROWER = {"q2_k": "q4_0", "q3_k": "q4_0", "q4_k": "q5_0", "q5_k": "q5_1", "q6_k": "q8_0"}


def block(encoding):
    return 256 if encoding.endswith("_k") else 32 if encoding.startswith(("q", "iq")) else 1


@dataclasses.dataclass
class Shape:
    family: str = "llama"
    blocks: int = 32
    heads: int = 32
    key_heads: int = 8
    experts: int = 0
    tied: bool = False
    width: int = 256
    ffn_width: int = 256
    fused: bool = False  # q, k and v in one tensor
    first_ffn: int = 0  # blocks before it have none

    @property
    def is_70b(self):
        return self.blocks == 80 and (
            self.family == "qwen2" or (self.family == "llama" and self.heads != self.key_heads and self.experts != 8))

    def block_tensors(self, number):
        """(name without block number, shape) of every tensor of a block, in GGUF's order of dimensions."""
        for name in ["attn_qkv"] if self.fused else ["attn_q", "attn_k", "attn_v"]:
            yield name, (self.width, 2)
        yield "attn_output", (self.width, 2)
        yield "ssm_out", (self.width, 2)
        if number < self.first_ffn:
            return
        widths = {"ffn_up": self.width, "ffn_gate": self.width, "ffn_down": self.ffn_width}
        for name, width in widths.items():
            yield (f"{name}_exps", (width, 2, self.experts)) if self.experts else (name, (width, 2))
        if self.experts:
            yield "ffn_gate_inp", (self.width, self.experts)
            yield "ffn_down_shexp", (self.ffn_width, 2)

    def tensors(self):
        """{name: width} in the order in which llama-quantize visits them."""
        names = {"token_embd.weight": (self.width, 2), "per_layer_token_embd.weight": (self.width, 2)}
        if not self.tied:
            names["output.weight"] = (self.width, 2)
        names = {name: names[name] for name in sorted(names)}
        for number in range(self.blocks):
            for name, shape in sorted(self.block_tensors(number)):
                names[f"blk.{number}.{name}.weight"] = shape
        return names

    def write(self, path):
        writer = gguf.GGUFWriter(path, self.family)
        writer.add_block_count(self.blocks)
        writer.add_head_count(self.heads)
        writer.add_head_count_kv(self.key_heads)
        if self.experts:
            writer.add_expert_count(self.experts)
        for name, shape in self.tensors().items():
            writer.add_tensor(name, numpy.zeros(shape[::-1], numpy.float16))
        finish(writer)


SHAPES = [
    Shape(), Shape(key_heads=32), Shape(key_heads=16, tied=True), Shape(blocks=1), Shape(blocks=17, fused=True),
    Shape(blocks=80, key_heads=4), Shape(blocks=80, key_heads=32), Shape(blocks=80, experts=8),
    Shape("qwen2", blocks=80, key_heads=32), Shape(experts=4), Shape(experts=8, tied=True), Shape(experts=16),
    Shape(blocks=30, first_ffn=3), Shape(blocks=30, first_ffn=3, experts=4), Shape("falcon", fused=True),
    Shape("falcon", tied=True), Shape("falcon", blocks=20, width=288, ffn_width=288), Shape(width=288, ffn_width=768),
    Shape(width=100, ffn_width=128), Shape(width=64, ffn_width=100, tied=True),
]


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_importance(path, width):
    writer = gguf.GGUFWriter(path, "")
    writer.add_string("general.type", "imatrix")
    writer.add_array("imatrix.datasets", ["text"])
    writer.add_uint32("imatrix.chunk_count", 1)
    writer.add_uint32("imatrix.chunk_size", 512)
    writer.add_tensor("blk.0.attn_output.weight.in_sum2", numpy.ones((1, width), numpy.float32))
    writer.add_tensor("blk.0.attn_output.weight.counts", numpy.ones((1, 1), numpy.float32))
    finish(writer)


def is_more(i, n):
    return i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2


class Mix:
    """llama-quantize's choice for one preset; `choose` is called for every tensor in turn."""

    def __init__(self, shape, preset, importance):
        self.shape, self.preset, self.importance = shape, preset, importance
        self.base = BASE[preset]
        self.is_falcon = shape.family == "falcon"
        self.counts = dict.fromkeys(["value", "ffn_up", "ffn_gate", "ffn_down"], 0)

    def choose(self, name, width):
        if "ffn_gate_inp" in name or self.preset in ("F16", "BF16"):
            return "f16" if "ffn_gate_inp" in name else self.base
        encoding = self.by_role(name, width)
        while width % block(encoding):
            encoding = NARROWER.get(encoding, "f16")
        return encoding

    def by_role(self, name, width):
        if name == "output.weight" or ("token_embd" in name and self.shape.tied):
            return "q8_0" if width % block(self.base) or self.is_falcon or self.base == "q8_0" else "q6_k"
        if re.search(r"attn_(v|qkv)\.", name):
            return self.value()
        if "attn_k." in name:
            return "q8_0" if self.shape.experts == 8 else self.base
        if "attn_output" in name:
            return self.attention_output()
        if "ffn_down" in name:
            return self.ffn_down(name)
        return self.base

    def value(self):
        i, n, grouped = self.counts["value"], self.shape.blocks, self.shape.heads // self.shape.key_heads >= 4
        self.counts["value"] += 1
        encoding = {
            "Q2_K": "q4_k" if grouped else "q3_k",
            "Q2_K_S": "q4_k" if grouped else "q2_k",
            "Q3_K_M": "q5_k" if i < 2 else "q4_k",
            "Q3_K_L": "q5_k",
            "Q4_K_S": "q5_k" if i < 4 else "q4_k",
            "Q4_K_M": "q6_k" if is_more(i, n) else "q4_k",
            "Q5_K_M": "q6_k" if is_more(i, n) else "q5_k",
            "IQ4_NL": "q5_k" if grouped else "iq4_nl",
        }.get(self.preset, self.base)
        if self.shape.is_70b and encoding in ("q3_k", "q4_k"):
            encoding = "q5_k"
        return "q8_0" if self.shape.experts == 8 else encoding

    def attention_output(self):
        if self.shape.experts == 8:
            wider = self.preset in ("Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M", "IQ4_NL")
            return "q5_k" if wider else self.base
        if self.is_falcon:
            return "q4_k" if self.preset == "Q3_K_L" else self.base
        return {"Q2_K": "q3_k", "Q3_K_M": "q4_k", "Q3_K_L": "q5_k"}.get(self.preset, self.base)

    def ffn_down(self, name):
        i, n = self.counts["ffn_down"], self.shape.blocks
        self.counts["ffn_down"] += 1
        if self.shape.experts > 1:
            i = int(name.split(".")[1])
        first, start, more = i < n // 8, i < n // 16, is_more(i, n)
        if self.is_falcon and self.preset in ("Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M"):
            return {"Q3_K_M": "q5_k" if start else "q4_k" if more else "q3_k", "Q3_K_L": "q4_k", "Q4_K_S": "q4_k",
                    "Q4_K_M": "q6_k" if start else "q5_k" if more else "q4_k"}[self.preset]
        return {
            "Q2_K": "q3_k",
            "Q2_K_S": "q4_k" if first else "q2_k",
            "Q3_K_M": "q5_k" if start else "q4_k",
            "Q3_K_L": "q5_k",
            "Q4_0": "q4_1" if first and self.importance else "q4_0",
            "Q5_0": "q5_1" if first and self.importance else "q5_0",
            "Q4_K_S": "q5_k" if first else "q4_k",
            "Q4_K_M": "q6_k" if more else "q4_k",
            "Q5_K_M": "q6_k" if more else "q5_k",
            "IQ4_NL": "q5_k" if first and not self.importance else "iq4_nl",
        }.get(self.preset, self.base)


class MixesTest(unittest.TestCase):
    def test_shapes(self):
        with tempfile.TemporaryDirectory() as folder:
            for shape in SHAPES:
                model = pathlib.Path(folder, "model.gguf")
                shape.write(model)
                write_importance(pathlib.Path(folder, "imatrix.gguf"), shape.width)
                for preset in BASE:
                    for importance in [True] if preset == "Q2_K_S" else [False, True]:
                        with self.subTest(shape=shape, preset=preset, importance=importance):
                            self.compare(folder, shape, preset, importance)

    def compare(self, folder, shape, preset, importance):
        recipe = qcore.write_recipe(pathlib.Path(folder, "recipe.yaml"), "model.gguf", "out.gguf", preset,
                                    **({"calibration": {"imatrix": "imatrix.gguf"}} if importance else {}))
        process = qcore.run("-c", recipe, "--dry-run", "--json", cwd=folder, env={**os.environ, "QCORE_CONFIG": ""})
        self.assertEqual(process.returncode, 0, process.stderr)
        chosen = {tensor["name"]: tensor["to"] for tensor in json.loads(process.stdout)["tensors"]}
        mix = Mix(shape, preset, importance)
        self.assertEqual(chosen, {name: mix.choose(name, dims[0]) for name, dims in shape.tensors().items()})


if __name__ == "__main__":
    unittest.main()
