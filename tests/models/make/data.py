"""Documents to packed rows of token ids, by mixture and seed."""

import functools
import random

import numpy as np
from tokenizers import Tokenizer

import prose
import text

ANSWER_WEIGHT = 3.0
PROSE_VERSES = 8
JOINED = 0.25  # chance that a blank line and another document follow

# Share of *tokens* of each kind; a curriculum is a change of mixture.
MIXTURES = {
    "early": {"sum": 0.25, "near": 0.35, "story": 0.12, "rare": 0.08, "prose": 0.20},
    "middle": {"sum": 0.18, "near": 0.14, "far": 0.22, "story": 0.11, "rare": 0.12, "prose": 0.23},
    "late": {"sum": 0.12, "near": 0.08, "far": 0.25, "story": 0.12, "rare": 0.15, "prose": 0.28},
}


@functools.cache
def bible():
    return prose.split_books(prose.read_bible())


def prose_document(rng, held_out=False):
    verses = rng.choice(bible()[held_out]).splitlines()
    start = rng.randrange(max(1, len(verses) - 2))
    return "\n".join(verses[start:start + PROSE_VERSES]) + "\n"


def filler(rng, held_out=False):
    """A sentence or two to stand between a fact and its question."""
    pick = rng.random()
    if pick < 0.4:
        return text.strip_marks(text.story(rng, rng.randint(0, 1)))[0]
    if pick < 0.8:
        return rng.choice(rng.choice(bible()[held_out]).splitlines())
    if pick < 0.9:
        return text.strip_marks(text.rare_line(rng, text.rare_entries(rng, 1)[0]))[0]
    return text.sum_line(rng)


def document(rng, kind, held_out=False):
    fill = functools.partial(filler, held_out=held_out)
    if kind == "sum":
        return text.sum_document(rng)
    if kind == "near":
        return text.lookup_document(rng, fill, rng.choice([0, 0, 0, 1, 2]))
    if kind == "far":
        return text.lookup_document(rng, fill, rng.randint(2, 10))
    if kind == "story":
        return text.story_document(rng)
    if kind == "rare":
        return text.rare_document(rng)
    return prose_document(rng, held_out)


class Packer:
    """Fills rows with whole documents; prose, which may be cut, ends each row."""

    def __init__(self, tokenizer_path):
        self.tokenizer = Tokenizer.from_file(str(tokenizer_path))
        self.mean_length = {}

    def encode(self, document):
        """Ids with BOS in front, and the loss weight of each."""
        clean, spans = text.strip_marks(document)
        encoding = self.tokenizer.encode(clean)
        weights = np.ones(len(encoding.ids), np.float32)
        starts = np.array([start for start, _ in encoding.offsets])
        ends = np.array([end for _, end in encoding.offsets])
        for start, end in spans:
            weights[(starts < end) & (ends > start)] = ANSWER_WEIGHT
        return encoding.ids, weights

    def kind_weights(self, mixture):
        """Chances of drawing a document, so that token shares come out right."""
        for kind in mixture:
            if kind not in self.mean_length:
                rng = random.Random(f"length {kind}")
                lengths = [len(self.encode(document(rng, kind))[0]) for _ in range(60)]
                self.mean_length[kind] = sum(lengths) / len(lengths)
        return [share / self.mean_length[kind] for kind, share in mixture.items()]

    def row(self, rng, length, mixture):
        ids = np.zeros(length, np.int32)
        weights = np.zeros(length, np.float32)
        segments = np.zeros(length, np.int32)
        kinds, chances = list(mixture), self.kind_weights(mixture)
        at, segment, misses = 0, 0, 0
        while at < length:
            kind = "prose" if misses >= 3 else rng.choices(kinds, chances)[0]
            drawn = document(rng, kind)
            while rng.random() < JOINED:
                drawn += "\n" + document(rng, rng.choices(kinds, chances)[0])
            new_ids, new_weights = self.encode(drawn)
            room = length - at
            if len(new_ids) > room and kind != "prose":
                misses += 1
                continue
            take = min(len(new_ids), room)
            ids[at:at + take] = new_ids[:take]
            weights[at:at + take] = new_weights[:take]
            weights[at] = 0.0  # nothing can foretell the start of a document
            segments[at:at + take] = segment
            at, segment = at + take, segment + 1
        return ids, weights, segments

    def batch(self, seed, step, rows, length, mixture):
        made = [self.row(random.Random(f"{seed} {step} {r}"), length + 1, mixture)
                for r in range(rows)]
        return tuple(np.stack(part) for part in zip(*made))
