"""Broken inputs for qcore, derived from good ones; the same on every run.

    for case in broken.all_cases():
        case.build(folder)      # fills an empty folder with inputs and recipe.yaml

A recipe names its inputs relative to the folder, and its output `out/model.gguf`. The verdict is `ERROR`
when qcore must refuse, `EITHER` when the damage may leave a file that is still valid (a flipped bit
in a weight, say): then qcore may also succeed, but not crash and not leave half a file.
"""

import dataclasses
import functools
import json
import pathlib
import shutil
import sys
import tempfile
import threading
import typing

import numpy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fixtures"))

import make_random_models

ERROR, EITHER = "error", "either"

SMALL = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 128,
}


@dataclasses.dataclass
class Case:
    kind: str  # what is broken: "safetensors", "config.json", ...
    name: str  # how
    verdict: str
    build: typing.Callable[[pathlib.Path], None]
    names: tuple  # the message must name one of these: the file, the tensor or the key


def good(kind):
    """A good input to start from, made once: a folder that is never written again."""
    with _lock:
        return _make_good(kind)


@functools.cache
def _make_good(kind):
    folder = pathlib.Path(_scratch().name) / kind
    tokenizer = "spm" if kind == "spm" else "llama3"
    files = 2 if kind == "sharded" else 1
    dtype = "F32" if kind == "f32" else "F16" if kind == "f16" else "BF16"
    size = make_random_models.VOCABULARY[tokenizer]
    config = dict(make_random_models.LLAMA, **SMALL, vocab_size=size)
    make_random_models.write_folder(kind, folder, config, tokenizer, dtype, files)
    if kind == "spm":
        (folder / "tokenizer.json").unlink()
    return folder


_lock = threading.Lock()


@functools.cache
def _scratch():
    return tempfile.TemporaryDirectory(prefix="qcore-broken-")


def write_recipe(folder, text=None, model="model", preset="F16", more=""):
    if text is None:
        text = f"model: {{path: {model}}}\nquantize: {{preset: {preset}}}\noutput: {{path: out/model.gguf}}\n{more}"
    (folder / "recipe.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    (folder / "out").mkdir()


def folder_case(kind, name, verdict, change, base="bpe", names=(), preset="F16"):
    """A case that copies a good folder to `model` and lets `change` damage it."""

    def build(folder):
        shutil.copytree(good(base), folder / "model")
        change(folder / "model")
        write_recipe(folder, preset=preset)

    return Case(kind, name, verdict, build, tuple(names))


# --- damage that suits any file ---


def truncate(file, size):
    def change(folder):
        data = (folder / file).read_bytes()
        (folder / file).write_bytes(data[: size if size >= 0 else len(data) + size])

    return change


def flip(file, bit):
    def change(folder):
        data = bytearray((folder / file).read_bytes())
        data[bit // 8] ^= 1 << bit % 8
        (folder / file).write_bytes(bytes(data))

    return change


def replace(file, content):
    """New content: bytes, text, or a function of the old bytes."""

    def change(folder):
        new = content((folder / file).read_bytes()) if callable(content) else content
        (folder / file).write_bytes(new if isinstance(new, bytes) else new.encode())

    return change


def remove(file):
    return lambda folder: (folder / file).unlink()


def directory_instead(file):
    def change(folder):
        (folder / file).unlink()
        (folder / file).mkdir()

    return change


def truncations(kind, file, sizes, base="bpe", verdict=ERROR):
    return [folder_case(kind, f"cut to {size} bytes", verdict, truncate(file, size), base, [file]) for size in sizes]


def flips(kind, file, count, base="bpe", first=0, last=None, names=None):
    """`count` single flipped bits, anywhere in bytes [first, last) of a good folder's file."""
    last = last or (good(base) / file).stat().st_size
    bits = numpy.random.RandomState(len(kind) * 1000 + count).randint(first * 8, last * 8, count)
    return [
        folder_case(kind, f"bit {bit} flipped", EITHER, flip(file, int(bit)), base, names or ())
        for bit in sorted(set(bits))
    ]


def json_edits(kind, file, edits, base="bpe"):
    """edits: {name: (verdict, function of the parsed file that edits it or returns a new one)}"""

    def change_of(edit):
        def change(folder):
            content = json.loads((folder / file).read_text(encoding="utf-8"))
            changed = edit(content)
            (folder / file).write_text(
                json.dumps(content if changed is None else changed, ensure_ascii=False), encoding="utf-8"
            )

        return change

    return [folder_case(kind, name, verdict, change_of(edit), base, [file]) for name, (verdict, edit) in edits.items()]


def not_json(kind, file, base="bpe"):
    """What no JSON reader should take, whatever the file is for."""
    contents = {
        "empty": b"",
        "one brace": b"{",
        "not JSON": b"hello\n",
        "a list": b"[]",
        "a number": b"12",
        "null": b"null",
        "a text": b'"text"',
        "NUL bytes": bytes(64),
        "UTF-16": '{"a": 1}'.encode("utf-16"),
        "deeply nested": b"[" * 200000,
        "deeply nested objects": b'{"a":' * 100000,
        "an escape cut short": b'{"a": "\\u12',
        "a lone surrogate": b'{"\\ud800": 1}',
        "a bad escape": b'{"a": "\\x"}',
        "a control character": b'{"a": "\x01"}',
        "bad UTF-8": b'{"a\xff\xfe": 1}',
    }
    return [folder_case(kind, name, ERROR, replace(file, content), base, [file]) for name, content in contents.items()]


def all_cases():
    import broken_gguf
    import broken_text
    import broken_weights

    return broken_weights.cases() + broken_gguf.cases() + broken_text.cases()
