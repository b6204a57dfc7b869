"""The Llama forward pass in JAX, and its Hugging Face weights in BF16."""

import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.flax import load_file, save_file

LAYER_NAMES = {
    "q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj",
    "o": "self_attn.o_proj", "gate": "mlp.gate_proj", "up": "mlp.up_proj",
    "down": "mlp.down_proj", "attention_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm"}
MATRICES = ("q", "k", "v", "o", "gate", "up", "down")


def load_config(folder):
    return json.loads((Path(folder) / "config.json").read_text())


def init(config, seed):
    """Parameters as a tree; the arrays of "layers" are stacked over the layers."""
    hidden, ffn = config["hidden_size"], config["intermediate_size"]
    layers, head = config["num_hidden_layers"], config["head_dim"]
    query = config["num_attention_heads"] * head
    key = config["num_key_value_heads"] * head
    shapes = {"q": (hidden, query), "k": (hidden, key), "v": (hidden, key),
              "o": (query, hidden), "gate": (hidden, ffn), "up": (hidden, ffn),
              "down": (ffn, hidden)}
    rng = np.random.default_rng(seed)

    def normal(shape, std):
        return jnp.asarray(rng.normal(0.0, std, shape), jnp.float32)

    stack = {name: normal((layers, *shape), shape[0] ** -0.5 * (0.2 if name in ("o", "down") else 0.6))
             for name, shape in shapes.items()}
    stack["attention_norm"] = jnp.ones((layers, hidden))
    stack["mlp_norm"] = jnp.ones((layers, hidden))
    vocabulary = config["vocab_size"]
    return {"embed": normal((vocabulary, hidden), 0.05), "norm": jnp.ones(hidden),
            "head": normal((hidden, vocabulary), 0.02), "layers": stack}


def rms_norm(x, weight, epsilon):
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + epsilon) * weight


def rope_tables(length, head, theta):
    frequencies = theta ** (-np.arange(0, head, 2) / head)
    angles = np.outer(np.arange(length), frequencies)
    angles = np.concatenate([angles, angles], -1)[:, None, :]
    return jnp.asarray(np.cos(angles), jnp.float32), jnp.asarray(np.sin(angles), jnp.float32)


def rotate(x, tables):
    cos, sin = tables
    low, high = jnp.split(x, 2, -1)
    return x * cos + jnp.concatenate([-high, low], -1) * sin


def dot(a, b, over):
    """a and b contracted over an axis of each: BF16 products summed in F32."""
    return jax.lax.dot_general(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16),
                               (((over[0],), (over[1],)), ((), ())),
                               preferred_element_type=jnp.float32)


@jax.custom_vjp
def multiply(x, weight):
    """x @ weight for x of shape [..., in], fast where the CPU has BF16 products."""
    return dot(x, weight, (x.ndim - 1, 0))


def multiply_forward(x, weight):
    return multiply(x, weight), (x.astype(jnp.bfloat16), weight.astype(jnp.bfloat16))


def multiply_backward(kept, gradient):
    x, weight = kept
    gradient = gradient.astype(jnp.bfloat16)
    flat = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
    return dot(gradient, weight, (gradient.ndim - 1, 1)), dot(*flat, (0, 0))


multiply.defvjp(multiply_forward, multiply_backward)


def attention(x, layer, mask, tables, config, multiply):
    rows, length, _ = x.shape
    head, groups = config["head_dim"], config["num_key_value_heads"]
    q = rotate(multiply(x, layer["q"]).reshape(rows, length, -1, head), tables)
    k = rotate(multiply(x, layer["k"]).reshape(rows, length, groups, head), tables)
    v = multiply(x, layer["v"]).reshape(rows, length, groups, head)
    q = q.reshape(rows, length, groups, -1, head) * head ** -0.5
    scores = jnp.einsum("btgqd,bsgd->bgqts", q, k)
    scores = jnp.where(mask[:, None, None], scores, -1e30)
    mixed = jnp.einsum("bgqts,bsgd->btgqd", jax.nn.softmax(scores, -1), v)
    first_head = jax.nn.log_softmax(scores[:, 0, 0], -1)
    return multiply(mixed.reshape(rows, length, -1), layer["o"]), first_head


def forward(params, ids, segments, config, multiply=multiply):
    """Logits, and each layer's first head's log attention (unused ones cost
    nothing once compiled); a token sees those before it in its own segment."""
    length, epsilon = ids.shape[1], config["rms_norm_eps"]
    tables = rope_tables(length, config["head_dim"], config["rope_theta"])
    mask = jnp.tril(jnp.ones((length, length), bool))
    mask = mask & (segments[:, :, None] == segments[:, None, :])

    def block(x, layer):
        normed = rms_norm(x, layer["attention_norm"], epsilon)
        mixed, first_head = attention(normed, layer, mask, tables, config, multiply)
        x = x + mixed
        normed = rms_norm(x, layer["mlp_norm"], epsilon)
        gated = jax.nn.silu(multiply(normed, layer["gate"])) * multiply(normed, layer["up"])
        return x + multiply(gated, layer["down"]), first_head

    x, first_heads = params["embed"][ids], []
    for i in range(config["num_hidden_layers"]):
        x, first_head = block(x, {name: stack[i] for name, stack in params["layers"].items()})
        first_heads.append(first_head)
    return multiply(rms_norm(x, params["norm"], epsilon), params["head"]), first_heads


def save(params, path):
    """Writes Hugging Face names and row-major [out, in] BF16, atomically."""
    tensors = {"model.embed_tokens.weight": params["embed"],
               "model.norm.weight": params["norm"], "lm_head.weight": params["head"].T}
    for name, full in LAYER_NAMES.items():
        for i, value in enumerate(params["layers"][name]):
            tensors[f"model.layers.{i}.{full}.weight"] = value.T
    tensors = {name: jnp.array(value, jnp.bfloat16) for name, value in tensors.items()}
    part = f"{path}.part"
    save_file(tensors, part, metadata={"format": "pt"})
    os.chmod(part, 0o644)
    os.replace(part, path)


def load(folder, config):
    tensors = {name: value.astype(jnp.float32) for name, value in
               load_file(Path(folder) / "model.safetensors").items()}
    layers = {name: jnp.stack([tensors[f"model.layers.{i}.{full}.weight"].T
                               for i in range(config["num_hidden_layers"])])
              for name, full in LAYER_NAMES.items()}
    return {"embed": tensors["model.embed_tokens.weight"], "norm": tensors["model.norm.weight"],
            "head": tensors["lm_head.weight"].T, "layers": layers}
