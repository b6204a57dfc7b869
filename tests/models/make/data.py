"""Documents to packed rows of token ids, by mixture and seed."""

import functools
import random

import numpy as np
from tokenizers import Tokenizer

import prose
import text

ANSWER_WEIGHT = 4.0
PROSE_VERSES = 8
JOINED = 0.25  # chance that a blank line and another document follow

# Share of *tokens* of each kind; a curriculum is a change of mixture.
MIXTURES = {
    "early": {"sum": 0.25, "near": 0.35, "story": 0.12, "rare": 0.08, "prose": 0.20},
    "middle": {"sum": 0.10, "drill": 0.52, "near": 0.08, "story": 0.09,
               "rare": 0.05, "prose": 0.16},
    "late": {"sum": 0.12, "near": 0.09, "far": 0.27, "story": 0.18, "rare": 0.10, "prose": 0.24},
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
    if kind == "drill":
        return text.lookup_drill(rng)
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
        """Ids with BOS in front, the loss weight of each, and the guide()."""
        clean, spans = text.strip_marks(document)
        encoding = self.tokenizer.encode(clean)
        weights = np.ones(len(encoding.ids), np.float32)
        starts = np.array([start for start, _ in encoding.offsets])
        ends = np.array([end for _, end in encoding.offsets])
        for start, end in spans:
            weights[(starts < end) & (ends > start)] = ANSWER_WEIGHT
        return encoding.ids, weights, self.guide(clean, spans, encoding)

    def guide(self, clean, spans, encoding):
        """Where a look-up should look: [:, 0] from where a code is due or told to
        the name before it, [:, 1] from where it is due to where it was told,
        [:, 2] from where a word of a story is due to its first mention there."""
        guide = np.full((len(encoding.ids), 3), -1, np.int32)
        for start, end in spans:
            answer, due = clean[start:end], encoding.char_to_token(start) - 1
            if len(answer) == 4 and answer.isdigit():
                told = clean.rfind(answer, 0, start)
                if told >= 0:
                    source = encoding.char_to_token(told)
                    guide[source, 0] = self.name_before(encoding.tokens, source)
                    guide[due, 0] = self.name_before(encoding.tokens, due + 1)
                    guide[due, 1] = source
            elif answer.islower():
                line = clean.rfind("\n", 0, start) + 1
                told = clean.find(f" {answer}", line, start - 1)
                if told >= 0:
                    guide[due, 2] = encoding.char_to_token(told + 1)
        return guide

    @staticmethod
    def name_before(tokens, at):
        at -= 1
        while tokens[at] in ("\u0120", "\u0120is", "?"):
            at -= 1
        return at

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
        guide = np.full((length, 3), -1, np.int32)
        kinds, chances = list(mixture), self.kind_weights(mixture)
        at, segment, misses = 0, 0, 0
        while at < length:
            kind = "prose" if misses >= 3 else rng.choices(kinds, chances)[0]
            drawn = document(rng, kind)
            while rng.random() < JOINED:
                drawn += "\n" + document(rng, rng.choices(kinds, chances)[0])
            new_ids, new_weights, new_guide = self.encode(drawn)
            room = length - at
            if len(new_ids) > room and kind != "prose":
                misses += 1
                continue
            take = min(len(new_ids), room)
            ids[at:at + take] = new_ids[:take]
            weights[at:at + take] = new_weights[:take]
            weights[at] = 0.0  # nothing can foretell the start of a document
            segments[at:at + take] = segment
            guide[at:at + take] = np.where(new_guide[:take] < 0, -1, new_guide[:take] + at)
            at, segment = at + take, segment + 1
        return ids, weights, segments, guide

    def batch(self, seed, step, rows, length, mixture):
        made = [self.row(random.Random(f"{seed} {step} {r}"), length + 1, mixture)
                for r in range(rows)]
        return tuple(np.stack(part) for part in zip(*made))
