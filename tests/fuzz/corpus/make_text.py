#!/usr/bin/env python3
"""Write the corpora architecture/, hyperparameters/, tasks/ and tokenizer/ beside this script: sound files and broken ones."""

import json
import pathlib

FOLDER = pathlib.Path(__file__).resolve().parent

CONFIG = {"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
          "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "max_position_embeddings": 512,
          "vocab_size": 300, "hidden_act": "silu", "_name_or_path": "a/b", "rope_theta": 10000.0}
YARN = {"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 128, "beta_fast": 32, "beta_slow": 1}
LLAMA3 = {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
          "original_max_position_embeddings": 8192, "rope_theta": 500000}

CONFIGS = {
    "plain": {}, "head_dim": {"head_dim": 128}, "linear": {"rope_scaling": {"type": "linear", "factor": 2}},
    "yarn": {"rope_scaling": YARN}, "llama3": {"rope_parameters": LLAMA3}, "window": {"sliding_window": 8},
    "mistral": {"model_type": "mistral", "sliding_window": 8},
    "layers": {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
    "layer_types": {"use_sliding_window": True, "layer_types": ["full_attention", "sliding_attention"]},
    "nested": {"text_config": dict(CONFIG, vocab_size=7)}, "packed": {"quantization_config": {"quant_method": "awq"}},
    "dynamic": {"rope_scaling": {"type": "dynamic", "factor": 2}}, "no_heads": {"num_attention_heads": 0},
    "odd_head": {"head_dim": 33}, "huge": {"hidden_size": 1e300}, "negative": {"num_hidden_layers": -1},
    "text": {"vocab_size": "300"}, "null": {"rms_norm_eps": None}, "list": {"rope_scaling": [1, 2]},
    "small_head": {"num_attention_heads": 2147483647, "num_key_value_heads": 1},
    "infinite_base": {"rope_theta": 1e30, "rope_scaling": dict(LLAMA3, factor=1000000)},
}

ENDINGS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False, "pattern": {
    "Regex": ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"}}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
TEMPLATE = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                                                     {"Sequence": {"id": "A", "type_id": 0}}]}
TOKENIZER = {
    "added_tokens": [{"id": 4, "content": "<s>", "special": True}, {"id": 5, "content": "<x>", "special": False}],
    "normalizer": {"type": "NFC"}, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [SPLIT, BYTES]},
    "post_processor": {"type": "Sequence", "processors": [BYTES, TEMPLATE]},
    "model": {"type": "BPE", "ignore_merges": False, "vocab": {"a": 0, "b": 1, "ab": 2, "\u0120": 3},
              "merges": [["a", "b"]]}}
STYLE = dict(TOKENIZER, normalizer={"type": "Prepend", "prepend": "\u2581"}, pre_tokenizer=None, post_processor=TEMPLATE,
             model={"type": "BPE", "byte_fallback": True, "unk_token": "<unk>", "merges": ["a a", "\u2581 aa"],
                    "vocab": {"<unk>": 0, "<0x41>": 1, "a": 2, "aa": 3, "\u2581": 6, "\u2581aa": 7}})
SETTINGS = {"bos_token": "<s>", "eos_token": {"content": "<x>"}, "add_bos_token": True, "add_prefix_space": False,
            "added_tokens_decoder": {"6": {"content": "<y>", "special": True}}, "model_max_length": 10**30,
            "chat_template": [{"name": "default", "template": "{{ a }}"}, {"name": "t/u", "template": "b"}]}


def with_model(**changes):
    return dict(TOKENIZER, model=dict(TOKENIZER["model"], **changes))


TEXTS = {
    "bpe": TOKENIZER, "style": STYLE, "settings": SETTINGS, "ids": {"bos_token_id": 1, "eos_token_id": [2, 3]},
    "added": {"<y>": 6, "\u2581\u2581": 7}, "template": {"chat_template": "{{ x }}"},
    "gpt2": dict(TOKENIZER, pre_tokenizer={"type": "ByteLevel"}), "same_id": with_model(vocab={"a": 0, "b": 0}),
    "no_id": with_model(vocab={"a": None}), "far_id": with_model(vocab={"a": 4294967295}),
    "negative_id": with_model(vocab={"a": -1}), "same_text": with_model(vocab={"<s>": 0, "a": 1}),
    "no_merges": with_model(merges=None), "half_merge": with_model(merges=["a"]), "far_merge": with_model(merges=["x y"]),
    "long_merge": with_model(merges=[["a" * 300, "b"]]), "marks": with_model(end_of_word_suffix="</w>"),
    "deep": dict(TOKENIZER, pre_tokenizer={"type": "Sequence", "pretokenizers": [
        {"type": "Sequence", "pretokenizers": [BYTES, {"type": "Sequence", "pretokenizers": [SPLIT]}]}]}),
    "unigram": {"model": {"type": "Unigram", "vocab": [["a", 0]]}}, "nameless": {"added_tokens": [{"id": 1}]},
}


def varint(value):
    out = b""
    while value >= 128:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def piece(text, kind=1, score=b"\x00\x00\x80\xbf"):
    return field(1, field(1, text.encode()) + b"\x15" + score + b"\x18" + varint(kind))


PIECES = piece("<unk>", 2) + piece("<s>", 3) + piece("</s>", 3) + piece("<0x0A>", 6) + piece("\u2581a")
NORMALIZER = field(3, field(2, b"\x01\x02\x03\x04\x05") + b"\x18\x00\x20\x01")
MODELS = {
    "spm": PIECES + field(2, b"\x18\x02\xa8\x02\x01\xd8\x02" + b"\xff" * 9 + b"\x01") + NORMALIZER,
    "spm_unigram": PIECES + field(2, b"\x18\x01") + NORMALIZER, "spm_words": PIECES + field(2, b"\x18\x03"),
    "spm_cut": PIECES[:-3], "spm_long": PIECES + b"\x0a\xff\xff\xff\xff\x0f", "spm_endless": PIECES + b"\xff" * 12,
    "spm_nan": PIECES + piece("b", 1, b"\x00\x00\xc0\x7f"), "spm_type": PIECES + piece("b", 7),
    "spm_group": PIECES + b"\x0b\x0c", "spm_zero": PIECES + b"\x02\x00", "spm_twice": PIECES + piece("\u2581a"),
    "tiktoken": b"IQ== 0\nIg== 1\n", "empty": b"",
}

SIZES = """block_count u32 2
context_length u32 100
embedding_length u32 16
feed_forward_length u32 24
attention.head_count u32 4
attention.head_count_kv u32 2
attention.layer_norm_rms_epsilon f32 1e-5
"""
# Lines after the family's name and a dot; what test metadata looks like: ../../support/meta_text.h
HYPERPARAMETERS = {
    "plain": "", "layers": "attention.head_count u32 4 4\nattention.head_count_kv i32 2 2\n",
    "window": "attention.sliding_window u32 2\nattention.sliding_window_pattern bool 1 0\n",
    "linear": "rope.scaling.type text linear\nrope.scaling.factor f32 4\nrope.freq_base f32 500000\n",
    "yarn": "rope.scaling.type text yarn\nrope.scaling.factor f32 4\nrope.scaling.original_context_length u32 32\n"
            "rope.scaling.yarn_beta_fast f32 32\nrope.scaling.yarn_beta_slow f32 1\nrope.scaling.yarn_ext_factor f32 1\n"
            "rope.scaling.yarn_attn_factor f32 1.1\n",
    "longrope": "rope.scaling.type text longrope\nrope.scaling.original_context_length u32 2\n"
                "rope.scaling.attn_factor f32 1.2\nrope.dimension_count u32 2\n",
    "experts": "expert_count u32 8\n", "huge": "feed_forward_length u32 2147483647\n",
    "wide_heads": "attention.key_length u32 65536\nattention.value_length u32 65536\n",
    "many_blocks": "block_count u32 100000\n", "no_heads": "attention.head_count u32 0 0\n",
    "bases": "rope.scaling.type text yarn\nrope.freq_base f32 1e30\nrope.scaling.factor f32 1e-6\n",
}


def write(folder, name, data):
    path = FOLDER / folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else json.dumps(data, ensure_ascii=False).encode())


for name, changes in CONFIGS.items():
    write("architecture", name, {**CONFIG, **changes})
sound = json.dumps(CONFIG).encode()
write("architecture", "cut", sound[:-40])
write("architecture", "twice", sound[:-1] + b', "vocab_size": 3}')
write("architecture", "nesting", b"[" * 3000)
write("architecture", "missing", {})
for name, data in {**TEXTS, **MODELS}.items():
    write("tokenizer", name, data)
text = json.dumps(TOKENIZER).encode()
write("tokenizer", "bpe_cut", text[:-20])
write("tokenizer", "bpe_twice", text.replace(b'"b": 1', b'"a": 1'))
write("tokenizer", "bpe_latin", text.replace(b'"ab"', b'"\xe9"'))
for name, more in HYPERPARAMETERS.items():
    lines = [f"{family}.{line}" for family in ("llama", "qwen2", "qwen3") for line in (SIZES + more).splitlines()]
    write("hyperparameters", name, "".join(line + "\n" for line in lines).encode())

EXACT = {"kind": "sum", "prompt": "1 + 1 =", "answer": " 2"}
CHOICE = {"kind": "pick", "prompt": "A or", "choices": [" b", " bcd"], "answer": 1}
TASKS = {
    "exact": [EXACT], "choice": [CHOICE], "both": [EXACT, CHOICE, EXACT], "counted": [{"prompt": "ab", "answer": "cdef"}],
    "no_kind": [{"prompt": "a", "answer": "b"}, {"prompt": "a", "choices": ["b", "c"], "answer": 0}],
    "empty_prompt": [{"prompt": "", "answer": "abc"}], "no_prompt": [{"answer": "b"}], "no_answer": [{"prompt": "a"}],
    "wrong_types": [{"prompt": 1, "answer": []}], "list": [[EXACT]], "deep": [{"prompt": [[[[[[]]]]]], "answer": "a"}],
    "one_choice": [dict(CHOICE, choices=["b"])], "odd_choice": [dict(CHOICE, choices=["b", None])],
    "beyond": [dict(CHOICE, answer=2)], "huge": [dict(CHOICE, answer=2**63 - 1)], "half": [dict(CHOICE, answer=0.5)],
    "long": [dict(EXACT, prompt="ab" * 500, answer="bc12" * 50)], "kind": [dict(EXACT, kind="a.b")],
    "accents": [dict(EXACT, prompt="\u00fc\u4e2d", answer="\u00e9")], "zero": [dict(EXACT, prompt="a\u0000b")],
}
for name, lines in TASKS.items():
    write("tasks", name, "".join(json.dumps(line) + "\n" for line in lines).encode())
write("tasks", "cut", json.dumps(EXACT).encode()[:-5])
write("tasks", "twice", b'{"prompt": "a", "prompt": "b", "answer": "c"}')
write("tasks", "latin", b'{"prompt": "\xe9", "answer": "c"}')
write("tasks", "blank", b"\r\n  \n" + json.dumps(EXACT).encode() + b"\r\n\n")
