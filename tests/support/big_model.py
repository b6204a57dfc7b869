"""A Llama-shaped Hugging Face folder of any size, written in a moment: one random block of weights, repeated."""

import json
import pathlib
import shutil
import struct

import numpy

TOKENIZER = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "tokenizers" / "gpt2"
BLOCK = 1 << 20  # weights


def shapes(hidden, feed_forward, layers, vocabulary):
    yield "model.embed_tokens.weight", (vocabulary, hidden)
    yield "model.norm.weight", (hidden,)
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        for name in "q", "k", "v", "o":
            yield f"{prefix}self_attn.{name}_proj.weight", (hidden, hidden)
        yield f"{prefix}mlp.gate_proj.weight", (feed_forward, hidden)
        yield f"{prefix}mlp.up_proj.weight", (feed_forward, hidden)
        yield f"{prefix}mlp.down_proj.weight", (hidden, feed_forward)
        yield f"{prefix}input_layernorm.weight", (hidden,)
        yield f"{prefix}post_attention_layernorm.weight", (hidden,)


def write(folder, hidden=2048, feed_forward=5632, layers=6, vocabulary=32000):
    """Returns the bytes of all weights; the defaults make 750 MB of F16."""
    folder = pathlib.Path(folder)
    shutil.copytree(TOKENIZER, folder)
    config = {"architectures": ["LlamaForCausalLM"], "hidden_size": hidden, "intermediate_size": feed_forward,
              "num_hidden_layers": layers, "num_attention_heads": hidden // 64, "num_key_value_heads": hidden // 64,
              "vocab_size": vocabulary, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
              "tie_word_embeddings": True, "hidden_act": "silu", "torch_dtype": "float16"}
    (folder / "config.json").write_text(json.dumps(config))
    header, at = {}, 0
    for name, shape in shapes(hidden, feed_forward, layers, vocabulary):
        size = 2 * int(numpy.prod(shape))
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    block = (numpy.random.default_rng(1).standard_normal(BLOCK) * 0.02).astype("<f2").tobytes()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        left = at
        while left > 0:
            file.write(block[:left])
            left -= min(left, len(block))
    return at
