"""Formats against the packages that others wrote: gguf and safetensors. No model is quantized here.

$QCORE_BUILD/tests/tools/format_tool runs the format plugins alone."""
import json
import os
import struct
import subprocess
import tempfile
import unittest

import gguf
import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

BUILD = os.environ.get("QCORE_BUILD", "build")
TOOL = os.environ.get("FORMAT_TOOL", os.path.join(BUILD, "tests/tools/format_tool"))
FORMS = {0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "u1", 10: "<u8", 11: "<i8", 12: "<f8"}
TEXT = 8


def run(*args):
    return subprocess.run([TOOL, *args], capture_output=True, text=True)


def decoded(meta):
    data = [bytes.fromhex(v) for v in meta["values"]]
    values = [v.decode() if meta["type"] == TEXT else np.frombuffer(v, FORMS[meta["type"]])[0].item() for v in data]
    if meta["type"] == 7:
        values = [bool(v) for v in values]
    return values if meta["array"] else values[0]


class Dump:
    """What a format plugin reports of a file."""

    def __init__(self, fmt, path):
        done = run("dump", fmt, path)
        if done.returncode != 0:
            raise AssertionError(done.stderr)
        dump = json.loads(done.stdout)
        self.types = {m["key"]: (m["type"], m["array"]) for m in dump["metadata"]}
        self.metadata = {m["key"]: decoded(m) for m in dump["metadata"]}
        self.tensors = {t["name"]: t for t in dump["tensors"]}

    def data(self, name):
        return bytes.fromhex(self.tensors[name]["data"])


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.random = np.random.default_rng(1)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def copy(self, *args):
        done = run("copy", *args)
        self.assertEqual(done.returncode, 0, done.stderr)

    def refused(self, fmt, path, words):
        done = run("dump", fmt, path)
        self.assertEqual(done.returncode, 1)
        self.assertIn(words, done.stderr)


class Gguf(Case):
    SCALARS = [("uint8", gguf.GGUFValueType.UINT8, 255), ("int8", gguf.GGUFValueType.INT8, -128),
               ("uint16", gguf.GGUFValueType.UINT16, 65535), ("int16", gguf.GGUFValueType.INT16, -32768),
               ("uint32", gguf.GGUFValueType.UINT32, 2**32 - 1), ("int32", gguf.GGUFValueType.INT32, -2**31),
               ("float32", gguf.GGUFValueType.FLOAT32, 0.5), ("bool", gguf.GGUFValueType.BOOL, True),
               ("string", gguf.GGUFValueType.STRING, "text \u4e2d \U0001f600\n"),
               ("uint64", gguf.GGUFValueType.UINT64, 2**64 - 1), ("int64", gguf.GGUFValueType.INT64, -2**63),
               ("float64", gguf.GGUFValueType.FLOAT64, 0.1)]
    ARRAYS = {"strings": ["a", "\u00fc", "<s>", " b"], "ints": [-1, 0, 2**31 - 1], "floats": [0.25, -1.5],
              "bools": [True, False, True]}

    def write(self, path, tensors, **options):
        writer = gguf.GGUFWriter(path, "llama", **options)
        for name, kind, value in self.SCALARS:
            writer.add_key_value("one." + name, value, kind)
        for name, value in self.ARRAYS.items():
            writer.add_array("many." + name, value)
        for name, data in tensors.items():
            writer.add_tensor(name, data)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    def plain(self):
        tensors = {}
        for dtype in (np.float32, np.float16, np.float64, np.int8, np.int16, np.int32, np.int64):
            values = self.random.standard_normal((3, 5)) * 100
            tensors["t." + np.dtype(dtype).name] = values.astype(dtype)
        tensors["vector"] = np.arange(7, dtype=np.float32)
        tensors["experts"] = self.random.standard_normal((4, 3, 2)).astype(np.float16)
        tensors["four"] = np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5)
        return tensors

    def test_reads_what_gguf_py_writes(self):
        tensors = self.plain()
        self.write(self.path("a.gguf"), tensors)
        dump = Dump("gguf", self.path("a.gguf"))
        for name, kind, value in self.SCALARS:
            self.assertEqual(dump.types["one." + name], (int(kind), False))
            self.assertEqual(dump.metadata["one." + name], value)
        for name, value in self.ARRAYS.items():
            self.assertEqual(dump.metadata["many." + name], value)
        self.assertEqual(list(dump.tensors), list(tensors))
        for name, data in tensors.items():
            self.assertEqual(dump.tensors[name]["dims"], list(reversed(data.shape)))
            self.assertEqual(dump.data(name), data.tobytes())

    def test_gguf_py_reads_what_we_write(self):
        tensors = self.plain()
        self.write(self.path("a.gguf"), tensors)
        for alignment in (8, 32, 64, 4096):
            copy = self.path("b%d.gguf" % alignment)
            self.copy("gguf", self.path("a.gguf"), "gguf", copy, "alignment=%d" % alignment)
            ours, theirs = gguf.GGUFReader(copy), gguf.GGUFReader(self.path("a.gguf"))
            self.assertEqual(ours.alignment, alignment)
            self.assertEqual(os.path.getsize(copy) % alignment, 0)
            keys = [k for k in ours.fields if not k.startswith("GGUF.") and k != "general.alignment"]
            self.assertEqual(keys, [k for k in theirs.fields if not k.startswith("GGUF.")])
            for key in keys:
                self.assertEqual(ours.fields[key].types, theirs.fields[key].types)
                self.assertEqual(ours.fields[key].contents(), theirs.fields[key].contents())
            self.assertEqual([t.name for t in ours.tensors], list(tensors))
            for tensor in ours.tensors:
                self.assertEqual(tensor.data.tobytes(), tensors[tensor.name].tobytes())
                self.assertEqual(tensor.data.shape, tensors[tensor.name].shape)
        with open(self.path("a.gguf"), "rb") as a, open(self.path("b32.gguf"), "rb") as b:
            self.assertEqual(a.read(), b.read())  # with the standard alignment nothing at all differs

    def test_sizes_of_all_types(self):
        wrong_in_the_package = {gguf.GGMLQuantizationType.Q8_1}  # counts its two f16 as f32
        for kind, (cols, size) in gguf.GGML_QUANT_SIZES.items():
            if kind in wrong_in_the_package:
                continue
            data = self.random.integers(0, 256, (3, 2 * size), dtype=np.uint8)
            writer = gguf.GGUFWriter(self.path("t.gguf"), "llama")
            writer.add_tensor("t", data, raw_dtype=kind)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
            dump = Dump("gguf", self.path("t.gguf"))
            self.assertEqual(dump.tensors["t"]["encoding"], kind.name.lower())
            self.assertEqual(dump.data("t"), data.tobytes())
            if kind.name not in ("F32", "F16", "F64", "I8", "I16", "I32", "I64"):  # gguf-py views these as numbers
                self.assertEqual(dump.tensors["t"]["dims"], [2 * cols, 3])

    def test_split_files(self):
        tensors = self.plain()
        self.write(self.path("big.gguf"), tensors, split_max_tensors=4)
        shards = sorted(n for n in os.listdir(self.folder) if n.startswith("big-"))
        self.assertEqual(len(shards), 3)
        for shard in shards:
            dump = Dump("gguf", self.path(shard))
            self.assertEqual(set(dump.tensors), set(tensors))
            self.assertEqual(dump.metadata["one.string"], self.SCALARS[8][2])
            self.assertFalse([k for k in dump.metadata if k.startswith("split.")])
            for name, data in tensors.items():
                self.assertEqual(dump.data(name), data.tobytes())
        self.copy("gguf", self.path(shards[1]), "gguf", self.path("joined.gguf"))
        self.assertEqual({t.name for t in gguf.GGUFReader(self.path("joined.gguf")).tensors}, set(tensors))
        os.remove(self.path(shards[2]))
        self.refused("gguf", self.path(shards[0]), shards[2])

    def test_refuses_big_endian(self):
        self.write(self.path("be.gguf"), {"t": np.zeros(4, np.float32)}, endianess=gguf.GGUFEndian.BIG)
        self.refused("gguf", self.path("be.gguf"), "big-endian")


class Safetensors(Case):
    RAW = {"BF16": ("bf16", 2), "F8_E4M3": ("f8_e4m3", 1), "F8_E5M2": ("f8_e5m2", 1)}  # numpy has none of these
    DTYPES = {"float64": "f64", "float32": "f32", "float16": "f16", "int64": "i64", "int32": "i32", "int16": "i16",
              "int8": "i8", "uint8": "u8", "uint16": "u16", "uint32": "u32", "uint64": "u64", "bool": "bool"}

    def arrays(self):
        arrays = {"m." + d: (self.random.standard_normal((4, 3)) * 50 + 100).astype(d) for d in self.DTYPES}
        arrays["scalar"] = np.array(2.5, np.float32)
        arrays["four"] = np.arange(24, dtype=np.float16).reshape(2, 3, 4, 1)
        return arrays

    def test_reads_what_the_package_writes(self):
        arrays = self.arrays()
        save_file(arrays, self.path("m.safetensors"), metadata={"format": "pt", "note": "\u4e2d\n\"q\""})
        dump = Dump("safetensors", self.path("m.safetensors"))
        self.assertEqual(dump.metadata, {"safetensors.format": "pt", "safetensors.note": "\u4e2d\n\"q\""})
        self.assertEqual(set(dump.tensors), set(arrays))
        for name, array in arrays.items():
            self.assertEqual(dump.tensors[name]["encoding"], self.DTYPES[array.dtype.name])
            self.assertEqual(dump.tensors[name]["dims"], list(reversed(array.shape)))
            self.assertEqual(dump.data(name), array.tobytes())

    def test_types_without_numpy(self):
        header, data, want = {}, b"", {}
        for dtype, (_, size) in self.RAW.items():
            want[dtype] = self.random.integers(0, 256, 12 * size, dtype=np.uint8).tobytes()
            header[dtype] = {"dtype": dtype, "shape": [3, 4], "data_offsets": [len(data), len(data) + 12 * size]}
            data += want[dtype]
        text = json.dumps(header).encode()
        with open(self.path("r.safetensors"), "wb") as out:
            out.write(struct.pack("<Q", len(text)) + text + data)
        dump = Dump("safetensors", self.path("r.safetensors"))
        for dtype, (encoding, _) in self.RAW.items():
            self.assertEqual(dump.tensors[dtype]["encoding"], encoding)
            self.assertEqual(dump.data(dtype), want[dtype])
        os.mkdir(self.path("out"))
        self.copy("safetensors", self.path("r.safetensors"), "safetensors", self.path("out"))
        with open(self.path("out", "model.safetensors"), "rb") as written:
            again = dict(safetensors.deserialize(written.read()))
        for dtype in self.RAW:
            self.assertEqual((again[dtype]["dtype"], again[dtype]["shape"]), (dtype, [3, 4]))
            self.assertEqual(bytes(again[dtype]["data"]), want[dtype])

    def test_the_package_reads_what_we_write(self):
        arrays = self.arrays()
        save_file(arrays, self.path("m.safetensors"), metadata={"note": "n"})
        os.mkdir(self.path("out"))
        self.copy("safetensors", self.path("m.safetensors"), "safetensors", self.path("out"))
        again = load_file(self.path("out", "model.safetensors"))
        self.assertEqual(set(again), set(arrays))
        for name, array in arrays.items():
            np.testing.assert_array_equal(again[name], array)
        with safetensors.safe_open(self.path("out", "model.safetensors"), "np") as written:
            self.assertEqual(written.metadata(), {"note": "n", "format": "pt"})

    def test_shards(self):
        arrays = self.arrays()
        save_file(arrays, self.path("m.safetensors"))
        os.mkdir(self.path("out"))
        self.copy("safetensors", self.path("m.safetensors"), "safetensors", self.path("out"), "shard_bytes=120")
        with open(self.path("out", "model.safetensors.index.json")) as text:
            index = json.load(text)
        self.assertEqual(set(index["weight_map"]), set(arrays))
        self.assertEqual(index["metadata"]["total_size"], sum(a.nbytes for a in arrays.values()))
        files = sorted(set(index["weight_map"].values()))
        self.assertEqual(files, ["model-%05d-of-%05d.safetensors" % (i + 1, len(files)) for i in range(len(files))])
        for name in files:
            for tensor, array in load_file(self.path("out", name)).items():
                self.assertEqual(index["weight_map"][tensor], name)
                np.testing.assert_array_equal(array, arrays[tensor])
        for entry in ("model.safetensors.index.json", files[-1]):  # the index, or any shard
            dump = Dump("safetensors", self.path("out", entry))
            self.assertEqual({n: dump.data(n) for n in dump.tensors}, {n: a.tobytes() for n, a in arrays.items()})

    def test_to_gguf_and_back(self):
        arrays = {"a": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.arange(5, dtype=np.float16)}
        save_file(arrays, self.path("m.safetensors"))
        os.mkdir(self.path("out"))
        self.copy("safetensors", self.path("m.safetensors"), "gguf", self.path("m.gguf"))
        self.copy("gguf", self.path("m.gguf"), "safetensors", self.path("out"))
        again = load_file(self.path("out", "model.safetensors"))
        for name, array in arrays.items():
            np.testing.assert_array_equal(again[name], array)


class Imatrix(Case):
    """One importance matrix in both layouts: mean square = in_sum2 / counts from either."""

    def mean_squares(self, fmt, path):
        dump, means = Dump(fmt, path), {}
        for name in dump.tensors:
            if name.endswith(".in_sum2"):
                base = name[:-len(".in_sum2")]
                sums, counts = np.frombuffer(dump.data(name), "<f4"), np.frombuffer(dump.data(base + ".counts"), "<f4")
                means[base] = sums.reshape(len(counts), -1) / counts[:, None]
        return dump, means

    def test_both_layouts_say_the_same(self):
        chunk_size, chunks = 512, 8
        want = {"blk.0.attn_q.weight": self.random.random((1, 64), np.float32),
                "blk.1.ffn_down.weight": self.random.random((1, 96), np.float32) * 100}
        dat = struct.pack("<i", len(want))
        writer = gguf.GGUFWriter(self.path("imatrix.gguf"), "")
        writer.add_string("general.type", "imatrix")
        writer.add_array("imatrix.datasets", ["wiki.txt"])
        writer.add_uint32("imatrix.chunk_count", chunks)
        writer.add_uint32("imatrix.chunk_size", chunk_size)
        for name, mean in want.items():
            dat += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", chunks, mean.size)
            dat += (mean * np.float32(chunks)).astype("<f4").tobytes()
            writer.add_tensor(name + ".in_sum2", mean * np.float32(chunk_size * chunks))
            writer.add_tensor(name + ".counts", np.full((1, 1), chunk_size * chunks, np.float32))
        dat += struct.pack("<ii", chunks, 8) + b"wiki.txt"
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        with open(self.path("imatrix.dat"), "wb") as out:
            out.write(dat)
        for fmt, path in (("imatrix_dat", "imatrix.dat"), ("gguf", "imatrix.gguf")):
            dump, means = self.mean_squares(fmt, self.path(path))
            self.assertEqual(dump.metadata["general.type"], "imatrix")
            self.assertEqual(dump.metadata["imatrix.chunk_count"], chunks)
            self.assertEqual(dump.metadata["imatrix.datasets"], ["wiki.txt"])
            self.assertEqual(set(means), set(want))
            for name, mean in want.items():  # powers of two: nothing is rounded on the way
                np.testing.assert_array_equal(means[name], mean)


if __name__ == "__main__":
    unittest.main()
