"""qcore inspect: every figure against NumPy on the weights that gguf reads, outlying channels against planted ones.

    QCORE=build/bin/qcore python3 tests/integration/inspect_test.py

Needs numpy and gguf.
"""

import json
import pathlib
import sys
import tempfile
import unittest

import gguf
import numpy

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "support"))

import qcore

TALE = TESTS / "models" / "tale"
FIRST, SECOND, DOWN = "blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.ffn_down.weight"


def figures(weights):
    """What inspect says of numbers, by NumPy in double precision."""
    w = weights.astype(numpy.float64).ravel()
    deviation = w.std()
    beyond = int((abs(w - w.mean()) > 6 * deviation).sum())
    return {
        "finite": w.size, "nan": 0, "infinite": 0,
        "minimum": w.min(), "maximum": w.max(), "mean": w.mean(),
        "root_mean_square": numpy.sqrt((w * w).mean()), "standard_deviation": deviation,
        "kurtosis": ((w - w.mean()) ** 4).mean() / deviation**4 if deviation else 0,
        "beyond_6_sigma": beyond, "share_beyond_6_sigma": beyond / w.size,
    }


class InspectTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.scratch = pathlib.Path(folder.name)

    def inspect(self, *arguments):
        process = qcore.run("inspect", *arguments, "--json", "-q")
        self.assertEqual((process.returncode, process.stderr), (0, ""))
        return json.loads(process.stdout)

    def write_gguf(self, name, tensors, kind="model"):
        writer = gguf.GGUFWriter(self.scratch / name, "mystery")
        writer.add_type(kind)
        for key, value in tensors.items():
            if isinstance(value, numpy.ndarray):
                writer.add_tensor(key, value)
            else:
                writer.add_tensor(key, value[0], raw_dtype=value[1])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return self.scratch / name

    def compare(self, path):
        tensors = {t.name: t for t in gguf.GGUFReader(path).tensors}
        views = self.inspect(path)["tensors"]
        self.assertEqual({v["name"] for v in views}, set(tensors))
        for view in views:
            tensor = tensors[view["name"]]
            self.assertEqual(view["shape"], list(map(int, tensor.shape)))
            self.assertEqual(view["encoding"], tensor.tensor_type.name.lower())
            for key, wanted in figures(gguf.quants.dequantize(tensor.data, tensor.tensor_type)).items():
                with self.subTest(f"{path.name}: {view['name']}: {key}"):
                    numpy.testing.assert_allclose(view[key], wanted, rtol=1e-8, atol=1e-12)

    def test_figures_equal_numpy(self):
        for preset in "F16", "Q4_K_M", "Q2_K":
            self.compare(qcore.convert(TALE, self.scratch / f"{preset}.gguf", preset, self.scratch / "recipe.yaml"))

    def test_awkward_numbers(self):
        random = numpy.random.default_rng(1)
        far_from_zero = (1000 + random.standard_normal((700, 300)) / 100).astype("<f4")
        heavy = (random.standard_normal((300, 700)) ** 5).astype("<f4")
        self.compare(self.write_gguf("awkward.gguf", {
            FIRST: far_from_zero, SECOND: heavy, DOWN: numpy.full((3, 32), 0.1, "<f4"),
            "blk.0.attn_norm.weight": numpy.array([5.0], "<f4"),
            "token_embd.weight": random.standard_normal((2, 200_000)).astype("<f4"),
        }))

    def test_folder_and_file_agree(self):
        path = qcore.convert(TALE, self.scratch / "bf16.gguf", "BF16", self.scratch / "recipe.yaml")
        folder, file = self.inspect(TALE), self.inspect(path)
        for a, b in zip(folder["tensors"], file["tensors"], strict=True):
            a["encoding"] = b["encoding"] = ""  # vectors became f32
            self.assertEqual(a, b)
        heaviest = max((t for t in folder["tensors"] if len(t["shape"]) > 1), key=lambda t: t["kurtosis"])
        self.assertEqual(folder["heaviest_tails"][0], heaviest["name"])

    def test_threads_and_memory_do_not_matter(self):
        wanted = self.inspect(TALE, "--threads", 1)
        for arguments in ("--threads", 2), ("--threads", 7), ("--threads", 3, "--memory", "2MiB"):
            with self.subTest(arguments):
                self.assertEqual(self.inspect(TALE, *arguments), wanted)
        process = qcore.run("inspect", self.write_gguf("wide.gguf", {FIRST: numpy.zeros((1, 1 << 20), "<f4")}),
                            "--memory", "1MiB")
        self.assertEqual(process.returncode, 7)
        self.assertIn(FIRST, process.stderr)

    def test_nan_and_inf_are_told(self):
        numbers = numpy.linspace(-1, 1, 32 * 256, dtype="<f4").reshape(32, 256)
        broken = numbers.copy()
        broken[3, 7] = broken[31, 255] = numpy.nan
        broken[0, 0] = -numpy.inf
        blocks = gguf.quants.quantize(numbers, gguf.GGMLQuantizationType.Q8_0)
        blocks[2, :2] = 0, 0x7E  # the scale of a block: NaN
        path = self.write_gguf("broken.gguf", {FIRST: broken, SECOND: (blocks, gguf.GGMLQuantizationType.Q8_0)})
        views = {v["name"]: v for v in self.inspect(path)["tensors"]}
        self.assertEqual((views[FIRST]["nan"], views[FIRST]["infinite"]), (2, 1))
        self.assertEqual(views[FIRST]["finite"], broken.size - 3)
        kept = figures(broken[numpy.isfinite(broken)])
        self.assertAlmostEqual(views[FIRST]["kurtosis"], kept["kurtosis"], 7)
        self.assertEqual((views[SECOND]["nan"], views[SECOND]["infinite"]), (32, 0))
        process = qcore.run("inspect", path)
        self.assertEqual(process.returncode, 0)
        self.assertRegex(process.stdout, rf"{FIRST} .*  2 NaN, 1 Inf\n")
        self.assertIn("2 tensors hold NaN or Inf", process.stdout)

    def test_unknown_encoding(self):
        blocks = numpy.zeros((4, 66), numpy.uint8)
        path = self.write_gguf("strange.gguf", {FIRST: (blocks, gguf.GGMLQuantizationType.IQ2_XXS)})
        self.assertFalse(self.inspect(path)["tensors"][0]["decoded"])
        self.assertIn("no plugin decodes it", qcore.run("inspect", path).stdout)

    def test_channels_that_stand_out(self):
        random = numpy.random.default_rng(2)
        weights = random.standard_normal((64, 256)).astype("<f4")
        model = self.write_gguf("model.gguf", {FIRST: weights, SECOND: weights, DOWN: weights})
        squares = random.uniform(0.8, 1.2, 256).astype("<f4")
        planted = squares.copy()
        for channel, times in (17, 20), (200, 9), (5, 30), (99, 7):
            planted[channel] = (times * times) * numpy.median(squares)
        count = numpy.array([2048], "<f4")
        entries = {}
        for name, mean in (FIRST, planted), (SECOND, planted), (DOWN, squares):
            entries |= {name + ".in_sum2": mean.reshape(1, -1) * count, name + ".counts": count.reshape(1, 1)}
        imatrix = self.write_gguf("imatrix.gguf", entries, "imatrix")
        shared, plain = self.inspect(model, "--imatrix", imatrix)["inputs"]
        self.assertEqual(shared["tensors"], [SECOND, FIRST])
        self.assertEqual((shared["channels"], shared["tokens"], shared["beyond_6_times_median"]), (256, 2048, 4))
        self.assertEqual([c["channel"] for c in shared["largest"]], [5, 17, 200])
        median = numpy.median(numpy.sqrt(planted.astype(float)))
        self.assertAlmostEqual(shared["median_root_mean_square"], median, 6)
        self.assertAlmostEqual(shared["largest"][0]["times_median"], planted[5] ** 0.5 / median, 4)
        self.assertEqual((plain["tensors"], plain["beyond_6_times_median"]), ([DOWN], 0))
        text = qcore.run("inspect", model, "--imatrix", imatrix).stdout
        self.assertRegex(text, r"blk\.0\.attn_k, attn_q +256 .* 4  5 \(\d+\.\d x\), 17 \(\d+\.\d x\), 200 \(.* x\), \.\.\.\n")
        self.assertIn("1 of 2 inputs have channels", text)


if __name__ == "__main__":
    unittest.main()
