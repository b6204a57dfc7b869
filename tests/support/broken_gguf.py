"""Broken GGUF files and importance matrices. See broken.py."""

import shutil
import struct

import numpy

import broken
from broken import EITHER, ERROR, Case


def text(value):
    value = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(value)) + value


def key(name, kind, value):
    """kind: struct letter of a scalar, or 's' for a text."""
    numbers = {"B": 0, "b": 1, "H": 2, "h": 3, "I": 4, "i": 5, "f": 6, "?": 7, "s": 8, "Q": 10, "q": 11, "d": 12}
    return (
        text(name) + struct.pack("<I", numbers[kind]) + (text(value) if kind == "s" else struct.pack("<" + kind, value))
    )


def array(name, kind, count, content):
    return text(name) + struct.pack("<IIQ", 9, kind, count) + content


KEYS = [
    key("general.architecture", "s", "llama"),
    key("general.alignment", "I", 32),
    key("llama.block_count", "I", 1),
    key("llama.context_length", "I", 128),
    key("llama.embedding_length", "I", 64),
    key("llama.feed_forward_length", "I", 128),
    key("llama.attention.head_count", "I", 2),
    key("llama.attention.layer_norm_rms_epsilon", "f", 1e-5),
    key("tokenizer.ggml.model", "s", "gpt2"),
    array("tokenizer.ggml.tokens", 8, 3, text("a") + text("b") + text("c")),
    array("tokenizer.ggml.token_type", 5, 3, struct.pack("<3i", 1, 1, 3)),
]

# name, dimensions, type, size in bytes (F32 0, F16 1, Q8_0 8)
TENSORS = [
    ("token_embd.weight", (64, 3), 1, 384),
    ("blk.0.attn_norm.weight", (64,), 0, 256),
    ("blk.0.attn_q.weight", (64, 64), 8, 4352),
    ("output_norm.weight", (64,), 0, 256),
]


def entry(name, dims, kind, offset, rank=None):
    return (
        text(name)
        + struct.pack("<I", len(dims) if rank is None else rank)
        + b"".join(struct.pack("<Q", d) for d in dims)
        + struct.pack("<IQ", kind, offset)
    )


def gguf(keys=None, entries=None, magic=b"GGUF", version=3, n_tensors=None, n_keys=None, tail=b"", alignment=32):
    """A small file. Whatever is given replaces the right thing."""
    keys = KEYS if keys is None else keys
    good_entries, data = [], b""
    for name, dims, kind, size in TENSORS:
        good_entries.append(entry(name, dims, kind, len(data)))
        weights = (
            numpy.random.RandomState(size).standard_normal(size).astype("<f4" if kind == 0 else "<f2").tobytes()[:size]
        )
        data += weights + bytes(-size % alignment)
    entries = good_entries if entries is None else entries
    head = (
        magic
        + struct.pack(
            "<IQQ", version, len(entries) if n_tensors is None else n_tensors, len(keys) if n_keys is None else n_keys
        )
        + b"".join(keys)
        + b"".join(entries)
    )
    return head + bytes(-len(head) % alignment) + data + tail


def gguf_case(name, content, verdict=ERROR, names=("model.gguf",)):
    def build(folder):
        (folder / "model.gguf").write_bytes(content)
        broken.write_recipe(folder, model="model.gguf")

    return Case("gguf", name, verdict, build, names)


def first_entry(*arguments, **options):
    """The good table with another first entry."""
    return gguf(
        entries=[entry(*arguments, **options)]
        + [entry(n, d, k, o) for (n, d, k, _), o in zip(TENSORS[1:], (384, 640, 4992))]
    )


def with_key(extra):
    return gguf(keys=KEYS + [extra])


def gguf_header_cases():
    name, dims = "token_embd.weight", (64, 3)
    contents = {
        "magic wrong": gguf(magic=b"GGUX"),
        "magic reversed": gguf(magic=b"FUGG"),
        "version 0": gguf(version=0),
        "version 1": gguf(version=1),
        "version 4": gguf(version=4),
        "big-endian version": gguf(version=3 << 24),
        "tensors 2^63": gguf(n_tensors=1 << 63),
        "tensors 2^32": gguf(n_tensors=1 << 32),
        "one tensor too many": gguf(n_tensors=5),
        "keys 2^63": gguf(n_keys=1 << 63),
        "keys 2^32": gguf(n_keys=1 << 32),
        "one key too few": gguf(n_keys=len(KEYS) - 1),
        "key length 2^63": with_key(struct.pack("<Q", 1 << 63)),
        "key empty": with_key(text("") + struct.pack("<II", 4, 1)),
        "key of 70,000 bytes": with_key(key("x" * 70000, "I", 1)),
        "key twice": with_key(key("llama.block_count", "I", 1)),
        "text length 2^63": with_key(text("a.b") + struct.pack("<IQ", 8, 1 << 63)),
        "text length past the end": with_key(text("a.b") + struct.pack("<IQ", 8, 1 << 24)),
        "value type 13": with_key(text("a.b") + struct.pack("<II", 13, 0)),
        "value type 2^31": with_key(text("a.b") + struct.pack("<II", 1 << 31, 0)),
        "array of arrays": with_key(array("a.b", 9, 1, struct.pack("<IQI", 4, 1, 7))),
        "array of 2^62": with_key(array("a.b", 4, 1 << 62, b"")),
        "array of 2^61 texts": with_key(array("a.b", 8, 1 << 61, b"")),
        "array of type 99": with_key(array("a.b", 99, 1, bytes(8))),
        "alignment 0": gguf(keys=[KEYS[0], key("general.alignment", "I", 0)] + KEYS[2:]),
        "alignment 3": gguf(keys=[KEYS[0], key("general.alignment", "I", 3)] + KEYS[2:]),
        "alignment 2^31": gguf(keys=[KEYS[0], key("general.alignment", "I", 1 << 31)] + KEYS[2:]),
        "alignment a text": gguf(keys=[KEYS[0], key("general.alignment", "s", "32")] + KEYS[2:]),
        "rank 5": first_entry(name, (64, 3, 1, 1, 1), 1, 0),
        "rank 2^31": first_entry(name, dims, 1, 0, rank=1 << 31),
        "dimension 0": first_entry(name, (64, 0), 1, 0),
        "dimension 2^63": first_entry(name, (64, 1 << 63), 1, 0),
        "dimensions overflow": first_entry(name, (1 << 32, 1 << 32), 1, 0),
        "dimensions overflow with the type": first_entry(name, (1 << 31, 1 << 31), 1, 0),
        "dimension past the end": first_entry(name, (64, 1 << 20), 1, 0),
        "type 4 (removed)": first_entry(name, dims, 4, 0),
        "type 200": first_entry(name, dims, 200, 0),
        "row no multiple of the block": first_entry(name, (65, 3), 8, 0),
        "offset not aligned": first_entry(name, dims, 1, 1),
        "offset past the end": first_entry(name, dims, 1, 1 << 40),
        "offset 2^64 - 32": first_entry(name, dims, 1, (1 << 64) - 32),
        "name twice": first_entry("output_norm.weight", dims, 1, 0),
        "name of 65 bytes": first_entry("x" * 65, dims, 1, 0),
        "name length 2^60": gguf(entries=[struct.pack("<Q", 1 << 60)]),
        "no tensors' data": gguf()[:-5248],
        "empty": b"",
        "magic only": b"GGUF",
        "half a header": gguf()[:20],
    }
    cases = [
        gguf_case(what, content, names=("model.gguf", name, "output_norm.weight")) for what, content in contents.items()
    ]
    lenient = {
        "rank 0": first_entry(name, (), 1, 0),
        "ranges overlap": first_entry(name, dims, 1, 640),
        "trailing bytes": gguf(tail=bytes(100)),
        "no keys": gguf(keys=[]),
        "no tensors": gguf(entries=[]),
        "key not UTF-8": with_key(key(b"a\xff", "I", 1)),
        "bool 7": with_key(text("a.b") + struct.pack("<IB", 7, 7)),
        "architecture unknown": gguf(keys=[key("general.architecture", "s", "zzz")] + KEYS[1:]),
        "architecture a number": gguf(keys=[key("general.architecture", "I", 1)] + KEYS[1:]),
        "name not UTF-8": first_entry(b"a\xff\xfe", dims, 1, 0),
        "name empty": first_entry("", dims, 1, 0),
    }
    return cases + [gguf_case(what, content, EITHER, ()) for what, content in lenient.items()]


def gguf_cases():
    content = gguf()
    header = len(content) - 5248
    cuts = sorted(set(numpy.linspace(5, header - 1, 16).astype(int)) | {len(content) - 1, len(content) - 300})
    random = numpy.random.RandomState(7)

    def flipped(bit):
        data = bytearray(content)
        data[bit // 8] ^= 1 << bit % 8
        return bytes(data)

    bits = sorted(set(random.randint(0, header * 8, 60)))
    nan = content[:-256] + b"\x00\x00\xc0\x7f" + content[-252:]
    return (
        gguf_header_cases()
        + [gguf_case(f"cut to {cut} bytes", content[:cut]) for cut in cuts]
        + [gguf_case(f"bit {bit} flipped", flipped(int(bit)), EITHER, ()) for bit in bits]
        + [gguf_case("NaN in a norm", nan, EITHER, ("output_norm.weight",))]
    )


# --- importance matrices ---


def legacy_entry(name, values, calls=1, length=None, count=None):
    name = name.encode()
    return (
        struct.pack("<i", len(name) if length is None else length)
        + name
        + struct.pack("<ii", calls, len(values) if count is None else count)
        + numpy.array(values, "<f4").tobytes()
    )


def imatrix_cases():
    good = legacy_entry("blk.0.attn_q.weight", [1.0] * 64)
    contents = {
        "empty": b"",
        "negative count": struct.pack("<i", -1) + good,
        "count 2^31 - 1": struct.pack("<i", (1 << 31) - 1) + good,
        "one entry too many": struct.pack("<i", 2) + good,
        "cut": struct.pack("<i", 1) + good[:-5],
        "name length negative": struct.pack("<i", 1) + legacy_entry("blk.0.attn_q.weight", [1.0] * 64, length=-5),
        "name length huge": struct.pack("<i", 1) + legacy_entry("blk.0.attn_q.weight", [1.0] * 64, length=1 << 30),
        "values negative": struct.pack("<i", 1) + legacy_entry("blk.0.attn_q.weight", [1.0] * 64, count=-64),
        "values huge": struct.pack("<i", 1) + legacy_entry("blk.0.attn_q.weight", [1.0] * 64, count=1 << 30),
        "another width": struct.pack("<i", 1) + legacy_entry("blk.0.attn_q.weight", [1.0] * 63),
        "NaN": struct.pack("<i", 1) + legacy_entry("blk.0.attn_q.weight", [float("nan")] * 64),
        "text": b"not an importance matrix at all\n" * 4,
        "GGUF cut": b"GGUF\x03\x00\x00\x00",
        "a model": gguf(),
        "GGUF magic only": b"GGUF",
    }

    def case(name, content):
        def build(folder):
            shutil.copytree(broken.good("bpe"), folder / "model")
            (folder / "imatrix.dat").write_bytes(content)
            broken.write_recipe(folder, preset="Q4_0", more="calibration: {imatrix: imatrix.dat}\n")

        return Case("imatrix", name, ERROR, build, ("imatrix.dat", "blk.0.attn_q.weight"))

    return [case(name, content) for name, content in contents.items()]


def cases():
    return gguf_cases() + imatrix_cases()
