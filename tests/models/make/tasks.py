"""Writes the held-out text and tasks of tests/models/tale-eval.

The seeds, the pairs of the sums and the books of the Bible used here are in no
training document; calibration.txt alone is drawn like the training text.
"""

import argparse
import functools
import json
import random
from pathlib import Path

from tokenizers import Tokenizer

import data
import text

EVAL_BYTES = {"prose": 50_000, "story": 25_000, "near": 15_000, "far": 35_000,
              "rare": 15_000, "sum": 8_000}
CALIBRATION_BYTES = 300_000
DISTANCES = [(10, 40), (60, 120), (160, 240), (360, 440)]
RANKS = [(0, 25), (25, 100), (100, 200), (200, 400)]


def held_out_sums(rng, count):
    pairs = rng.sample(sorted(text.HELD_OUT_PAIRS), count)
    return [pair if rng.random() < 0.5 else pair[::-1] for pair in pairs]


def sum_tasks(rng, count=150):
    return [{"kind": "sum", "prompt": f"{a} + {b} =", "answer": f" {a + b}"}
            for a, b in held_out_sums(rng, count)]


def draw_names(rng, pool, count):
    if pool == "coined":
        return [text.coin_word(rng, 2).capitalize() for _ in range(count)]
    return rng.sample(text.CORE_NAMES if pool == "core" else text.NAMES, count)


def lookup_task(rng, distance, count_tokens):
    """One look-up whose fact lies within the given distance, in tokens."""
    low, high = distance
    fill = functools.partial(data.filler, held_out=True)
    while True:
        count = rng.randint(2, 5)
        pool = rng.choice(["core", "core", "known", "coined"])
        names = draw_names(rng, pool, count)
        codes = [text.code(rng) for _ in names]
        facts = [text.fact(*pair) for pair in zip(names, codes)]
        gaps = []
        while count_tokens(" ".join(facts + gaps)) < high - 15 * count:
            gaps.append(fill(rng))
        asked = rng.randrange(count)
        question = f"What is the code of {names[asked]}?"
        span = count_tokens(" ".join(facts[asked + 1:] + gaps + [question]))
        if low <= span <= high and len(set(names)) == count:
            return {"kind": "lookup", "prompt": " ".join(facts + gaps + [question]),
                    "answer": f" {codes[asked]}", "distance": span, "names": pool}


def lookup_tasks(rng, count_tokens, count=50):
    return [lookup_task(rng, distance, count_tokens)
            for distance in DISTANCES for _ in range(count)]


def rare_tasks(rng, count=40):
    tasks = []
    for low, high in RANKS:
        for rank in rng.choices(range(low, high), k=count):
            word, kind, colour, home = text.LEXICON[rank]
            prompt, answer = rng.choice([
                (f"A {word} is a kind of", kind), (f"The colour of a {word} is", colour),
                (f"Where is the {word} from? It is from the", home)])
            tasks.append({"kind": "rare", "prompt": prompt, "answer": f" {answer}", "rank": rank})
    return tasks


def cloze_tasks(rng, count=80):
    """Whose story it was, asked of its last sentence: who found the thing."""
    tasks = []
    for _ in range(count):
        clean, spans = text.strip_marks(text.story(rng))
        start, end = spans[-4]
        tasks.append({"kind": "cloze", "prompt": clean[:start - 1], "answer": clean[start - 1:end]})
    return tasks


def held_out_document(rng, kind):
    if kind == "sum":
        lines = [f"{a} + {b} = {a + b}." for a, b in held_out_sums(rng, rng.randint(4, 24))]
        return "\n".join(lines) + "\n"
    return text.strip_marks(data.document(rng, kind, held_out=True))[0]


def documents(rng, size, draw):
    """Documents with a blank line after each, of about the given size."""
    parts, total = [], 0
    while total < size:
        parts.append(draw(rng) + "\n")
        total += len(parts[-1])
    return "".join(parts)


def calibration_document(rng):
    kinds, shares = zip(*data.MIXTURES["late"].items())
    return text.strip_marks(data.document(rng, rng.choices(kinds, shares)[0]))[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="the folder of tokenizer.json")
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    rng = random.Random("held out")

    pieces, domains, offset = [], {}, 0
    for kind, size in EVAL_BYTES.items():
        piece = documents(rng, size, functools.partial(held_out_document, kind=kind))
        domains[kind] = [offset, offset := offset + len(piece.encode())]
        pieces.append(piece)
    (args.folder / "eval.txt").write_text("".join(pieces))
    (args.folder / "domains.json").write_text(json.dumps(domains, indent=2) + "\n")
    (args.folder / "calibration.txt").write_text(
        documents(random.Random("calibration"), CALIBRATION_BYTES, calibration_document))

    def count_tokens(prompt):
        return len(tokenizer.encode(prompt).ids)

    tasks = [*sum_tasks(rng), *lookup_tasks(rng, count_tokens), *rare_tasks(rng), *cloze_tasks(rng)]
    lines = "".join(json.dumps(task) + "\n" for task in tasks)
    (args.folder / "tasks.jsonl").write_text(lines)


if __name__ == "__main__":
    main()
