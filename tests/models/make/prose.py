"""Public-domain prose: the King James Bible of Debian's package bible-kjv."""

import re
import subprocess

HELD_OUT_BOOKS = {"Ruth", "Est", "Jonah", "Jas", "Titus"}


def read_bible():
    """(book, chapter text) for every chapter, verse numbers taken out."""
    run = subprocess.run(["bible", "-f", "gen1:1-rev22:21"], stdin=subprocess.DEVNULL,
                         capture_output=True, text=True, check=True)
    chapters = {}
    for line in run.stdout.splitlines():
        match = re.match(r"(\w+?)(\d+):\d+ (.*)", line)
        if match is None:
            raise ValueError(f"unexpected verse line: {line!r}")
        book, chapter, verse = match.group(1), int(match.group(2)), match.group(3)
        chapters.setdefault((book, chapter), []).append(verse.strip())
    return [(book, "\n".join(verses) + "\n") for (book, _), verses in chapters.items()]


def split_books(chapters):
    training = [text for book, text in chapters if book not in HELD_OUT_BOOKS]
    held_out = [text for book, text in chapters if book in HELD_OUT_BOOKS]
    return training, held_out
