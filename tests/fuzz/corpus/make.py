#!/usr/bin/env python3
"""Writes the corpus of the format fuzzer: small files, good and broken. From the formats' descriptions, no packages.

A folder of several files is packed as fuzz_format.c says: "QCF1", then {u8 length, name, u32 length, bytes} each."""
import json
import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
TYPES = {"u8": 0, "i8": 1, "u16": 2, "i16": 3, "u32": 4, "i32": 5, "f32": 6, "bool": 7, "text": 8, "array": 9,
         "u64": 10, "i64": 11, "f64": 12}
FORMS = {"u8": "<B", "i8": "<b", "u16": "<H", "i16": "<h", "u32": "<I", "i32": "<i", "f32": "<f", "bool": "<B",
         "u64": "<Q", "i64": "<q", "f64": "<d"}
# ggml types: id, weights of a block, bytes of a block
BLOCKS = [(0, 1, 4), (1, 1, 2), (2, 32, 18), (3, 32, 20), (6, 32, 22), (7, 32, 24), (8, 32, 34), (10, 256, 84),
          (11, 256, 110), (12, 256, 144), (13, 256, 176), (14, 256, 210), (16, 256, 66), (20, 32, 18), (24, 1, 1),
          (27, 1, 8), (28, 1, 8), (29, 256, 56), (30, 1, 2), (34, 256, 54), (35, 256, 66), (39, 32, 17), (40, 64, 36),
          (41, 128, 18), (42, 64, 18)]


def text(value):
    value = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(value)) + value


def value(type_name, v):
    return text(v) if type_name == "text" else struct.pack(FORMS[type_name], v)


def key(name, type_name, v):
    if isinstance(v, list):
        head = struct.pack("<IIQ", TYPES["array"], TYPES[type_name], len(v))
        return text(name) + head + b"".join(value(type_name, x) for x in v)
    return text(name) + struct.pack("<I", TYPES[type_name]) + value(type_name, v)


def gguf(keys=(), tensors=(), version=3, alignment=32):
    """tensors: name, dims, (type id, block weights, block bytes)"""
    table, data = b"", b""
    for name, dims, (type_id, cols, block_bytes) in tensors:
        rows = 1
        for n in dims[1:]:
            rows *= n
        size = (dims[0] if dims else 1) // cols * block_bytes * rows
        table += text(name) + struct.pack("<I%dQIQ" % len(dims), len(dims), *dims, type_id, len(data))
        data += bytes(i % 251 for i in range(size))
        data += bytes(-len(data) % alignment)
    keys = list(keys) + ([key("general.alignment", "u32", alignment)] if alignment != 32 else [])
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys)) + b"".join(keys) + table
    return head + bytes(-len(head) % alignment) + data


def folder(files):
    out = b"QCF1"
    for name, data in files:
        out += struct.pack("B", len(name)) + name.encode() + struct.pack("<I", len(data)) + data
    return out


def shard(no, count):
    keys = [key("split.no", "u16", no), key("split.count", "u16", count), key("split.tensors.count", "i32", count)]
    return gguf(([key("general.name", "text", "split")] if no == 0 else []) + keys, [("t%d" % no, [8], BLOCKS[0])])


def gguf_corpus():
    name = [key("general.architecture", "text", "llama"), key("general.name", "text", "tiny")]
    every = [key("one." + t, t, 1) for t in FORMS] + [key("many." + t, t, [0, 1, 1]) for t in FORMS]
    every += [key("none", "i32", []), key("tokens", "text", ["a", "", "\u00fc", "<s>"])]
    small = [("token_embd.weight", [32, 3], (8, 32, 34)), ("norm.weight", [5], BLOCKS[0])]
    good = gguf(name, small)
    yield "empty", gguf()
    yield "small", good
    yield "version_2", gguf(name, small, version=2)
    yield "alignment_8", gguf(name, small, alignment=8)
    yield "alignment_64", gguf(name, small, alignment=64)
    yield "every_value_type", gguf(name + every)
    yield "every_tensor_type", gguf(name, [("t%d" % b[0], [b[1], 2], b) for b in BLOCKS])
    yield "dimensions", gguf(name, [("d0", [], BLOCKS[0]), ("d4", [2, 3, 1, 2], BLOCKS[1]), ("z", [0, 3], BLOCKS[0])])
    yield "no_last_padding", gguf(name, small)[:-12]
    yield "split_from_0", folder([("m-%05d-of-00003.gguf" % (i + 1), shard(i, 3)) for i in (0, 1, 2)])
    yield "split_from_2", folder([("m-%05d-of-00003.gguf" % (i + 1), shard(i, 3)) for i in (2, 0, 1)])
    yield "split_missing", folder([("m-%05d-of-00003.gguf" % (i + 1), shard(i, 3)) for i in (0, 2)])
    yield "note_with_zero", gguf([key("safetensors.note", "text", "a\0b")])  # JSON readers refuse it
    yield "empty_but_wide", gguf(name, [("z", [0, 2**60], BLOCKS[0])])  # JSON numbers end at 2^53
    yield "bad_big_endian", b"GGUF" + struct.pack(">IQQ", 3, 0, 0)
    yield "bad_version_1", b"GGUF" + struct.pack("<III", 1, 0, 0) + bytes(12)
    yield "bad_counts", b"GGUF" + struct.pack("<IQQ", 3, 2**63, 2**40) + bytes(64)
    yield "bad_string_length", gguf([text("k") + struct.pack("<IQ", 8, 2**64 - 1)])
    yield "bad_array_length", gguf([text("k") + struct.pack("<IIQ", 9, 10, 2**61 + 1) + bytes(64)])
    yield "bad_nested_array", gguf([text("k") + struct.pack("<IIQIQ", 9, 9, 1, 0, 0)])
    yield "bad_alignment", gguf([key("general.alignment", "u32", 24)], small)
    yield "bad_dimensions", gguf(name, [("t", [], (0, 1, 4))])[:-36] + struct.pack("<2Q", 2**62, 2**62)
    yield "bad_cut", good[:-80]


def safetensors(header, data=b""):
    header = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + data


def entries(tensors, metadata=None, top=251):
    """A header for tensors of name, dtype, bytes of a value, shape; and its data, bytes below `top`."""
    header, at = {"__metadata__": metadata} if metadata else {}, 0
    for name, dtype, size, shape in tensors:
        for n in shape:
            size *= n
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    return safetensors(header, bytes(i % top for i in range(at)))


SMALL = 61  # bytes below it make finite scales


def packed(quantization, tensors, side_file=None):
    """A folder with what config.json says of its linears."""
    config = quantization if side_file else {"quantization_config": quantization}
    return folder([("model.safetensors", entries(tensors, top=SMALL)), (side_file or "config.json", json.dumps(config).encode())])


def words(name, *parts):
    """Tensors "name.SUFFIX": (suffix, dtype, bytes of a value, shape)."""
    return [("%s.%s" % (name, suffix), dtype, size, shape) for suffix, dtype, size, shape in parts]


def packed_corpus():
    gptq = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": False}
    codes = words("a", ("qweight", "I32", 4, [8, 32]), ("qzeros", "I32", 4, [2, 4]), ("scales", "F16", 2, [2, 32]))
    plain = [("b.bias", "F16", 2, [4]), ("norm.weight", "F32", 4, [3])]
    awq = words("a", ("qweight", "I32", 4, [64, 4]), ("qzeros", "I32", 4, [2, 4]), ("scales", "F16", 2, [2, 32]))

    def tensors(bits, form="pack-quantized", **weights):
        weights = {"num_bits": bits, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32, **weights}
        return {"quant_method": "compressed-tensors", "format": form, "config_groups": {"g": {"weights": weights}}}

    def shape(rows, cols):
        return struct.pack("<2Q", rows, cols)

    def with_shape(quantization, parts, rows, cols):
        """weight_shape first in the file, with numbers that mean something."""
        data = [("a.weight_shape", "I64", 8, [2])] + words("a", *parts)
        file = entries(data, top=SMALL)
        at = 8 + struct.unpack("<Q", file[:8])[0]
        file = file[:at] + shape(rows, cols) + file[at + 16:]
        return folder([("model.safetensors", file), ("config.json",
                                                     json.dumps({"quantization_config": quantization}).encode())])

    scales = ("weight_scale", "F16", 2, [32, 2])
    yield "gptq", packed(gptq, codes + plain)
    yield "gptq_v2", packed({**gptq, "checkpoint_format": "gptq_v2"}, codes)
    yield "gptq_words", packed({**gptq, "meta": {"quantizer": ["gptqmodel:1"]}}, codes)
    yield "gptq_side_file", packed({"bits": 4, "group_size": 32}, codes, "quantize_config.json")
    yield "gptq_bad_groups", packed(gptq, codes + words("a", ("g_idx", "I32", 4, [64])))
    yield "gptq_3_bits", packed({**gptq, "bits": 3}, words("a", ("qweight", "I32", 4, [6, 32]),
                                ("qzeros", "I32", 4, [2, 3]), ("scales", "BF16", 2, [2, 32])))
    yield "gptq_mixed", packed({**gptq, "dynamic": {"a": {}}}, words("a", ("qweight", "I32", 4, [16, 32]),
                               ("qzeros", "I32", 4, [1, 8]), ("scales", "F32", 4, [1, 32])))
    yield "awq", packed({"quant_method": "awq", "bits": 4, "group_size": 32}, awq)
    yield "awq_side_file", packed({"w_bit": 4, "q_group_size": 32}, awq, "quant_config.json")
    yield "packed", with_shape(tensors(4), [("weight_packed", "I32", 4, [32, 8]), scales], 32, 64)
    yield "packed_zeros", with_shape(tensors(4, symmetric=False), [
        ("weight_packed", "I32", 4, [32, 8]), scales, ("weight_zero_point", "I32", 4, [4, 2])], 32, 64)
    yield "packed_older", with_shape(tensors(3), [("weight_packed", "I32", 4, [32, 7]), scales], 32, 64)
    yield "packed_5_bits", with_shape(tensors(5), [("weight_packed", "I32", 4, [32, 10]), scales], 32, 64)
    yield "packed_bad_shape", with_shape(tensors(4), [("weight_packed", "I32", 4, [32, 8]), scales], 2**63, 64)
    yield "plain_codes", packed(tensors(8, "int-quantized", strategy="channel"),
                                words("a", ("weight", "I8", 1, [32, 64]), ("weight_scale", "F32", 4, [32, 1])))
    yield "plain_tensor", packed(tensors(8, "naive-quantized", strategy="tensor", symmetric=False), words(
        "a", ("weight", "I8", 1, [32, 64]), ("weight_scale", "F16", 2, [1]), ("weight_zero_point", "I8", 1, [1])))
    yield "fp8_blocks", packed(tensors(8, "float-quantized", type="float", strategy="block", block_structure=[20, 30]),
                               words("a", ("weight", "F8_E4M3", 1, [32, 64]), ("weight_scale", "BF16", 2, [2, 3]),
                                     ("input_scale", "F32", 4, [1])))
    yield "bad_missing", packed(gptq, codes[:2])
    yield "bad_lonely", packed(gptq, codes[1:])
    yield "bad_twice", packed(gptq, codes + [("a.weight", "F16", 2, [32, 64])])
    yield "bad_empty", packed(gptq, words("a", ("qweight", "I32", 4, [0, 32]), ("qzeros", "I32", 4, [0, 4]),
                                          ("scales", "F16", 2, [0, 32])))
    yield "bad_config", packed({**gptq, "bits": 1e300}, codes)
    yield "bad_transform", packed({**tensors(4), "transform_config": {"r": 1}}, codes)


def safetensors_corpus():
    plain = [("F64", 8), ("F32", 4), ("F16", 2), ("BF16", 2), ("F8_E4M3", 1), ("F8_E5M2", 1), ("I64", 8), ("I32", 4),
             ("I16", 2), ("I8", 1), ("U8", 1), ("BOOL", 1)]
    one = entries([("w", "F32", 4, [2, 3])])
    shards = [("x.safetensors", entries([("a", "F16", 2, [4])])), ("y.safetensors", entries([("b", "F32", 4, [1])]))]
    index = json.dumps({"metadata": {"total_size": 12}, "weight_map": {"a": "x.safetensors", "b": "y.safetensors"}})
    yield "empty", safetensors({})
    yield "one", one
    yield "every_dtype", entries([(d, d, n, [2, 3]) for d, n in plain], {"format": "pt", "note": "a \"b\" \u00fc"})
    yield "shapes", entries([("s", "F32", 4, []), ("z", "F32", 4, [0, 2]), ("four", "I8", 1, [1, 2, 3, 4])])
    yield "index", folder([("model.safetensors.index.json", index.encode())] + shards)
    yield "shard_names", folder([("model-00001-of-00002.safetensors", entries([("a", "F16", 2, [4])])),
                                 ("model-00002-of-00002.safetensors", entries([("b", "F32", 4, [1])])),
                                 ("model.safetensors.index.json", json.dumps({"weight_map": {
                                     "a": "model-00001-of-00002.safetensors",
                                     "b": "model-00002-of-00002.safetensors"}}).encode())])
    yield "index_missing_shard", folder([("model.safetensors.index.json", index.encode())] + shards[:1])
    yield "bad_header_length", struct.pack("<Q", 2**63) + one[8:]
    yield "bad_duplicate", safetensors(b'{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"a":{}}', bytes(4))
    yield "bad_utf8", safetensors(b'{"\xff":{}}')
    yield "bad_overlap", safetensors({"a": {"dtype": "I8", "shape": [4], "data_offsets": [0, 4]},
                                      "b": {"dtype": "I8", "shape": [4], "data_offsets": [2, 6]}}, bytes(6))
    yield "bad_hole", safetensors({"a": {"dtype": "I8", "shape": [4], "data_offsets": [2, 6]}}, bytes(6))
    yield "bad_shape", safetensors({"a": {"dtype": "I8", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}, bytes(4))
    yield "bad_nesting", safetensors(b'{"a":' + b"[" * 3000)
    yield "bad_cut", one[:-4]


def imatrix(entries_list, end=b"", n=None):
    out = struct.pack("<i", len(entries_list) if n is None else n)
    for name, calls, values in entries_list:
        out += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", calls, len(values))
        out += struct.pack("<%df" % len(values), *values)
    return out + end


def imatrix_corpus():
    two = [("blk.0.attn_q.weight", 12, [1.0, 2.0, 3.0]), ("blk.0.ffn_down_exps.weight", 3, [0.5] * 8)]
    yield "two", imatrix(two)
    yield "chunks", imatrix(two, struct.pack("<i", 55))
    yield "dataset", imatrix(two, struct.pack("<ii", 55, 8) + b"wiki.txt")
    yield "no_calls", imatrix([("output.weight", 0, [1.0])])
    yield "bad_count", imatrix(two, n=2**31 - 1)
    yield "bad_negative", imatrix([("output.weight", -1, [1.0])])
    yield "bad_length", struct.pack("<ii", 1, 2**31 - 1) + bytes(64)
    yield "bad_values", struct.pack("<ii", 1, 1) + b"w" + struct.pack("<ii", 1, 2**31 - 1)
    yield "bad_twice", imatrix([two[0], two[0]])
    yield "bad_cut", imatrix(two)[:-3]


def base_file(context, vocabulary, chunks, rows=None, tokens=None, scale=0.0002, magic=b"_logits_"):
    out = magic + struct.pack("<3i", context, vocabulary, chunks)
    tokens = [i % vocabulary for i in range(context * chunks)] if tokens is None else tokens
    out += struct.pack("<%di" % len(tokens), *tokens)
    for row in range(chunks * (context - 1 - context // 2) if rows is None else rows):
        codes = [(row * 977 + i * 131) % 65536 for i in range(vocabulary)]
        out += struct.pack("<2f%dH" % vocabulary, scale, -14.0, *codes) + bytes(vocabulary % 2 * 2)
    return out


def base_file_corpus():
    yield "two", base_file(8, 6, 2)
    yield "odd", base_file(9, 7, 1)
    yield "more_after_it", base_file(8, 6, 1) + bytes(9)
    yield "token_beyond", base_file(8, 6, 1, tokens=[2**31 - 1] * 8)
    yield "bad_magic", base_file(8, 6, 1, magic=b"_logits.")
    yield "bad_context", base_file(8, 6, 1)[:8] + struct.pack("<3i", 3, 6, 1) + bytes(200)
    yield "bad_negative", base_file(8, 6, 1)[:8] + struct.pack("<3i", 8, -6, 1) + bytes(200)
    yield "bad_sizes", base_file(8, 6, 1)[:8] + struct.pack("<3i", 2**31 - 1, 2**31 - 1, 2**31 - 1) + bytes(200)
    yield "bad_scale", base_file(8, 6, 1, scale=float("nan"))
    yield "bad_rows", base_file(8, 6, 2, rows=5)
    yield "bad_cut", base_file(8, 6, 2)[:-3]
    yield "bad_head", base_file(8, 6, 2)[:15]


def main():
    for folder_name, cases in (("gguf", gguf_corpus()), ("safetensors", safetensors_corpus()),
                               ("packed", packed_corpus()),
                               ("imatrix", imatrix_corpus()), ("llama_logits", base_file_corpus())):
        os.makedirs(os.path.join(HERE, folder_name), exist_ok=True)
        for name, data in cases:
            with open(os.path.join(HERE, folder_name, name), "wb") as out:
                out.write(data)


if __name__ == "__main__":
    main()
