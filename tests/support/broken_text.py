"""Broken configurations, tokenizers, recipes and plugin manifests. See broken.py."""

import shutil

import broken
from broken import EITHER, ERROR, Case, folder_case

CONFIG, BPE, SPM = "config.json", "tokenizer.json", "tokenizer.model"


# --- config.json ---


def set_key(key, value):
    return lambda config: config.update({key: value})


def drop_key(key):
    return lambda config: config.pop(key) and None


def config_cases():
    edits = {
        f"no {key}": (ERROR, drop_key(key))
        for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    }
    edits["no architectures"] = (EITHER, drop_key("architectures"))
    edits["no max_position_embeddings"] = (EITHER, drop_key("max_position_embeddings"))
    for key in ("hidden_size", "num_hidden_layers", "num_attention_heads"):
        for value in (0, -4, 1 << 40, 1e300, 2.5, "4", None, [4], True):
            edits[f"{key} {value!r}"] = (ERROR, set_key(key, value))
    edits |= {
        "heads do not divide": (ERROR, set_key("num_attention_heads", 3)),
        "more groups than heads": (ERROR, set_key("num_key_value_heads", 4)),
        "one layer too many": (ERROR, set_key("num_hidden_layers", 2)),
        "head_dim odd": (ERROR, set_key("head_dim", 31)),
        "head_dim halved": (ERROR, set_key("head_dim", 16)),
        "twice the heads": (ERROR, set_key("num_attention_heads", 4)),
        "half the inner width": (ERROR, set_key("intermediate_size", 64)),
        "twice the width": (ERROR, set_key("hidden_size", 128)),
        "head_dim 0": (EITHER, set_key("head_dim", 0)),
        "vocab_size too small": (ERROR, set_key("vocab_size", 10)),
        "vocab_size absurd": (ERROR, set_key("vocab_size", 1 << 40)),
        "vocab_size negative": (ERROR, set_key("vocab_size", -1)),
        "rms_norm_eps a text": (ERROR, set_key("rms_norm_eps", "small")),
        "rope_theta negative": (EITHER, set_key("rope_theta", -1)),
        "architecture unknown": (ERROR, set_key("architectures", ["NoSuchForCausalLM"])),
        "architectures empty": (ERROR, set_key("architectures", [])),
        "architectures a number": (ERROR, set_key("architectures", 5)),
        "architecture with a newline": (ERROR, set_key("architectures", ["a\nb\x1b[31m"])),
        "rope scaling unknown": (ERROR, set_key("rope_scaling", {"rope_type": "spiral", "factor": 2.0})),
        "rope scaling without factor": (ERROR, set_key("rope_scaling", {"rope_type": "linear"})),
        "rope scaling by 0": (ERROR, set_key("rope_scaling", {"rope_type": "linear", "factor": 0})),
        "rope scaling a list": (ERROR, set_key("rope_scaling", [1])),
        "llama3 without its factors": (EITHER, set_key("rope_scaling", {"rope_type": "llama3", "factor": 8.0})),
        "bos beyond the vocabulary": (EITHER, set_key("bos_token_id", 1 << 33)),
        "eos a list of texts": (EITHER, set_key("eos_token_id", ["x"])),
    }
    missing = [
        folder_case(CONFIG, "missing", ERROR, broken.remove(CONFIG), names=[CONFIG, "model"]),
        folder_case(CONFIG, "a directory", ERROR, broken.directory_instead(CONFIG), names=[CONFIG]),
    ]
    cases = broken.json_edits(CONFIG, CONFIG, edits)
    for case in cases:  # what the numbers contradict may be said of the tensor instead
        case.names += ("weight", "safetensors", "tokenizer", "vocabulary", "NoSuch", "spiral")
    return (
        cases
        + missing
        + broken.not_json(CONFIG, CONFIG)
        + broken.flips(CONFIG, CONFIG, 15)
        + broken.truncations(CONFIG, CONFIG, [1, 50, 300, -3])
    )


# --- tokenizer.json ---


def set_in(*path, value):
    def edit(content):
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return edit


def add_merge(merge):
    return lambda tokenizer: tokenizer["model"]["merges"].append(merge)


def regex(pattern):
    return set_in("pre_tokenizer", "pretokenizers", 0, "pattern", value={"Regex": pattern})


def bpe_cases():
    word = ("model", "vocab", "the")
    edits = {
        "no model": (ERROR, lambda t: t.pop("model") and None),
        "model a list": (ERROR, set_in("model", value=[])),
        "no vocabulary": (ERROR, lambda t: t["model"].pop("vocab") and None),
        "vocabulary empty": (ERROR, set_in("model", "vocab", value={})),
        "vocabulary a list": (ERROR, set_in("model", "vocab", value=["a"])),
        "an id negative": (ERROR, set_in(*word, value=-1)),
        "an id twice": (ERROR, set_in(*word, value=5)),
        "an id absurd": (ERROR, set_in(*word, value=1 << 40)),
        "an id beyond 64 bits": (ERROR, set_in(*word, value=1 << 70)),
        "an id a text": (ERROR, set_in(*word, value="5")),
        "an id of 1.5": (ERROR, set_in(*word, value=1.5)),
        "an id null": (ERROR, set_in(*word, value=None)),
        "no merges": (ERROR, lambda t: t["model"].pop("merges") and None),
        "merges an object": (ERROR, set_in("model", "merges", value={"a": 1})),
        "a merge without a space": (ERROR, add_merge("abc")),
        "a merge a number": (ERROR, add_merge(5)),
        "a merge of three": (ERROR, add_merge(["a", "b", "c"])),
        "a merge of one": (ERROR, add_merge(["a"])),
        "a merge of unknown pieces": (EITHER, add_merge("zzzz qqqq")),
        "model of another type": (ERROR, set_in("model", "type", value="WordPiece")),
        "model of no type": (EITHER, lambda t: t["model"].pop("type") and None),
        "another regex": (ERROR, regex(r"\w+|\s+")),
        "regex a number": (ERROR, regex(5)),
        "regex of 100 kB": (ERROR, regex("(" * 100000)),
        "no pre-tokenizer": (ERROR, set_in("pre_tokenizer", value=None)),
        "pre-tokenizer a text": (ERROR, set_in("pre_tokenizer", value="ByteLevel")),
        "pre-tokenizer unknown": (ERROR, set_in("pre_tokenizer", value={"type": "Spiral"})),
        "pre-tokenizers nested": (
            EITHER,
            lambda t: t.update(pre_tokenizer={"type": "Sequence", "pretokenizers": [t["pre_tokenizer"]]}),
        ),
        "an added id absurd": (ERROR, set_in("added_tokens", 0, "id", value=1 << 40)),
        "an added id negative": (ERROR, set_in("added_tokens", 0, "id", value=-7)),
        "an added token a text": (ERROR, set_in("added_tokens", 0, value="<x>")),
        "added tokens an object": (EITHER, set_in("added_tokens", value={"a": 1})),
        "an added token without text": (ERROR, lambda t: t["added_tokens"][0].pop("content") and None),
        "an added text twice": (EITHER, set_in("added_tokens", 1, "content", value="<|begin_of_text|>")),
        "post-processor odd": (EITHER, set_in("post_processor", value={"type": "Sequence", "processors": 5})),
    }
    missing = [
        folder_case(BPE, "missing", ERROR, broken.remove(BPE), names=["tokenizer"]),
        folder_case(BPE, "a directory", ERROR, broken.directory_instead(BPE), names=["tokenizer"]),
    ]
    settings = broken.json_edits(
        "tokenizer_config.json",
        "tokenizer_config.json",
        {
            "bos unknown": (EITHER, set_key("bos_token", "<nowhere>")),
            "bos a number": (EITHER, set_key("bos_token", 5)),
            "template a number": (EITHER, set_key("chat_template", 5)),
            "decoder a list": (EITHER, set_key("added_tokens_decoder", [1])),
        },
    )
    cases = broken.json_edits(BPE, BPE, edits)
    for case in cases:
        case.names += ("tokenizer",)
    return (
        cases
        + missing
        + settings
        + broken.not_json(BPE, BPE)
        + broken.flips(BPE, BPE, 20)
        + broken.not_json("tokenizer_config.json", "tokenizer_config.json")[:4]
        + broken.truncations(BPE, BPE, [1, 100, 5000, 10000, -3])
    )


# --- tokenizer.model ---


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out + bytes([number]))


def piece(content):
    """Field 1 of the model: one piece."""
    return b"\x0a" + varint(len(content)) + content


def spm_cases():
    def spm(name, change, verdict=ERROR):
        return folder_case(SPM, name, verdict, broken.replace(SPM, change), "spm", [SPM, "tokenizer"])

    text, score = b"\x0a\x03abc", b"\x15\x00\x00\x80\xbf"
    appended = {
        "length past the end": b"\x0a" + varint(1 << 20),
        "length 2^63": b"\x0a" + varint(1 << 63),
        "a varint without end": b"\xff" * 12,
        "a group": b"\x0b",
        "wire type 7": b"\x0f",
        "field 0": b"\x02\x00",
        "a piece's text past its end": piece(b"\x0a\x7fabc"),
        "a piece's score cut": piece(text + b"\x15\x00"),
        "a piece's varint without end": piece(text + b"\x18" + b"\xff" * 12),
    }
    lenient = {
        "a piece empty": piece(b""),
        "a piece without score": piece(text),
        "type 99": piece(text + score + b"\x18\x63"),
        "score NaN": piece(text + b"\x15\x00\x00\xc0\x7f"),
        "text not UTF-8": piece(b"\x0a\x02\xff\xfe" + score),
        "an unknown field": varint(1000 << 3) + b"\x05",
    }
    cases = [spm(name, lambda data, extra=extra: data + extra) for name, extra in appended.items()]
    cases += [spm(name, lambda data, extra=extra: data + extra, EITHER) for name, extra in lenient.items()]
    cases += [
        spm("empty", b""),
        spm("text", b"hello world\n" * 10),
        spm("zeros", bytes(100)),
        spm("ones", b"\xff" * 100),
        spm("a piece twice", lambda data: data + piece(b"\x0a\x06\xe2\x96\x81the" + score), EITHER),
    ]
    return (
        cases
        + broken.truncations(SPM, SPM, [1, 2, 10, 100, 1001, 5003, -1], "spm", EITHER)
        + broken.flips(SPM, SPM, 25, "spm")
    )


# --- recipes ---

GOOD = "model: {path: model}\nquantize: {preset: F16}\noutput: {path: out/model.gguf}\n"


def recipe_case(name, text, verdict=ERROR, names=("recipe.yaml",)):
    def build(folder):
        shutil.copytree(broken.good("bpe"), folder / "model")
        broken.write_recipe(folder, text)

    return Case("recipe", name, verdict, build, names)


def recipe_cases():
    bomb = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
    )
    texts = {
        "empty": "",
        "a comment": "# nothing\n",
        "a list": "- a\n- b\n",
        "a text": "hello\n",
        "two documents": GOOD + "---\n" + GOOD,
        "no model": "quantize: {preset: F16}\noutput: {path: out/model.gguf}\n",
        "no output": "model: {path: model}\nquantize: {preset: F16}\n",
        "model a text": GOOD.replace("{path: model}", "model"),
        "path a list": GOOD.replace("path: model", "path: [model]"),
        "path empty": GOOD.replace("path: model", "path: ''"),
        "no path": GOOD.replace("path: model", ""),
        "unknown key": GOOD + "modle: {path: x}\n",
        "unknown inner key": GOOD.replace("preset", "preste"),
        "key twice": GOOD + "model: {path: model}\n",
        "inner key twice": GOOD.replace("path: model}", "path: model, path: model}"),
        "tabs": "model:\n\tpath: model\n",
        "unclosed": GOOD + "run: {threads: 2",
        "unclosed text": GOOD + 'run: "',
        "bad indentation": "model:\n  path: model\n output:\n   path: x\n",
        "an anchor bomb": GOOD + bomb,
        "an unknown alias": GOOD.replace("path: model}", "path: *nothing}"),
        "a tag": GOOD.replace("path: model}", "path: !!python/object:os.system model}"),
        "bad UTF-8": GOOD.encode() + b"\xff\xfe: 1\n",
        "NUL": GOOD.encode() + b"\0",
        "a control character": GOOD + "run: {threads: \x07}\n",
        "deeply nested": "a: " + "[" * 50000,
        "preset unknown": GOOD.replace("F16", "Q4_K_X"),
        "preset a number": GOOD.replace("F16", "16"),
        "preset outside": GOOD.replace("F16", "../../../etc/passwd"),
        "encoding unknown": GOOD.replace("preset: F16", "encoding: q4_kk"),
        "method unknown": GOOD.replace("preset: F16", "preset: F16, methods: [gptx]"),
        "methods a text": GOOD.replace("preset: F16", "preset: F16, methods: {a: 1}"),
        "rules a text": GOOD.replace("preset: F16", "preset: F16, rules: all"),
        "a rule without effect": GOOD.replace("preset: F16", "preset: F16, rules: [{role: ffn_down}]"),
        "a rule of an unknown role": GOOD.replace(
            "preset: F16", "preset: F16, rules: [{role: ffn_dwn, encoding: q8_0}]"
        ),
        "a rule of an unknown key": GOOD.replace(
            "preset: F16", "preset: F16, rules: [{rool: ffn_down, encoding: q8_0}]"
        ),
        "a rule of an unknown encoding": GOOD.replace(
            "preset: F16", "preset: F16, rules: [{role: ffn_down, encoding: q9_9}]"
        ),
        "a rule of odd layers": GOOD.replace(
            "preset: F16", "preset: F16, rules: [{role: ffn_down, layers: sometimes, encoding: q8_0}]"
        ),
        "memory a word": GOOD + "run: {memory: much}\n",
        "memory negative": GOOD + "run: {memory: -5MiB}\n",
        "memory beyond 64 bits": GOOD + "run: {memory: 99999999999999999999GiB}\n",
        "memory too little": GOOD + "run: {memory: 1}\n",
        "threads negative": GOOD + "run: {threads: -1}\n",
        "threads absurd": GOOD + "run: {threads: 100000000}\n",
        "threads 1.5": GOOD + "run: {threads: 1.5}\n",
        "exact a number": GOOD + "run: {exact: 7}\n",
        "importance not there": GOOD + "calibration: {imatrix: nowhere.dat}\n",
        "format unknown": GOOD.replace("path: out/model.gguf", "path: out/model.gguf, format: gguff"),
        "ending unknown": GOOD.replace("model.gguf", "model.xyz"),
        "model not there": GOOD.replace("path: model", "path: nowhere"),
        "model a device": GOOD.replace("path: model", "path: /dev/null"),
        "output over the input": GOOD.replace("out/model.gguf", "model/model.safetensors"),
        "output the input folder": GOOD.replace("out/model.gguf", "model"),
        "output below a device": GOOD.replace("out/model.gguf", "/dev/null/model.gguf"),
        "output below a file": GOOD.replace("out/model.gguf", "recipe.yaml/model.gguf"),
        "output of 5000 letters": GOOD.replace("out/model", "out/" + "x" * 5000),
        "output empty": GOOD.replace("out/model.gguf", "''"),
    }
    about = {
        "model not there": ("nowhere",),
        "model a device": ("/dev/null",),
        "importance not there": ("nowhere.dat",),
    }
    cases = [
        recipe_case(name, text, names=("recipe.yaml", "out", "preset", "/dev/null") + about.get(name, ()))
        for name, text in texts.items()
    ]
    good = GOOD.encode()
    for bit in range(3, len(good) * 8, 37):
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        cases.append(recipe_case(f"bit {bit} flipped", bytes(data), EITHER, ()))
    return cases + [
        recipe_case(f"cut to {size} bytes", good[:size], names=("recipe.yaml", "model", "out"))
        for size in (3, 20, 30, 50, 60)
    ]


# --- plugin manifests ---

MANIFEST = """[plugin]
name = broken
version = 1.0.0
abi = 0.1
library = qc_broken
license = MIT
source = own work
[method:broken]
summary = A method that is named by the recipe
[setting:broken.damp]
type = float
default = 0.01
min = 0
max = 1
help = A number
"""


def manifest_case(name, text, library=b"not a library", verdict=ERROR):
    """The recipe names a method that only this plugin has."""

    def build(folder):
        shutil.copytree(broken.good("bpe"), folder / "model")
        plugin = folder / "plugins" / "broken"
        plugin.mkdir(parents=True)
        (plugin / "plugin.ini").write_bytes(text if isinstance(text, bytes) else text.encode())
        if library is not None:
            (plugin / "qc_broken.so").write_bytes(library)
            (plugin / "libqc_broken.so").write_bytes(library)
        broken.write_recipe(
            folder, GOOD.replace("preset: F16", "preset: F16, methods: [broken]") + "plugins: {path: [plugins]}\n"
        )

    return Case("plugin.ini", name, verdict, build, ("broken",))


def manifest_cases():
    texts = {
        "empty": "",
        "no section": "name = broken\n",
        "no closing bracket": MANIFEST.replace("[plugin]", "[plugin"),
        "no equals sign": MANIFEST.replace("name = broken", "name"),
        "a key twice": MANIFEST.replace("name = broken", "name = broken\nname = other"),
        "a section twice": MANIFEST + "[method:broken]\nsummary = again\n",
        "no name": MANIFEST.replace("name = broken\n", ""),
        "no library": MANIFEST.replace("library = qc_broken\n", ""),
        "no version": MANIFEST.replace("version = 1.0.0\n", ""),
        "no abi": MANIFEST.replace("abi = 0.1\n", ""),
        "abi a word": MANIFEST.replace("abi = 0.1", "abi = new"),
        "abi of the future": MANIFEST.replace("abi = 0.1", "abi = 99.0"),
        "abi overflows": MANIFEST.replace("abi = 0.1", "abi = 99999999999999999999.1"),
        "library with a slash": MANIFEST.replace("qc_broken", "../../evil"),
        "library absolute": MANIFEST.replace("qc_broken", "/tmp/evil"),
        "kind unknown": MANIFEST.replace("[method:broken]", "[spell:broken]"),
        "id empty": MANIFEST.replace("[method:broken]", "[method:]"),
        "id of odd letters": MANIFEST.replace("[method:broken]", "[method:br oken!]"),
        "setting type unknown": MANIFEST.replace("type = float", "type = complex"),
        "no setting type": MANIFEST.replace("type = float\n", ""),
        "default not a number": MANIFEST.replace("0.01", "little"),
        "default out of range": MANIFEST.replace("0.01", "7"),
        "range reversed": MANIFEST.replace("max = 1", "max = -1"),
        "default NaN": MANIFEST.replace("0.01", "nan"),
        "setting of another plugin": MANIFEST.replace("setting:broken.damp", "setting:rtn.damp"),
        "setting without a dot": MANIFEST.replace("setting:broken.damp", "setting:damp"),
        "70 kB": MANIFEST + "; " + "x" * 70000 + "\n",
        "a long line": MANIFEST + "x" * 5000 + " = 1\n",
        "NUL": MANIFEST.replace("MIT", "M\0T"),
        "zeros": bytes(200),
        "bad UTF-8": MANIFEST.encode().replace(b"A number", b"\xff\xfe"),
    }
    cases = [manifest_case(name, text) for name, text in texts.items()]
    cases += [
        manifest_case("no library file", MANIFEST, None),
        manifest_case("library a text", MANIFEST),
        manifest_case("library empty", MANIFEST, b""),
        manifest_case("library cut", MANIFEST, b"\x7fELF\x02\x01\x01" + bytes(57)),
    ]
    content = MANIFEST.encode()
    for bit in range(5, len(content) * 8, 131):
        data = bytearray(content)
        data[bit // 8] ^= 1 << bit % 8
        cases.append(manifest_case(f"bit {bit} flipped", bytes(data)))
    return cases


def cases():
    return config_cases() + bpe_cases() + spm_cases() + recipe_cases() + manifest_cases()
