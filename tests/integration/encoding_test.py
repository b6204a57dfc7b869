"""Encodings against other people's decoders, and against the errors of other people's encoders."""
import csv
import os
import sys
import unittest

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
from qcore_encodings import Encoding  # noqa: E402

REFERENCE = os.path.join(ROOT, "tests", "fixtures", "reference")

# id: plugin, name in gguf, places of f16 numbers in a block
BLOCKED = {
    "q4_0": ("legacy", "Q4_0", (0,)), "q4_1": ("legacy", "Q4_1", (0, 2)), "q5_0": ("legacy", "Q5_0", (0,)),
    "q5_1": ("legacy", "Q5_1", (0, 2)), "q8_0": ("legacy", "Q8_0", (0,)), "q2_k": ("kquants", "Q2_K", (80, 82)),
    "q3_k": ("kquants", "Q3_K", (108,)), "q4_k": ("kquants", "Q4_K", (0, 2)), "q5_k": ("kquants", "Q5_K", (0, 2)),
    "q6_k": ("kquants", "Q6_K", (208,)),
    "iq4_nl": ("legacy", "IQ4_NL", (0,)),
}
INTS = [(bits, width, asym) for bits in range(2, 9) for width in (32, 64, 128, 0) for asym in ("", "_asym")]  # 0: all
PLUGIN = {"f16": "floats", "bf16": "floats", **{name: place[0] for name, place in BLOCKED.items()}}
SCALES = {  # f16 bits that blocks are tried with
    "random": None,
    "zero": [0x0000, 0x8000],
    "largest": [0x7BFF, 0xFBFF],
    "subnormal": [0x0001, 0x8001, 0x03FF, 0x83FF],
    "one": [0x3C00, 0xBC00],
}
COLS = 1024


def gguf_quants():
    try:
        import gguf
        return gguf
    except ImportError:
        if os.environ.get("CI"):
            raise
        raise unittest.SkipTest("needs the Python package gguf")


def blocks(rng, encoding, places, scales, codes):
    """64 rows of blocks with given f16 scales: random bits, or all bits of the codes 0 or 1."""
    shape = (64, COLS // encoding.desc.block_cols, encoding.desc.block_bytes)
    data = np.full(shape, codes, np.uint8) if codes is not None else rng.integers(0, 256, shape, np.uint8)
    for place in places:
        half = rng.integers(0, 0x7C00, shape[:2], np.uint16) | rng.integers(0, 2, shape[:2], np.uint16) << 15
        if scales is not None:
            half = rng.choice(np.array(scales, np.uint16), shape[:2])
        data[:, :, place:place + 2] = half.astype("<u2")[..., None].view(np.uint8)
    return data.reshape(64, -1)


class Decoding(unittest.TestCase):
    """Bit for bit what the gguf package decodes; -0.0 counts."""

    def test_blocks(self):
        gguf = gguf_quants()
        rng = np.random.default_rng(1)
        for name, (plugin, theirs, places) in BLOCKED.items():
            encoding = Encoding(plugin, name, COLS)
            for label, scales in SCALES.items():
                for codes in (None, 0x00, 0xFF):
                    with self.subTest(encoding=name, scales=label, codes=codes):
                        data = blocks(rng, encoding, places, scales, codes)
                        expected = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[theirs])
                        np.testing.assert_array_equal(encoding.decode(data).view(np.uint32), expected.view(np.uint32))

    def test_every_f16(self):
        bits = np.arange(65536, dtype=np.uint16)
        bits = bits[np.isfinite(bits.view(np.float16))].reshape(2, -1)
        decoded = Encoding("floats", "f16", bits.shape[1]).decode(bits.view(np.uint8))
        np.testing.assert_array_equal(decoded.view(np.uint32), bits.view(np.float16).astype(np.float32).view(np.uint32))

    def test_every_bf16(self):
        gguf = gguf_quants()
        bits = np.arange(65536, dtype=np.uint16)
        bits = bits[(bits & 0x7F80) != 0x7F80].reshape(2, -1)
        data = bits.view(np.uint8)
        expected = gguf.quants.dequantize(data, gguf.GGMLQuantizationType.BF16)
        decoded = Encoding("floats", "bf16", bits.shape[1]).decode(data)
        np.testing.assert_array_equal(decoded.view(np.uint32), expected.view(np.uint32))

    def test_every_f8(self):
        for name, mantissa, bias in (("f8_e4m3", 3, 7), ("f8_e5m2", 2, 15)):
            code = np.arange(128)
            exponent, fraction = code >> mantissa, (code & (1 << mantissa) - 1) / (1 << mantissa)
            value = np.where(exponent > 0, (1 + fraction) * 2.0 ** (exponent - bias), fraction * 2.0 ** (1 - bias))
            finite = code < (127 if name == "f8_e4m3" else 124)
            expected = np.concatenate([value[finite], -value[finite]]).astype(np.float32)
            codes = np.concatenate([code[finite], code[finite] | 128]).astype(np.uint8)[None]
            encoding = Encoding("floats", name, codes.shape[1])
            np.testing.assert_array_equal(encoding.decode(codes)[0].view(np.uint32), expected.view(np.uint32))
            np.testing.assert_array_equal(encoding.encode(expected[None]), codes)


def int_encoding(bits, width, asym, cols):
    return Encoding("ints", f"int{bits}_g{width}{asym}" if width else f"int{bits}_channel{asym}", cols)


def unpack_ints(data, bits, width, asym, cols):
    """Steps, zeros and codes of rows, by the layout that plugins/encodings/ints/ints.h draws."""
    width = width or cols
    header = 3 if asym else 2
    blocks = data.reshape(len(data), cols // width, header + (width * bits + 7) // 8)
    step = np.ascontiguousarray(blocks[:, :, :2]).view("<f2")[..., 0].astype(np.float32)
    zero = blocks[:, :, 2].astype(np.int32) if asym else np.full(step.shape, 1 << bits - 1, np.int32)
    string = np.unpackbits(blocks[:, :, header:], axis=2, bitorder="little")[:, :, :width * bits]
    codes = (string.reshape(*step.shape, width, bits).astype(np.int32) << np.arange(bits)).sum(3)
    return step, zero, codes


class Integers(unittest.TestCase):
    """int2 to int8: step * (code - zero), decoded here from the bytes alone."""

    def test_decoding(self):
        rng = np.random.default_rng(4)
        for bits, width, asym in INTS:
            for cols in (384,) if width else (384, 203, 5):
                encoding = int_encoding(bits, width, asym, cols)
                with self.subTest(encoding=encoding.desc.id, cols=cols):
                    data = rng.integers(0, 256, (35, encoding.row_bytes), np.uint8)
                    blocks = data.reshape(35, -1, (encoding.row_bytes * (width or cols)) // cols)
                    blocks[:, :, 1] &= 0xFB  # no NaN, no Inf
                    if asym:
                        blocks[:, :, 2] &= (1 << bits) - 1
                    step, zero, codes = unpack_ints(data, bits, width, asym, cols)
                    expected = step[..., None] * (codes - zero[..., None]).astype(np.float32)
                    np.testing.assert_array_equal(encoding.decode(data), expected.reshape(35, cols))

    def test_encoding_takes_the_nearest(self):
        rng = np.random.default_rng(5)
        rows = (rng.standard_normal((19, 384)) * np.exp(rng.standard_normal(384))).astype(np.float32)
        for bits, width, asym in INTS:
            encoding = int_encoding(bits, width, asym, 384)
            with self.subTest(encoding=encoding.desc.id):
                step, zero, codes = unpack_ints(encoding.encode(rows), bits, width, asym, 384)
                exact = rows.reshape(*step.shape, -1).astype(np.float64) / step[..., None] + zero[..., None]
                off = np.abs(np.clip(exact, 0, (1 << bits) - 1) - codes)
                self.assertLess(off.max(), 0.50001)

    def test_no_worse_than_the_widest_range(self):
        """Against steps of max |w| / 2**(bits - 1), and (max - min) / (2**bits - 1): what most quantizers take."""
        rng = np.random.default_rng(6)
        rows = rng.standard_t(4, (16, 512)).astype(np.float32)
        importance = np.exp(rng.standard_normal(512)).astype(np.float32)
        for bits, width, asym in INTS:
            encoding = int_encoding(bits, width, asym, 512)
            x = rows.reshape(16, -1, width or 512).astype(np.float64)
            low, high = np.minimum(x.min(2), 0)[..., None], np.maximum(x.max(2), 0)[..., None]
            top = (1 << bits) - 1
            step = (high - low) / top if asym else 2 * np.maximum(-low, high) / (top + 1)
            zero = np.rint(-low / step) if asym else (top + 1) / 2
            plain = step * (np.clip(np.rint(x / step) + zero, 0, top) - zero)
            for weight in None, importance:
                with self.subTest(encoding=encoding.desc.id, importance=weight is not None):
                    decoded = encoding.decode(encoding.encode(rows, weight)).reshape(x.shape)
                    w = np.ones(512) if weight is None else weight.astype(np.float64)
                    w = w.reshape(x.shape[1:])
                    self.assertLess((w * (x - decoded) ** 2).sum(), (w * (x - plain) ** 2).sum())


class Rounding(unittest.TestCase):
    """Plain numbers round as the definitions of their formats say."""

    @classmethod
    def setUpClass(cls):
        rng = np.random.default_rng(2)
        values = rng.integers(0, 2**32, 1 << 18, np.uint32).view(np.float32)
        halves = np.arange(0, 0x7BFF, dtype=np.uint16).view(np.float16).astype(np.float32)
        ties = (halves[:-1] + halves[1:]) / 2
        near = np.concatenate([ties, np.nextafter(ties, 0), np.nextafter(ties, np.float32(np.inf)), [65519, 65504]])
        values = np.concatenate([values[np.isfinite(values)], near, -near]).astype(np.float32)
        cls.values = values[:len(values) // 16 * 16].reshape(16, -1)

    def test_f16(self):
        encoded = Encoding("floats", "f16", self.values.shape[1]).encode(self.values)
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(encoded.view(np.uint16), self.values.astype(np.float16).view(np.uint16))

    def test_bf16(self):
        gguf = gguf_quants()
        encoded = Encoding("floats", "bf16", self.values.shape[1]).encode(self.values)
        expected = gguf.quants.quantize(self.values, gguf.GGMLQuantizationType.BF16)
        bits = self.values.view(np.uint32) & 0x7FFFFFFF
        normal = bits >= 0x00800000  # the package flushes subnormal numbers, the format keeps them
        np.testing.assert_array_equal(encoded.view(np.uint16)[normal], expected.view(np.uint16)[normal])

    def test_f8_takes_the_nearest(self):
        for name, largest in (("f8_e4m3", 448.0), ("f8_e5m2", 57344.0)):
            encoding = Encoding("floats", name, self.values.shape[1])
            codes = np.arange(127 if name == "f8_e4m3" else 124, dtype=np.uint8)[None]
            grid = Encoding("floats", name, codes.shape[1]).decode(codes)[0].astype(np.float64)
            values = np.clip(self.values, -2 * largest, 2 * largest)
            decoded = encoding.decode(encoding.encode(values)).astype(np.float64)
            magnitude = np.minimum(np.abs(values.astype(np.float64)), grid[-1])
            above = np.clip(np.searchsorted(grid, magnitude), 1, len(grid) - 1)
            nearest = np.minimum(grid[above] - magnitude, magnitude - grid[above - 1])
            np.testing.assert_array_equal(np.abs(np.abs(decoded) - magnitude), nearest)
            self.assertEqual(np.abs(decoded).max(), grid[-1])

    def test_integers(self):
        values = np.array([[-3e38, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 126.5, 127.5, 3e38, 8388607.5]], np.float32)
        for name, dtype in (("i8", np.int8), ("i16", np.int16), ("i32", np.int32), ("i64", np.int64)):
            limits = np.iinfo(dtype)
            encoded = Encoding("floats", name, values.shape[1]).encode(values).view(dtype)[0]
            top = {4: 2**31 - 128, 8: 2**63 - 2**39}.get(np.dtype(dtype).itemsize, limits.max)
            expected = [max(limits.min, min(top, int(np.rint(v)))) for v in values[0].astype(np.float64)]
            self.assertEqual([int(v) for v in encoded], expected)


class EncodeError(unittest.TestCase):
    """At or below the better of llama.cpp and ik_llama.cpp in every row of encode_error.csv."""

    def test_against_reference(self):
        data = np.fromfile(os.path.join(REFERENCE, "rows.f32"), "<f4").reshape(65, 4096)
        rows, importance = data[:64], data[64]
        kinds = ["gauss", "student_t4", "uniform", "laplace_outliers"]
        decoded = {}
        with open(os.path.join(REFERENCE, "encode_error.csv"), newline="") as file:
            for line in csv.DictReader(file):
                key = line["encoding"], line["importance"] == "yes"
                if key not in decoded:
                    encoding = Encoding(PLUGIN[key[0]], key[0], 4096)
                    self.assertEqual(encoding.row_bytes, int(line["bytes_per_row_4096"]))
                    decoded[key] = encoding.decode(encoding.encode(rows, importance if key[1] else None))
                at = slice(16 * kinds.index(line["distribution"]), 16 * kinds.index(line["distribution"]) + 16)
                weight = importance.astype(np.float64) if key[1] else 1.0
                wanted = float(line["best_weighted_rel_mse" if key[1] else "best_rel_mse"])
                x = rows[at].astype(np.float64)
                error = (weight * (x - decoded[key][at]) ** 2).sum() / (weight * x * x).sum()
                with self.subTest(encoding=key[0], importance=key[1], distribution=line["distribution"]):
                    self.assertLessEqual(error, wanted * 1.000001)  # the figures have seven digits


if __name__ == "__main__":
    unittest.main()
