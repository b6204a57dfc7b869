"""equalize and awq against searches of their own in NumPy, in float64 and from the formulas alone."""
import os
import sys
import unittest

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from qcore_encodings import Encoding  # noqa: E402
from qcore_methods import Method  # noqa: E402

COLS = 512
ENCODINGS = (("legacy", "q4_0"), ("legacy", "q4_1"), ("kquants", "q3_k"), ("kquants", "q4_k"), ("ints", "int4_g128"),
             ("ints", "int3_g128"))
USUAL = dict(grid=20, weights=1, rows=256, power=0.5, clip=3, clip_to=0.75, shrink=0.5)


def inputs(seed, tokens=96, cols=COLS):
    """Channels of very different loudness that follow each other."""
    rng = np.random.default_rng(seed)
    loud = np.exp(rng.normal(0, 1.2, cols))
    mix = np.eye(cols) + 0.3 * rng.normal(size=(cols, cols)) / np.sqrt(cols)
    return (rng.normal(size=(tokens, cols)) @ mix * loud).astype(np.float32)


def weights(seed, rows, cols=COLS):
    rng = np.random.default_rng(1000 + seed)
    return (0.02 * rng.standard_t(5, size=(rows, cols)) * np.exp(rng.normal(0, 0.4, cols))).astype(np.float32)


def mean_square(x):
    return np.mean(np.square(x, dtype=np.float64), 0).astype(np.float32).astype(np.float64)


def channel_means(columns, channel_map, n):
    if channel_map is None:
        return columns
    return np.bincount(channel_map, columns, n) / np.bincount(channel_map, minlength=n)


def log_levels(squares):
    least = np.sort(squares[squares > 0])[np.count_nonzero(squares > 0) // 2] * 1e-6
    return 0.5 * np.log(np.maximum(squares, least))


def weight_levels(x, matrices, channel_map=None, n=COLS):
    m, total = mean_square(x), 0
    for w in matrices:
        columns = np.sum(np.square(w, dtype=np.float64), 0)
        total = total + channel_means(columns, channel_map, n) / np.sum(columns * m)
    return log_levels(total)


def spaced(w, n):
    return w[[i * len(w) // n for i in range(n)]] if len(w) > n else w


def loss(x, readers, factor, power, rows):
    """Relative error of the output with these factors of the columns."""
    total, x64 = 0.0, x.astype(np.float64)
    for w, encoding in readers:
        w = spaced(w, rows)
        importance = ((mean_square(x) / np.square(factor.astype(np.float64))) ** power).astype(np.float32)
        decoded = encoding.decode(encoding.encode(w * factor, importance))
        error = decoded.astype(np.float64) / factor - w
        total += np.sum((error @ x64.T) ** 2) / np.sum((w.astype(np.float64) @ x64.T) ** 2)
    return total


def search(x, readers, settings, channel_map=None, n=COLS):
    """All candidates as (loss, alpha, beta, factors)."""
    a = log_levels(channel_means(mean_square(x), channel_map, n))
    b = weight_levels(x, [spaced(w, settings["rows"]) for w, _ in readers], channel_map, n)
    steps = np.arange(settings["grid"] + 1) / settings["grid"]
    candidates = [(s, 0.0) for s in steps] + ([(s, 1 - s) for s in steps[:-1]] if settings["weights"] else [])
    found = []
    for alpha, beta in candidates:
        logs = alpha * a - beta * b
        factor = np.exp(logs - logs.mean()).astype(np.float32)
        columns = factor if channel_map is None else factor[channel_map]
        found.append((loss(x, readers, columns, settings["power"], settings["rows"]), alpha, beta, factor))
    return found


class Equalize(unittest.TestCase):
    def test_formula(self):
        for n_readers in (1, 3):
            x = inputs(n_readers)
            readers = [(weights(i, 100 + 60 * i), Encoding("legacy", "q4_0", COLS)) for i in range(n_readers)]
            factor = Method("equalize", input=0.25, weight=0.75).transform(x, readers)
            logs = 0.25 * log_levels(mean_square(x)) - 0.75 * weight_levels(x, [w for w, _ in readers])
            np.testing.assert_allclose(factor, np.exp(logs - logs.mean()), rtol=1e-6)


class Awq(unittest.TestCase):
    def expect_same(self, x, readers, settings, channel_map=None, n=COLS):
        method = Method("awq", **settings)
        factor = method.transform(x, readers, channel_map, n)
        found = search(x, readers, settings, channel_map, n)
        least, alpha, beta, expected = min(found, key=lambda c: c[0])
        self.assertAlmostEqual(method.figures["alpha"], alpha)
        if settings["weights"]:
            self.assertAlmostEqual(method.figures["beta"], beta)
        np.testing.assert_allclose(factor, expected, rtol=1e-5)
        self.assertAlmostEqual(method.figures["awq_loss"], least / found[0][0], places=4)
        self.assertLessEqual(method.figures["awq_loss"], 1)

    def test_same_alpha(self):
        for plugin, name in ENCODINGS[::2]:
            for by_weights in (0, 1):
                with self.subTest(encoding=name, weights=by_weights):
                    x = inputs(7)
                    readers = [(weights(i, 24 + 16 * i), Encoding(plugin, name, COLS)) for i in range(2)]
                    self.expect_same(x, readers, dict(USUAL, weights=by_weights, grid=8))

    def test_rows_are_sampled(self):
        readers = [(weights(3, 101), Encoding("legacy", "q4_0", COLS))]
        self.expect_same(inputs(3), readers, dict(USUAL, rows=32))

    def test_channels_that_columns_share(self):
        heads = np.repeat(np.arange(COLS // 64 // 4), 4)  # 4 query heads read one of key and value
        channel_map = (heads[:, None] * 64 + np.arange(64)).reshape(-1).astype(np.uint32)
        readers = [(weights(5, 32), Encoding("kquants", "q4_k", COLS))]
        self.expect_same(inputs(5), readers, dict(USUAL, grid=5), channel_map, COLS // 4)

    def test_whole_rows(self):
        self.expect_same(inputs(6), [(weights(6, 32), Encoding("ints", "int4_channel", COLS))], dict(USUAL, grid=5))


class Clip(unittest.TestCase):
    def clipped(self, w, encoding, share):
        n = encoding.desc.sub_cols or encoding.block_cols
        parts = w.reshape(len(w), -1, n)
        most = np.abs(parts).max(-1, keepdims=True) * np.float32(share)
        return np.clip(parts, -most, most).reshape(w.shape)

    def parts(self, x, errors):
        """What each block's error does to the output over the samples, and the columns' own loss: [range, row, block]."""
        n_ranges, rows, blocks, n = errors.shape
        x = x.astype(np.float64).reshape(len(x), blocks, n)
        own = np.einsum("grbi,bi->grb", errors**2, mean_square(x.reshape(len(x), -1)).reshape(blocks, n))
        return np.einsum("grbi,tbi->grbt", errors, x), own

    def losses(self, outputs, own, shrink):
        return (1 - shrink) * np.mean(outputs**2, -1) + shrink * own

    def descend(self, x, errors, shrink):
        """Block after block, the best range while the others stay."""
        part, own = self.parts(x, errors)
        chosen = np.zeros(errors.shape[1:3], int)
        rows = np.arange(errors.shape[1])
        output = part[0].sum(1)
        for _ in range(3):
            for block in range(errors.shape[2]):
                rest = output - part[chosen[:, block], rows, block]
                chosen[:, block] = np.argmin(self.losses(rest + part[:, :, block], own[:, :, block], shrink), 0)
                output = rest + part[chosen[:, block], rows, block]
        return self.losses(output, sum(own[chosen[:, b], rows, b] for b in range(errors.shape[2])), shrink)

    def test_best_of_all_ranges(self):
        for plugin, name in ENCODINGS:
            with self.subTest(encoding=name):
                x, w, encoding = inputs(9), weights(9, 40), Encoding(plugin, name, COLS)
                importance = np.sqrt(mean_square(x)).astype(np.float32)
                ranges = [encoding.encode(self.clipped(w, encoding, 1 - 0.25 / 3 * i), importance) for i in range(4)]
                data = Method("awq", **USUAL).round(x, w, encoding)
                shape = (len(w), -1, encoding.block_cols)
                errors = [(encoding.decode(d).astype(np.float64) - w).reshape(shape) for d in [data] + ranges]
                for block in range(errors[0].shape[1]):  # is what one of the ranges gave
                    same = [np.all(errors[0][:, block] == e[:, block], -1) for e in errors[1:]]
                    self.assertTrue(np.any(same, 0).all())
                part, own = self.parts(x, np.array(errors))
                loss = self.losses(part.sum(2), own.sum(2), USUAL["shrink"])
                expected = self.descend(x, np.array(errors[1:]), USUAL["shrink"])
                np.testing.assert_allclose(loss[0].sum(), expected.sum(), rtol=2e-3)
                self.assertTrue((loss[0] <= loss[1] * (1 + 1e-5)).all())
                self.assertLess(loss[0].sum(), 0.99 * loss[1].sum())

    def test_chunks(self):
        for plugin, name in ENCODINGS:
            x, w, encoding = inputs(4), weights(4, 75), Encoding(plugin, name, COLS)
            method = Method("awq", **USUAL)
            whole = method.round(x, w, encoding)
            for chunk in (16, 48):
                np.testing.assert_array_equal(method.round(x, w, encoding, chunk), whole)

    def test_unknown_input(self):
        w, encoding = weights(2, 20), Encoding("legacy", "q4_0", COLS)
        np.testing.assert_array_equal(Method("awq", **USUAL).round(None, w, encoding), encoding.encode(w))


if __name__ == "__main__":
    unittest.main()
