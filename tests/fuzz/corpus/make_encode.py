#!/usr/bin/env python3
"""Write the corpus encode/ beside this script: small GGUF files with tokenizers in them, sound and broken. The target
encodes the bytes of the whole file, so each file is its own text; what stands behind the metadata is more of it."""

import pathlib

from make import gguf, key

FOLDER = pathlib.Path(__file__).resolve().parent / "encode"
TEXT = ("\n\nThe rivers' stones, it's 12+3  \u00e9e\u0301\ud55c\u1112\u1161\u11ab \u6cb3\u8fb9 <|end|> <s>a</s>\r\n"
        "\t\u2028\u180e\u1d160 \u0915\u094d\u0937 DON'T \U0001f680").encode() + b"\xff\xc3\xe2\x82 \xed\xa0\x80\x00ab"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


def byte_characters():
    """Bytes as byte-level BPE writes them."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = [b for b in range(256) if b not in kept]
    return [chr(b) if b in kept else chr(256 + moved.index(b)) for b in range(256)]


MERGES = ["e r", "t h", "i n", "th e", "\u0120 the", "s \u0120", "i v", "iv er", "r iver", "1 2", "\u010a \u010a",
          "\u0120 \u0120"]


def metadata(model, tokens, types, **more):
    kinds = {"scores": "f32", "merges": "text", "pre": "text", "add_bos_token": "bool", "add_eos_token": "bool",
             "add_space_prefix": "bool"}
    keys = [key("general.architecture", "text", "llama"), key("tokenizer.ggml.model", "text", model),
            key("tokenizer.ggml.tokens", "text", tokens), key("tokenizer.ggml.token_type", "i32", types)]
    return gguf(keys + [key("tokenizer.ggml." + name, kinds.get(name, "u32"), value)
                        for name, value in more.items() if value is not None]) + TEXT


def bpe(pre="gpt-2", few=False, merges=MERGES, **more):
    tokens = list("ab \u0120ersthin") if few else byte_characters()
    tokens = [t for t in tokens if t != " "]
    for merge in merges:
        joined = merge.replace(" ", "")
        if joined not in tokens and not few:
            tokens.append(joined)
    types = [NORMAL] * len(tokens) + [CONTROL, CONTROL, USER_DEFINED, USER_DEFINED]
    tokens = tokens + ["<s>", "</s>", "<|end|>", "<|"]
    ids = {"bos_token_id": len(tokens) - 4, "eos_token_id": len(tokens) - 3}
    return metadata("gpt2", more.pop("tokens", tokens), more.pop("types", types), pre=pre, merges=merges,
                    **{**ids, **more})


def spm(with_bytes=True, **more):
    tokens, types = ["<unk>", "<s>", "</s>"], [UNKNOWN, CONTROL, CONTROL]
    if with_bytes:
        tokens += [f"<0x{b:02X}>" for b in range(256)]
        types += [BYTE] * 256
    pieces = ["th", "in", "er", "\u2581the", "the", "iv", "iver", "\u2581r", "river", "he", "\u2581", "t", "h", "e", "r",
              "i", "v", "n", "s", "\u00e9", "1", "2", "\u2581\u2581", "st", "aa", "aaaa", "a"]
    scores = [0.0] * len(tokens) + [-float(i) for i in range(len(pieces))]
    return metadata("llama", more.pop("tokens", tokens + pieces), more.pop("types", types + [NORMAL] * len(pieces)),
                    scores=more.pop("scores", scores), **{"bos_token_id": 1, "eos_token_id": 2, **more})


FILES = {
    "gpt2": bpe(), "llama3": bpe("llama-bpe", add_bos_token=True, add_eos_token=True), "qwen2": bpe("qwen2"),
    "qwen35": bpe("qwen35"), "smollm": bpe("smollm"), "tekken": bpe("tekken"), "gpt4o": bpe("gpt-4o"),
    "deepseek": bpe("deepseek-v3"), "coder": bpe("deepseek-coder"), "falcon": bpe("falcon"), "bloom": bpe("bloom"),
    "default": bpe("default"), "no_pre": bpe(None), "few": bpe(few=True, merges=[]),
    "bad_pre": bpe("unheard-of"), "bad_merge": bpe(few=True, merges=["a q"]), "bad_merge_space": bpe(merges=["ab", " "]),
    "bad_bos": bpe(bos_token_id=100000), "no_bos": bpe(bos_token_id=2**32 - 1), "bad_types": bpe(types=[1, 2]),
    "bad_type": bpe(tokens=["a"], types=[9], merges=[], bos_token_id=0, eos_token_id=0),
    "twice": bpe(tokens=["a", "b", "a"], types=[1, 1, 1], merges=[], bos_token_id=0, eos_token_id=0),
    "empty": bpe(tokens=["a", "", ""], types=[1, 1, 3], merges=[], bos_token_id=0, eos_token_id=0),
    "no_tokens": bpe(tokens=[], types=[], merges=[]), "no_merges": bpe(merges=None or []),
    "markers": bpe(tokens=["a", "aa", "aab", "aaab", "b", "<s>"], types=[4, 4, 4, 3, 1, 3], merges=[], bos_token_id=0,
                   eos_token_id=1),
    "spm": spm(), "spm_no_bytes": spm(with_bytes=False), "spm_bare": spm(add_space_prefix=False, add_bos_token=False),
    "spm_nan": spm(scores=[float("nan")] * 400), "spm_scores": spm(scores=[1.0]), "spm_equal": spm(scores=[1.0] * 400),
    "spm_long": spm(tokens=["a" * 300], types=[1], scores=[1.0], bos_token_id=0, eos_token_id=0),
}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, data in FILES.items():
        (FOLDER / name).write_bytes(data)
