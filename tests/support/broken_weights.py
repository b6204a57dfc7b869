"""Broken safetensors files, and the index of several. See broken.py."""

import json

import broken
from broken import EITHER, ERROR, folder_case

FILE = "model.safetensors"
EMBEDDING, NORM, QUERY = "model.embed_tokens.weight", "model.norm.weight", "model.layers.0.self_attn.q_proj.weight"
HUGE = 1 << 62


# --- safetensors ---


def parts(path):
    """(header, data) of a safetensors file."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def header_size():
    return int.from_bytes((broken.good("bpe") / FILE).read_bytes()[:8], "little")


def put(path, header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def header_case(name, edit, verdict=ERROR, names=(FILE, EMBEDDING)):
    """`edit` changes the parsed header, or returns a new one (or raw bytes)."""

    def change(folder):
        header, data = parts(folder / FILE)
        changed = edit(header)
        put(folder / FILE, header if changed is None else changed, data)

    return folder_case("safetensors", name, verdict, change, names=names)


def entry_case(name, verdict=ERROR, **fields):
    return header_case(name, lambda header: header[EMBEDDING].update(fields), verdict)


def length_case(value):
    def change(content):
        return (value & (1 << 64) - 1).to_bytes(8, "little") + content[8:]

    return folder_case("safetensors", f"header length {value}", ERROR, broken.replace(FILE, change), names=[FILE])


def rename(old, new):
    def edit(header):
        header[new] = header.pop(old)

    return edit


def shift(start, end):
    def edit(header):
        first, last = header[EMBEDDING]["data_offsets"]
        header[EMBEDDING]["data_offsets"] = [first + start, last + end]

    return edit


def transpose(header):
    header[EMBEDDING]["shape"].reverse()


def duplicate(header):
    text = json.dumps(header)
    return (text[:-1] + "," + json.dumps({EMBEDDING: header[EMBEDDING]})[1:]).encode()


def overlap(header):
    header[NORM]["data_offsets"] = header["model.layers.0.input_layernorm.weight"]["data_offsets"]


def without(key):
    return lambda header: header[EMBEDDING].pop(key) and None


def header_cases():
    size = header_size()
    return [length_case(value) for value in (0, 1, 2, size - 1, size + 1, 1 << 20, 1 << 32, 1 << 63, -1, -8)] + [
        entry_case("unknown dtype", dtype="Q9"),
        entry_case("dtype of another size", dtype="F64"),
        entry_case("an integer dtype", EITHER, dtype="I16"),
        entry_case("dtype a number", dtype=7),
        entry_case("dtype null", dtype=None),
        entry_case("shape a text", shape="814"),
        entry_case("shape negative", shape=[-814, -64]),
        entry_case("shape of floats", shape=[814.5, 64]),
        entry_case("shape of texts", shape=["814", "64"]),
        entry_case("shape overflows", shape=[1 << 32, 1 << 32]),
        entry_case("shape overflows with the dtype", shape=[1 << 63, 1]),
        entry_case("shape beyond 64 bits", shape=[1 << 70]),
        entry_case("shape of zeros", shape=[0, 64]),
        entry_case("shape empty", shape=[]),
        entry_case("shape of 40 dimensions", shape=[1] * 38 + [814, 64]),
        entry_case("shape nested", shape=[[814, 64]]),
        entry_case("offsets reversed", data_offsets=[104192, 0]),
        entry_case("offsets past the end", data_offsets=[HUGE, HUGE + 104192]),
        entry_case("offsets negative", data_offsets=[-104192, 0]),
        entry_case("one offset", data_offsets=[0]),
        entry_case("three offsets", data_offsets=[0, 104192, 104192]),
        entry_case("offsets of floats", data_offsets=[0.5, 104192.5]),
        entry_case("offsets beyond 64 bits", data_offsets=[0, 1 << 80]),
        entry_case("offsets null", data_offsets=None),
        header_case("range too small", shift(0, -2)),
        header_case("range too large", shift(0, 2)),
        header_case("range shifted", shift(2, 2)),
        header_case("ranges overlap", overlap, names=()),
        header_case("no dtype", without("dtype")),
        header_case("no shape", without("shape")),
        header_case("no offsets", without("data_offsets")),
        header_case("name twice", duplicate),
        header_case("entry a list", lambda header: header.update({EMBEDDING: [1, 2]})),
        header_case("entry null", lambda header: header.update({EMBEDDING: None})),
        header_case("metadata of numbers", lambda header: header.update({"__metadata__": {"format": 1}}), EITHER),
        header_case("metadata a list", lambda header: header.update({"__metadata__": []}), EITHER),
        header_case("an empty name", rename(EMBEDDING, ""), names=()),
        header_case("a name of 100 kB", rename(EMBEDDING, "x" * 100000), names=()),
        header_case("a name with a newline", rename(EMBEDDING, "a\nb\x1b[31m"), names=()),
        header_case("a list", lambda header: b"[]"),
        header_case("empty object", lambda header: b"{}"),
        header_case("not JSON", lambda header: b"nonsense"),
        header_case("spaces only", lambda header: b"   " * 8),
        header_case("cut short", lambda header: json.dumps(header).encode()[:-20]),
        header_case("trailing garbage", lambda header: json.dumps(header).encode() + b"}}"),
        header_case("deeply nested", lambda header: b'{"a":' * 100000),
        header_case("bad UTF-8", lambda header: b'{"\xff\xfe": {}}'),
    ]


def model_cases():
    """A readable file that is not the model that config.json describes."""
    return [
        header_case("embedding transposed", transpose),
        header_case("embedding renamed", rename(EMBEDDING, "x.weight"), names=()),
        header_case("query renamed", rename(QUERY, "model.layers.7.self_attn.q_proj.weight"), names=()),
        header_case("layer number absurd", rename(QUERY, f"model.layers.{1 << 40}.self_attn.q_proj.weight"), names=()),
        header_case("final norm gone", lambda header: header.pop(NORM) and None, EITHER, names=()),
        header_case("query gone", lambda header: header.pop(QUERY) and None, EITHER, names=()),
        header_case("query flat", lambda header: header[QUERY].update(shape=[4096]), names=(QUERY,)),
        header_case("query of another shape", lambda header: header[QUERY].update(shape=[128, 32]), names=(QUERY,)),
        header_case(
            "query of three dimensions", lambda header: header[QUERY].update(shape=[2, 32, 64]), names=(QUERY,)
        ),
        header_case("norm a matrix", lambda header: header[NORM].update(shape=[8, 8]), names=(NORM,)),
    ]


def value_case(tensor, position, label, base, names, preset="F16"):
    """One weight is NaN, infinite or too large. label: name of the value, bytes of it."""
    name, pattern = label

    def change(folder):
        header, data = parts(folder / FILE)
        first, last = header[tensor]["data_offsets"]
        place = first if position == "first" else last - len(pattern)
        put(folder / FILE, header, data[:place] + pattern + data[place + len(pattern) :])

    return folder_case(
        "values", f"{name} {position} in {tensor} ({base}, {preset})", ERROR, change, base, names, preset
    )


def value_cases():
    bf16 = {"NaN": b"\xc0\x7f", "Inf": b"\x80\x7f", "-Inf": b"\x80\xff"}
    f16 = {"NaN": b"\x01\x7e", "Inf": b"\x00\x7c"}
    f32 = {"NaN": b"\x00\x00\xc0\x7f", "-Inf": b"\x00\x00\x80\xff"}
    query = (QUERY, "blk.0.attn_q.weight")
    cases = []
    for base, values in (("bpe", bf16), ("f16", f16), ("f32", f32)):
        for label in values.items():
            cases.append(value_case(QUERY, "first", label, base, query))
            cases.append(value_case(QUERY, "last", label, base, query))
            cases.append(value_case(NORM, "first", label, base, (NORM, "output_norm.weight")))
    for preset in ("BF16", "Q8_0", "Q4_0", "Q5_1", "Q4_K_M", "Q2_K"):
        cases.append(value_case(QUERY, "last", ("NaN", bf16["NaN"]), "bpe", query, preset))
    cases.append(value_case(QUERY, "first", ("1e38, beyond F16,", b"\x96\x7e"), "bpe", query))
    return cases


def safetensors_cases():
    size = header_size()
    cuts = [0, 1, 7, 8, 9, size // 2, size + 7, size + 8, size + 9, size + 2000, -1, -2, -1000]
    longer = folder_case(
        "safetensors", "trailing bytes", EITHER, broken.replace(FILE, lambda b: b + bytes(9)), names=[FILE]
    )
    wrong = [
        folder_case("safetensors", name, ERROR, change, names=[FILE, "model"])
        for name, change in (
            ("missing", broken.remove(FILE)),
            ("a directory", broken.directory_instead(FILE)),
            ("zeros", broken.replace(FILE, bytes(4096))),
            ("text", broken.replace(FILE, b"hello " * 1000)),
        )
    ]
    return (
        broken.truncations("safetensors", FILE, cuts)
        + broken.flips("safetensors", FILE, 40, last=size + 8)
        + broken.flips("safetensors data", FILE, 10, first=size + 8)
        + [longer]
        + wrong
        + header_cases()
        + model_cases()
        + value_cases()
    )


# --- the index of a sharded model ---

INDEX = "model.safetensors.index.json"
SHARD = "model-00001-of-00002.safetensors"


def mapped(file):
    """Every tensor of the first shard is said to be in `file`."""

    def edit(index):
        for name, place in index["weight_map"].items():
            index["weight_map"][name] = file if place == SHARD else place

    return edit


def swap(index):
    names = sorted(set(index["weight_map"].values()))
    other = dict(zip(names, reversed(names)))
    index["weight_map"] = {name: other[place] for name, place in index["weight_map"].items()}


def index_cases():
    edits = {
        "no map": (ERROR, lambda index: index.pop("weight_map") and None),
        "map a list": (ERROR, lambda index: index.update(weight_map=["a"])),
        "map empty": (ERROR, lambda index: index.update(weight_map={})),
        "places are numbers": (ERROR, mapped(1)),
        "places are null": (ERROR, mapped(None)),
        "places are empty": (ERROR, mapped("")),
        "a file that is not there": (ERROR, mapped("model-00009-of-00002.safetensors")),
        "a file outside": (ERROR, mapped("../model/" + SHARD)),
        "an absolute path": (ERROR, mapped("/dev/zero")),
        "a device": (ERROR, mapped("../../../../../../dev/zero")),
        "the folder": (ERROR, mapped(".")),
        "files exchanged": (ERROR, swap),
        "total size absurd": (EITHER, lambda index: index["metadata"].update(total_size=1 << 70)),
        "a tensor too many": (ERROR, lambda index: index["weight_map"].update({"extra.weight": SHARD})),
        "a tensor too few": (EITHER, lambda index: index["weight_map"].pop(EMBEDDING) and None),
    }
    cases = broken.json_edits("index.json", INDEX, edits, "sharded")
    for case in cases:
        case.names += ("safetensors", "tensor", EMBEDDING, "model: ")
    gone = [
        folder_case("index.json", f"shard {name}", ERROR, change, "sharded", [SHARD])
        for name, change in (
            ("missing", broken.remove(SHARD)),
            ("empty", broken.truncate(SHARD, 0)),
            ("cut", broken.truncate(SHARD, -1)),
            ("a directory", broken.directory_instead(SHARD)),
        )
    ]
    return (
        cases
        + gone
        + broken.not_json("index.json", INDEX, "sharded")
        + broken.flips("index.json", INDEX, 15, "sharded")
        + broken.truncations("index.json", INDEX, [1, 100, 500, -3], "sharded")
    )


def cases():
    return safetensors_cases() + index_cases()
