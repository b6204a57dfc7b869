"""Llama-shaped folders whose linears are packed as GPTQ, AWQ and compressed-tensors pack them, in NumPy, and the values
that they stand for: scale * (code - zero) in float32, one subtraction and one product each."""

import json
import pathlib
import shutil
import struct

import numpy as np

TOKENIZER = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "tokenizers" / "gpt2"
VOCABULARY, HEADS, KEY_HEADS = 704, 4, 2
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def bit_strings(codes, bits):
    """The last axis as a string of fields, bit 0 of word 0 first, zeros up to a whole word."""
    single = (np.ascontiguousarray(codes, np.uint8)[..., None] >> np.arange(bits, dtype=np.uint8)) & 1
    string = single.reshape(*single.shape[:-2], -1)
    string = np.pad(string, [(0, 0)] * (string.ndim - 1) + [(0, -string.shape[-1] % 32)])
    return np.ascontiguousarray(np.packbits(string, axis=-1, bitorder="little")).view("<i4")


def words_of(fields, bits):
    """[..., fields of a word] -> [...], the first field lowest."""
    shift = np.arange(fields.shape[-1], dtype=np.uint32) * np.uint32(bits)
    return np.bitwise_or.reduce(fields << shift, axis=-1).astype("<u4").view("<i4")


def whole_fields(codes, bits):
    """As compressed-tensors packed before 0.18: 32 // bits fields a word, none of which straddles two."""
    codes, per = np.asarray(codes, np.uint32), 32 // bits
    codes = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, -codes.shape[-1] % per)])
    parts = codes.reshape(*codes.shape[:-1], -1, per)
    return words_of(parts, bits)


def awq_words(codes):
    parts = np.asarray(codes, np.uint32).reshape(*codes.shape[:-1], -1, 8)[..., AWQ_ORDER]
    return words_of(parts, 4)


def as_bf16(x):
    """Cut to BF16: the numbers, and their bytes."""
    raw = (np.asarray(x, np.float32).view(np.uint32) >> 16).astype("<u2")
    return (raw.astype(np.uint32) << 16).view(np.float32), raw


def scales_as(dtype, x):
    """(numbers, what the file has of them)."""
    if dtype == "BF16":
        return as_bf16(x)
    raw = np.asarray(x, {"F16": "<f2", "F32": "<f4"}[dtype])
    return raw.astype(np.float32), raw


class Codes:
    """Random codes of a linear, with what goes with them. group 0: the whole row."""

    def __init__(self, rng, rows, cols, bits, group, symmetric=True, dtype="F16", order=None, first_zeros=False):
        self.rows, self.cols, self.bits, self.dtype = rows, cols, bits, dtype
        self.group = group or cols
        self.groups = -(-cols // self.group)
        self.code = rng.integers(0, 1 << bits, (rows, cols))
        middle = np.full((rows, self.groups), 1 << (bits - 1))
        lowest = 0 if first_zeros else 1
        self.zero = middle if symmetric else rng.integers(lowest, 1 << bits, (rows, self.groups))
        self.symmetric = symmetric
        scale = rng.uniform(0.002, 0.02, (rows, self.groups)).astype(np.float32)
        self.scale, self.stored_scale = scales_as(dtype, scale)
        self.group_of = np.arange(cols) // self.group
        if order:
            self.group_of = rng.permutation(self.group_of)

    def values(self):
        zero, scale = self.zero[:, self.group_of], self.scale[:, self.group_of]
        return scale * (self.code - zero).astype(np.float32)


def gptq(c, version="gptq", from_whole_words=False):
    """suffix -> (dtype, array)."""
    zero = c.zero.T
    if version == "gptq" and from_whole_words:
        words = bit_strings(zero, c.bits).view("<u4") - np.uint32(sum(1 << i for i in range(0, 32, c.bits)))
        words = words.astype("<u4").view("<i4")
    else:
        words = bit_strings((zero - (version == "gptq")) & ((1 << c.bits) - 1), c.bits)
    return {"qweight": ("I32", bit_strings(c.code, c.bits).T), "qzeros": ("I32", words),
            "scales": (c.dtype, c.stored_scale.T), "g_idx": ("I32", c.group_of.astype("<i4"))}


def awq(c):
    return {"qweight": ("I32", awq_words(c.code.T)), "qzeros": ("I32", awq_words(c.zero.T)),
            "scales": (c.dtype, c.stored_scale.T)}


def packed(c, words=bit_strings, with_groups=False):
    parts = {"weight_packed": ("I32", words(c.code, c.bits)), "weight_scale": (c.dtype, c.stored_scale),
             "weight_shape": ("I64", np.array([c.rows, c.cols], "<i8"))}
    if not c.symmetric:
        parts["weight_zero_point"] = ("I32", words(c.zero.T, c.bits).T)
    if with_groups:
        parts["weight_g_idx"] = ("I32", c.group_of.astype("<i4"))
    return parts


def plain_codes(c):
    half = 1 << (c.bits - 1)
    parts = {"weight": ("I8", (c.code - half).astype("i1")), "weight_scale": (c.dtype, c.stored_scale)}
    if not c.symmetric:
        parts["weight_zero_point"] = ("I8", (c.zero - half).astype("i1"))
    return parts


def fp8_numbers():
    """E4M3 without infinities, by its definition."""
    code = np.arange(256)
    exponent, mantissa = (code >> 3) & 15, code & 7
    size = np.where(exponent == 0, mantissa * 2.0 ** -9, (8 + mantissa) * 2.0 ** (exponent - 10))
    return np.where(code & 0x80, -size, size).astype(np.float32)


class Fp8:
    """Random FP8 numbers; block: (rows, cols) that share a scale, "channel" or "tensor"."""

    def __init__(self, rng, rows, cols, block, dtype="F32"):
        self.code = rng.integers(0, 127, (rows, cols)) | rng.integers(0, 2, (rows, cols)) << 7
        height, width = {"channel": (1, cols), "tensor": (rows, cols)}.get(block) or block
        shape = (-(-rows // height), -(-cols // width))
        self.scale, self.stored_scale = scales_as(dtype, rng.uniform(1e-5, 1e-4, shape).astype(np.float32))
        if block == "tensor":
            self.stored_scale = self.stored_scale.reshape(1)
        self.spread = self.scale.repeat(height, 0).repeat(width, 1)[:rows, :cols]
        self.dtype = dtype

    def values(self):
        return self.spread * fp8_numbers()[self.code]


def fp8(c):
    return {"weight": ("F8_E4M3", c.code.astype("u1")), "weight_scale": (c.dtype, c.stored_scale),
            "input_scale": ("F32", np.ones(1, "<f4"))}


# ---- folders ----


def linear_shapes(hidden, wide, layers):
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        for name, rows, cols in (("self_attn.q_proj", hidden, hidden), ("self_attn.k_proj", hidden // 2, hidden),
                                 ("self_attn.v_proj", hidden // 2, hidden), ("self_attn.o_proj", hidden, hidden),
                                 ("mlp.gate_proj", wide, hidden), ("mlp.up_proj", wide, hidden),
                                 ("mlp.down_proj", hidden, wide)):
            yield prefix + name, rows, cols


def write_arrays(path, arrays):
    """name -> (dtype, array), without the package: it has no BF16 and no FP8 in NumPy."""
    header, at = {}, 0
    for name, (dtype, array) in arrays.items():
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, array in arrays.values():
            file.write(np.ascontiguousarray(array).tobytes())


def write(folder, linear, quantization, hidden=128, wide=192, layers=1, side_file=None):
    """linear(name, rows, cols) -> (parts, values) of each linear. Returns {"P.weight": values}, arrays of the file."""
    folder = pathlib.Path(folder)
    shutil.copytree(TOKENIZER, folder)
    config = {"architectures": ["LlamaForCausalLM"], "hidden_size": hidden, "intermediate_size": wide,
              "num_hidden_layers": layers, "num_attention_heads": HEADS, "num_key_value_heads": KEY_HEADS,
              "vocab_size": VOCABULARY, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
              "tie_word_embeddings": True, "hidden_act": "silu", "torch_dtype": "float16"}
    if side_file:
        (folder / side_file).write_text(json.dumps(quantization))
    else:
        config["quantization_config"] = quantization
    (folder / "config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(7)
    arrays, values = {}, {}
    arrays["model.embed_tokens.weight"] = ("F16", (rng.standard_normal((VOCABULARY, hidden)) * 0.02).astype("<f2"))
    arrays["model.norm.weight"] = ("F16", np.ones(hidden, "<f2"))
    for layer in range(layers):
        for name in "input_layernorm", "post_attention_layernorm":
            arrays[f"model.layers.{layer}.{name}.weight"] = ("F16", np.ones(hidden, "<f2"))
    for name, rows, cols in linear_shapes(hidden, wide, layers):
        parts, values[name + ".weight"] = linear(name, rows, cols)
        arrays.update({f"{name}.{suffix}": part for suffix, part in parts.items()})
    write_arrays(folder / "model.safetensors", arrays)
    return values, arrays


# ---- what becomes of them in GGUF ----

GGUF_NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
              "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
              "mlp.down_proj": "ffn_down"}


def gguf_name(name):
    _, _, layer, module = name.removesuffix(".weight").split(".", 3)
    return f"blk.{layer}.{GGUF_NAMES[module]}.weight"


def gguf_rows(name, rows):
    """Rows of queries and keys: halves of a head become pairs."""
    heads = HEADS if "q_proj" in name else KEY_HEADS if "k_proj" in name else 0
    if not heads:
        return rows
    parts = rows.reshape(heads, 2, -1, *rows.shape[1:])
    return np.ascontiguousarray(parts.swapaxes(1, 2).reshape(rows.shape))
