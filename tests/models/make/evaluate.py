"""Scores the saved BF16 weights, in F32: loss by domain, accuracy by task."""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer

import model
from tasks import DISTANCES, RANKS

ROWS = 8


class Scorer:
    def __init__(self, folder):
        self.config = model.load_config(folder)
        self.params = model.load(folder, self.config)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.run = jax.jit(lambda params, ids: jax.nn.log_softmax(model.forward(
            params, ids, jnp.zeros_like(ids), self.config, multiply=jnp.matmul)[0]))

    def log_probabilities(self, rows):
        """Per row, the log-probabilities after each of its tokens."""
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        results = [None] * len(rows)
        for at in range(0, len(order), ROWS):
            chosen = order[at:at + ROWS]
            length = -(-max(len(rows[i]) for i in chosen) // 64) * 64
            ids = np.zeros((ROWS, length), np.int32)
            for r, i in enumerate(chosen):
                ids[r, :len(rows[i])] = rows[i]
            logs = np.asarray(self.run(self.params, ids))
            for r, i in enumerate(chosen):
                results[i] = logs[r, :len(rows[i])]
        return results

    def text_loss(self, text):
        """Mean loss a token and bits a byte of documents parted by blank lines."""
        documents = [d + "\n" for d in text.split("\n\n") if d.strip()]
        rows = [self.tokenizer.encode(d).ids[:1024] for d in documents]
        total, tokens = 0.0, 0
        for row, logs in zip(rows, self.log_probabilities(rows)):
            total -= logs[np.arange(len(row) - 1), row[1:]].sum()
            tokens += len(row) - 1
        size = sum(len(d.encode()) for d in documents)
        return total / tokens, total / np.log(2) / size

    def answers(self, tasks):
        """For each task: is every token of the answer the likeliest; its loss."""
        rows, starts = [], []
        for task in tasks:
            prompt = self.tokenizer.encode(task["prompt"]).ids
            row = self.tokenizer.encode(task["prompt"] + task["answer"]).ids
            assert row[:len(prompt)] == prompt
            rows.append(row)
            starts.append(len(prompt))
        for row, start, logs in zip(rows, starts, self.log_probabilities(rows)):
            wanted, before = np.array(row[start:]), logs[start - 1:-1]
            loss = -before[np.arange(len(wanted)), wanted].mean()
            yield bool((before.argmax(-1) == wanted).all()), float(loss)


def group_of(task):
    if task["kind"] == "lookup":
        low, high = next(d for d in DISTANCES if d[0] <= task["distance"] <= d[1])
        return f"lookup, {low}-{high} tokens back"
    if task["kind"] == "rare":
        low, high = next(r for r in RANKS if r[0] <= task["rank"] < r[1])
        return f"rare, ranks {low}-{high - 1}"
    return task["kind"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path, help="the tale-eval folder")
    args = parser.parse_args()
    scorer = Scorer(args.model)

    content = (args.data / "eval.txt").read_bytes()
    domains = json.loads((args.data / "domains.json").read_text())
    for kind, (start, end) in domains.items():
        loss, bits = scorer.text_loss(content[start:end].decode())
        print(f"{kind:<30} loss {loss:.3f}  bits per byte {bits:.3f}")

    tasks = [json.loads(line) for line in (args.data / "tasks.jsonl").read_text().splitlines()]
    groups = defaultdict(list)
    for task, result in zip(tasks, scorer.answers(tasks)):
        groups[group_of(task)].append(result)
        if task["kind"] == "lookup":
            groups[f"lookup, {task['names']} names"].append(result)
    for group, results in groups.items():
        right, losses = zip(*results)
        print(f"{group:<30} right {np.mean(right):6.1%}  loss {np.mean(losses):.3f}  of {len(results)}")


if __name__ == "__main__":
    main()
