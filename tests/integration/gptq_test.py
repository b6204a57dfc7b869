"""gptq against a GPTQ of our own in NumPy, float64, written from the paper (Frantar et al., arXiv 2210.17323): column by
column, the error of each spread over the later ones by the Cholesky factor of the inverse. The grids are those that gptq
stored, where codes are compared; else the encodings' own: `fit` is asked for a block's scales when its first column is
reached, with the importance that gptq uses."""
import ctypes as c
import os
import subprocess
import sys
import tempfile
import unittest

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from qcore_encodings import LANES, Coder, Encoding  # noqa: E402

TOOL = os.path.join(os.environ.get("QCORE_BUILD", "build"), "tests", "tools", "round_tool")
DEFAULTS = {"damp": 0.01, "shrink": 0.1, "search": 2, "refine": 1, "rescale": 1, "passes": 3,
            "by_importance": 1}
PLAIN = {"damp": 0.01, "shrink": 0, "search": 0, "refine": 0, "by_importance": 0}
ENCODINGS = [("kquants", "q2_k"), ("kquants", "q3_k"), ("kquants", "q4_k"), ("kquants", "q5_k"), ("kquants", "q6_k"),
             ("legacy", "q4_0"), ("legacy", "q4_1"), ("legacy", "q5_0"), ("legacy", "q5_1"), ("legacy", "q8_0"),
             ("legacy", "iq4_nl"), ("ints", "int2_g64_asym"), ("ints", "int3_g128"), ("ints", "int4_g32_asym"),
             ("ints", "int4_g128"), ("ints", "int8_g64"), ("ints", "int4_channel"), ("ints", "int8_channel_asym")]


class Grid(c.Structure):
    _fields_ = [("size", c.c_uint32), ("step", c.c_void_p), ("offset", c.c_void_p), ("state", c.c_void_p)]


FIT = c.CFUNCTYPE(None, c.POINTER(Coder), c.POINTER(Grid), c.c_void_p, c.c_void_p, c.c_uint32, c.c_uint32)


class Scales:
    """Step and offset of each row and column of a block: given for the whole matrix, or as an encoding fits them."""

    def __init__(self, encoding, step=None, offset=None):
        self.step, self.offset = step, offset
        d = encoding.desc
        self.encoding, self.block = encoding, encoding.block_cols
        self.sub = d.sub_cols or self.block
        self.lowest, self.highest = d.lowest, d.highest
        n = d.highest - d.lowest + 1
        self.levels = np.ctypeslib.as_array((c.c_float * n).from_address(d.levels)).astype(float) if d.levels else None

    def of_block(self, first, rows, importance):
        if self.step is None:
            return self.fit(rows, importance)
        return self.step[:, first:first + self.block], self.offset[:, first:first + self.block]

    def fit(self, rows, importance):
        n_subs = self.block // self.sub
        step, offset = np.empty((len(rows), self.block)), np.empty((len(rows), self.block))
        weight = np.ascontiguousarray(importance, np.float32)
        for row in range(0, len(rows), LANES):
            lanes = rows[row:row + LANES]
            tile = np.zeros((self.block, LANES), np.float32)
            tile[:, :len(lanes)] = lanes.T
            scales = np.zeros((2, n_subs, LANES), np.float32)
            state = np.zeros(max(self.encoding.desc.state_bytes, 1), np.uint8)
            grid = Grid(c.sizeof(Grid), scales[0].ctypes.data, scales[1].ctypes.data, state.ctypes.data)
            FIT(self.encoding.ops.fit)(c.byref(self.encoding.coder), c.byref(grid), tile.ctypes.data, weight.ctypes.data,
                                       0, n_subs)
            step[row:row + LANES] = np.repeat(scales[0], self.sub, 0).T[:len(lanes)]
            offset[row:row + LANES] = np.repeat(scales[1], self.sub, 0).T[:len(lanes)]
        return step, offset

    def nearest(self, w, step, offset):
        t = np.where(step != 0, (w - offset) / np.where(step != 0, step, 1), 0)
        if self.levels is None:
            code = np.rint(np.clip(t, self.lowest, self.highest)).astype(int)
            return step * code + offset, code
        code = np.abs(t[:, None] - self.levels).argmin(1)
        return step * self.levels[code] + offset, code + self.lowest


def regularized(gram, damp=0.01, shrink=0.1, **_):
    diagonal = np.diag(np.diag(gram))
    return (1 - shrink) * gram + shrink * diagonal + damp * np.mean(np.diag(gram)) * np.eye(len(gram))


def visiting_order(diagonal, block, sub):
    """Blocks, sub-blocks, columns: each level by descending sum, ties from the left."""
    d = diagonal.astype(np.float32).astype(float)

    def ranked(starts, width):
        return sorted(starts, key=lambda s: (-d[s:s + width].sum(), s))

    return np.array([col for b in ranked(range(0, len(d), block), block) for s in ranked(range(b, b + block, sub), sub)
                     for col in ranked(range(s, s + sub), 1)])


def reference(w, h, scales, order):
    """GPTQ with the columns in this order; values and codes."""
    n = len(h)
    upper = np.linalg.cholesky(np.linalg.inv(h[np.ix_(order, order)])).T
    left = w[:, order].astype(float)
    weight = np.empty(n)
    weight[order] = 1 / np.diag(upper) ** 2
    weight = np.maximum(weight / weight.mean(), 1e-7)
    values, codes = np.empty_like(left), np.empty(left.shape, int)
    for j, col in enumerate(order):
        first = col // scales.block * scales.block
        if j % scales.block == 0:
            rows = np.empty((len(w), scales.block))
            rows[:, order[j:j + scales.block] - first] = left[:, j:j + scales.block]
            step, offset = scales.of_block(first, rows, weight[first:first + scales.block])
        values[:, col], codes[:, col] = scales.nearest(left[:, j], step[:, col - first], offset[:, col - first])
        error = (left[:, j] - values[:, col]) / upper[j, j]
        left[:, j:] -= np.outer(error, upper[j, j:])
    return values, codes


class Rounded:
    """What the method made of weights, and what it said."""

    def __init__(self, w, gram, plugin, encoding, **settings):
        rows, cols = w.shape
        with tempfile.TemporaryDirectory() as folder:
            source, target = os.path.join(folder, "in"), os.path.join(folder, "out")
            with open(source, "wb") as f:
                f.write(w.astype("<f4").tobytes() + gram.astype("<f4").tobytes())
            done = subprocess.run([TOOL, "gptq", plugin, encoding, str(rows), str(cols), source, target]
                                  + [f"{k}={v}" for k, v in settings.items()], capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(done.stderr)
            self.words = np.fromfile(target, "<u4")
        self.said, self.order = done.stdout, self.words[4 * rows * cols:]
        self.values, self.codes, self.step, self.offset = self.words[:4 * rows * cols].reshape(4, rows, cols)
        self.values, self.step, self.offset = (v.view("<f4").astype(float) for v in (self.values, self.step, self.offset))
        self.codes = self.codes.view("<i4")

    def scales(self, encoding):
        return Scales(encoding, self.step, self.offset)


def loss(w, values, h):
    e = w - values.astype(float)
    return np.sum((e @ h) * e) / np.sum((w @ h) * w)


def weights(rows, cols, seed=0):
    r = np.random.default_rng(seed)
    return (r.standard_normal((rows, cols)) * 0.05 * np.exp(0.3 * r.standard_normal(cols))).astype(np.float32).astype(float)


def gram_matrix(cols, kind, seed=0):
    """Rounded to float32, as a host has it."""
    r = np.random.default_rng(100 + seed)
    x = r.standard_normal((3 * cols, cols))
    mixing = r.standard_normal((cols, cols)) / np.sqrt(cols)
    if kind == "mixed":
        x = (x @ mixing + 0.5 * x) * np.exp(0.5 * r.standard_normal(cols))
    elif kind == "eccentric":  # 45 % of the energy in one direction
        x = x @ mixing + 0.3 * x
        direction = r.standard_normal(cols)
        x += r.standard_normal((len(x), 1)) * direction / np.linalg.norm(direction) * np.sqrt(np.sum(x * x) / len(x) * 0.45 / 0.55)
    elif kind == "singular":
        x = x[:cols // 4]
    elif kind == "dead":
        x[:, ::5] = 0
    return (x.T @ x / len(x)).astype(np.float32).astype(float)


class SameCodes(unittest.TestCase):
    def test_on_the_same_grids(self):
        for plugin, name in ENCODINGS:
            for kind in ("mixed", "eccentric"):
                with self.subTest(encoding=name, gram=kind):
                    cols = 256 if plugin == "kquants" else 128
                    w, gram = weights(24, cols), gram_matrix(cols, kind)
                    ours = Rounded(w, gram, plugin, name, **PLAIN)
                    scales = ours.scales(Encoding(plugin, name, cols))
                    theirs, codes = reference(w, regularized(gram, **PLAIN), scales, np.arange(cols))
                    np.testing.assert_array_equal(ours.codes, codes)
                    np.testing.assert_allclose(ours.values, theirs, rtol=1e-6, atol=1e-7)

    def test_in_the_order_of_importance(self):
        for plugin, name in (("kquants", "q3_k"), ("legacy", "q4_0"), ("ints", "int4_g64"), ("ints", "int4_channel")):
            with self.subTest(encoding=name):
                w, gram = weights(16, 512), gram_matrix(512, "mixed")
                ours = Rounded(w, gram, plugin, name, **dict(PLAIN, by_importance=1))
                scales = ours.scales(Encoding(plugin, name, 512))
                order = visiting_order(np.diag(gram), scales.block, scales.sub)
                _, codes = reference(w, regularized(gram, **PLAIN), scales, order)
                np.testing.assert_array_equal(ours.codes, codes)

    def test_with_scales_fitted_on_the_way(self):
        for plugin, name in (("kquants", "q2_k"), ("kquants", "q6_k"), ("legacy", "q4_0"), ("legacy", "iq4_nl")):
            with self.subTest(encoding=name):
                w, gram = weights(24, 256), gram_matrix(256, "mixed")
                ours = Rounded(w, gram, plugin, name, **PLAIN)
                scales = Scales(Encoding(plugin, name, 256))
                _, codes = reference(w, regularized(gram, **PLAIN), scales, np.arange(256))
                np.testing.assert_array_equal(ours.codes, codes)


class Objective(unittest.TestCase):
    """With all that gptq adds, the error is never above that of plain GPTQ."""

    def test_at_or_below_the_reference(self):
        for plugin, name in ENCODINGS:
            for seed, kind in enumerate(("white", "mixed", "eccentric", "singular", "dead")):
                with self.subTest(encoding=name, gram=kind):
                    w, gram = weights(32, 512, seed), gram_matrix(512, kind, seed)
                    h = regularized(gram)
                    ours = Rounded(w, gram, plugin, name, **DEFAULTS)
                    theirs, _ = reference(w, h, Scales(Encoding(plugin, name, 512)), np.arange(512))
                    self.assertLessEqual(loss(w, ours.values, h), loss(w, theirs, h))

    def test_scales_of_coarse_codes_move(self):
        w, gram = weights(32, 768), gram_matrix(768, "mixed")
        h = regularized(gram)
        for plugin, name in (("kquants", "q2_k"), ("kquants", "q3_k"), ("ints", "int3_g128"), ("ints", "int2_g64_asym")):
            with self.subTest(encoding=name):
                with_it = loss(w, Rounded(w, gram, plugin, name, **DEFAULTS).values, h)
                without = loss(w, Rounded(w, gram, plugin, name, **dict(DEFAULTS, rescale=0)).values, h)
                self.assertLess(with_it, 0.995 * without)

    def test_float32_is_enough(self):
        """A large and very eccentric matrix without shrinkage: within half a percent of float64."""
        w, gram = weights(32, 2048), gram_matrix(2048, "eccentric")
        h = regularized(gram, shrink=0)
        for plugin, name in (("kquants", "q2_k"), ("legacy", "q4_0")):
            with self.subTest(encoding=name):
                scales = Scales(Encoding(plugin, name, 2048))
                ours = Rounded(w, gram, plugin, name, **dict(PLAIN, by_importance=1))
                theirs, _ = reference(w, h, scales, visiting_order(np.diag(gram), scales.block, scales.sub))
                self.assertLess(loss(w, ours.values, h), 1.005 * loss(w, theirs, h))


class StoredOrder(unittest.TestCase):
    def test_columns_by_importance(self):
        w, gram = weights(32, 512), gram_matrix(512, "mixed")
        h = regularized(gram)
        ours = Rounded(w, gram, "ints", "int4_g128", **DEFAULTS, act_order=1, order=1)
        self.assertTrue(np.all(np.diff(np.diag(gram)[ours.order]) <= 0))
        unordered = Rounded(w, gram, "ints", "int4_g128", **DEFAULTS)
        np.testing.assert_array_equal(unordered.order, np.arange(512))
        values = np.empty_like(ours.values)
        values[:, ours.order] = ours.values
        self.assertLess(loss(w, values, h), 1.02 * loss(w, unordered.values, h))

    def test_codes_of_the_reference(self):
        w, gram = weights(16, 256), gram_matrix(256, "mixed")
        ours = Rounded(w, gram, "ints", "int4_g64", **PLAIN, act_order=1, order=1)
        h = regularized(gram, **PLAIN)[np.ix_(ours.order, ours.order)]
        scales = ours.scales(Encoding("ints", "int4_g64", 256))
        np.testing.assert_array_equal(ours.codes, reference(w[:, ours.order], h, scales, np.arange(256))[1])


def has_avx2():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            return " avx2" in f.read()
    except OSError:
        return False


class SameBytes(unittest.TestCase):
    def test_chunks_threads_and_levels(self):
        w, gram = weights(70, 768), gram_matrix(768, "eccentric")
        for plugin, name in (("kquants", "q2_k"), ("legacy", "iq4_nl"), ("ints", "int3_channel_asym"), ("ints", "int3_g128")):
            first = Rounded(w, gram, plugin, name, **DEFAULTS)
            for options in ({"chunk": 16}, {"chunk": 48, "threads": 3}, {"cpu": "x86-v3"}, {"cpu": "reference"}):
                if options.get("cpu") == "x86-v3" and not has_avx2():
                    continue
                with self.subTest(encoding=name, **options):
                    other = Rounded(w, gram, plugin, name, **DEFAULTS, **options)
                    np.testing.assert_array_equal(first.words, other.words)


class Figures(unittest.TestCase):
    def test_damping_is_raised_and_told(self):
        gram = gram_matrix(256, "mixed")
        gram -= 0.05 * np.mean(np.diag(gram)) * np.eye(256)  # the smallest eigenvalues are below 0
        ours = Rounded(weights(16, 256), gram, "kquants", "q4_k", **dict(DEFAULTS, shrink=0))
        self.assertIn("damping = 0.1\n", ours.said)
        self.assertIn("tokens = 1000\n", ours.said)

    def test_dead_columns_are_told(self):
        ours = Rounded(weights(16, 256), gram_matrix(256, "dead"), "kquants", "q4_k", **DEFAULTS)
        self.assertIn("dead columns = 52\n", ours.said)
        self.assertIn("damping = 0.01\n", ours.said)

    def test_what_is_refused(self):
        w, gram = weights(16, 256), gram_matrix(256, "white")
        for matrix, message in ((0 * gram, "no token of the calibration reached this input"),
                                (gram + 10 * (1 - np.eye(256)), "not positive definite after damping 1"),
                                (np.where(np.eye(256) > 0, gram, np.nan), "NaN or Inf"),
                                (gram - 3 * np.eye(256), "column 0 in the Gram matrix is negative")):
            with self.subTest(message=message), self.assertRaisesRegex(RuntimeError, message):
                Rounded(w, matrix, "kquants", "q4_k", **DEFAULTS)


if __name__ == "__main__":
    unittest.main()
