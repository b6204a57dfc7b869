"""Trains the tale model on the CPU until a wall-clock time.

Muon for the matrices of the layers, Adam for the rest. The learning rate and
the curriculum follow the share of the time that is gone, so a run can be
stopped and taken up again from its checkpoint.
"""

import argparse
import datetime
import functools
import pickle
import signal
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import data
import model

MUON_RATE, ADAM_RATE = 0.02, 3e-3
MUON_DECAY, MOMENTUM = 0.02, 0.95
WARMUP_STEPS = 60
HOLD, AFTER_HOLD = 0.35, 0.40  # share of the time at the full rate; the rate then
FALL = 0.30  # share of the time, at the end, in which it falls to 0
PHASES = [  # from this share of the time on: mixture, row length, rows
    (0.00, "early", 256, 16),
    (0.22, "middle", 256, 16),
    (0.84, "late", 512, 8),
]
GUIDED_LAYERS, GUIDE_WEIGHT = (1, 3, 4), 0.15  # one for each column of the guide
PIECE_TOKENS = 1024
REPORT_EVERY, SAVE_SECONDS = 20, 240


def orthogonalize(gradient):
    """Newton-Schulz iteration towards the nearest orthogonal matrix."""
    tall = gradient.shape[0] > gradient.shape[1]
    x = gradient.T if tall else gradient
    x = x / (jnp.linalg.norm(x) + 1e-7)
    for _ in range(5):
        gram = model.dot(x, x, (1, 1))
        x = 3.4445 * x + model.dot(-4.7750 * gram + 2.0315 * model.dot(gram, gram, (1, 0)), x, (1, 0))
    x = x.T if tall else x
    return x * max(1.0, gradient.shape[1] / gradient.shape[0]) ** 0.5


def guide_loss(first_heads, guide):
    """How little the first heads of three layers look where a look-up should."""
    total = 0.0
    for column, layer in enumerate(GUIDED_LAYERS):
        target = guide[:, :, column]
        logs = jnp.take_along_axis(first_heads[layer], jnp.maximum(target, 0)[..., None], -1)
        wanted = target >= 0
        total -= jnp.where(wanted, logs[..., 0], 0.0).sum() / jnp.maximum(wanted.sum(), 1)
    return total


def loss(params, batch, config):
    ids, weights, segments, guide = batch
    logits, first_heads = model.forward(params, ids[:, :-1], segments[:, :-1], config)
    logs = jax.nn.logsumexp(logits, -1) - jnp.take_along_axis(
        logits, ids[:, 1:, None], -1)[..., 0]
    weights = weights[:, 1:]
    plain, guided = (logs * weights).sum() / weights.sum(), guide_loss(first_heads, guide[:, :-1])
    return plain + GUIDE_WEIGHT * guided, jnp.stack([plain, guided])


def is_muon(path):
    return path[0].key == "layers" and path[1].key in model.MATRICES


def init_state(params):
    zeros = functools.partial(jax.tree.map, jnp.zeros_like)
    return {"params": params, "first": zeros(params), "step": jnp.zeros((), jnp.int32),
            "second": jax.tree_util.tree_map_with_path(
                lambda path, p: jnp.zeros(()) if is_muon(path) else jnp.zeros_like(p), params)}


@functools.partial(jax.jit, static_argnums=3, donate_argnums=0)
def accumulate(gradient, params, batch, config_items):
    """Adds the gradient of a few rows: small pieces stay in the cache."""
    (_, value), more = jax.value_and_grad(loss, has_aux=True)(params, batch, dict(config_items))
    return jax.tree.map(jnp.add, gradient, more), value


@functools.partial(jax.jit, donate_argnums=(0, 1))
def apply(state, gradient, rate):
    step = state["step"] + 1

    def muon(p, g, first):
        first = MOMENTUM * first + g
        update = jax.lax.map(orthogonalize, g + MOMENTUM * first)
        return p * (1 - rate * MUON_RATE * MUON_DECAY) - rate * MUON_RATE * update, first

    def adam(p, g, first, second):
        first = 0.9 * first + 0.1 * g
        second = 0.95 * second + 0.05 * g * g
        update = (first / (1 - 0.9 ** step)) / (jnp.sqrt(second / (1 - 0.95 ** step)) + 1e-8)
        return p - rate * ADAM_RATE * update, first, second

    def update(path, p, g, first, second):
        if is_muon(path):
            return (*muon(p, g, first), second)
        return adam(p, g, first, second)

    updated = jax.tree_util.tree_map_with_path(
        update, state["params"], gradient, state["first"], state["second"])
    parts = [jax.tree.map(lambda _, u, i=i: u[i], state["params"], updated,
                          is_leaf=lambda u: isinstance(u, tuple)) for i in range(3)]
    return {"params": parts[0], "first": parts[1], "second": parts[2], "step": step}


def train_step(state, batch, rate, config_items):
    pieces = max(1, batch[0].size // PIECE_TOKENS)
    gradient = jax.tree.map(jnp.zeros_like, state["params"])
    values = []
    for rows in zip(*(np.array_split(part, pieces) for part in batch)):
        gradient, value = accumulate(gradient, state["params"], rows, config_items)
        values.append(value)
    gradient = jax.tree.map(lambda g: g / pieces, gradient)
    return apply(state, gradient, rate), sum(values) / pieces


def rate_at(gone, step):
    """High while the circuits form; then what rows this few can bear, down to 0."""
    if gone < HOLD:
        return min(1.0, (step + 1) / WARMUP_STEPS)
    return AFTER_HOLD * min(1.0, (1.0 - gone) / FALL)


def write_checkpoint(path, state, tokens, start):
    part = path.with_suffix(".part")
    with open(part, "wb") as file:
        pickle.dump({"state": jax.device_get(state), "tokens": tokens, "start": start}, file)
    part.replace(path)


def read_or_start(path, config, seed):
    if path.exists():
        with open(path, "rb") as file:
            saved = pickle.load(file)
        return jax.tree.map(jnp.asarray, saved["state"]), saved["tokens"], saved["start"]
    return init_state(model.init(config, seed)), 0, time.time()


def parse_end(text):
    clock = datetime.datetime.strptime(text, "%H:%M").time()
    return datetime.datetime.combine(datetime.date.today(), clock).timestamp()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="holds config.json and tokenizer.json")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--end", type=parse_end, required=True, metavar="HH:MM")
    parser.add_argument("--weights", type=Path, help="where to write (default: in the folder)")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    weights_path = args.weights or args.folder / "model.safetensors"

    config = model.load_config(args.folder)
    items = tuple((k, v) for k, v in config.items() if isinstance(v, (int, float)))
    packer = data.Packer(args.folder / "tokenizer.json")
    state, tokens, start = read_or_start(args.checkpoint, config, args.seed)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    step, saved, recent, last = int(state["step"]), time.time(), [], time.time()
    while (gone := (time.time() - start) / (args.end - start)) < 1.0 and not stop.is_set():
        _, mixture, length, rows = [p for p in PHASES if p[0] <= gone][-1]
        batch = packer.batch(args.seed, step, rows, length, data.MIXTURES[mixture])
        rate = rate_at(gone, step)
        state, value = train_step(state, batch, rate, items)
        step, tokens = step + 1, tokens + rows * length
        recent.append(value)
        if step % REPORT_EVERY == 0:
            mean, guided = np.mean(recent, 0)  # waits for the steps
            seconds, last = time.time() - last, time.time()
            print(f"{gone:.3f} step {step} tokens {tokens} rate {rate:.3f} {mixture} loss {mean:.4f} "
                  f"guide {guided:.3f} "
                  f"{REPORT_EVERY * rows * length / seconds:.0f} tokens/s", flush=True)
            recent = []
        if time.time() - saved > SAVE_SECONDS:
            saved = time.time()
            write_checkpoint(args.checkpoint, state, tokens, start)
    write_checkpoint(args.checkpoint, state, tokens, start)
    if not stop.is_set():
        model.save(state["params"], weights_path)


if __name__ == "__main__":
    main()
