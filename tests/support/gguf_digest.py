"""What a GGUF file says, in a form small enough to store: values, and digests of arrays and tensors."""

import hashlib

import numpy
from gguf import GGUFReader

UNKNOWN, CONTROL = 2, 3


def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


def value_of(field):
    """[types, value]; an array's value is its length and digest."""
    types = [kind.name for kind in field.types]
    content = field.contents()
    if types[0] == "ARRAY":
        text = "\n".join(map(repr, content))
        return [types, len(content), digest(text.encode())]
    return [types, content]


def types_of(reader):
    """The types of the tokens; "unknown" counts as a control token, since writers differ and text holds neither."""
    types = numpy.array(reader.fields["tokenizer.ggml.token_type"].contents())
    return numpy.where(types == UNKNOWN, CONTROL, types)


def scores_of(reader):
    """Scores of the tokens that text can hold: those of control tokens mean nothing, and writers differ."""
    return numpy.array(reader.fields["tokenizer.ggml.scores"].contents())[types_of(reader) != CONTROL]


def describe(path):
    """{"keys": {name: value_of}, "tensors": {name: [type, shape, digest]}, "rope_freqs": [...] or None}"""
    reader = GGUFReader(path)
    keys = {name: value_of(field) for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    for name, values_of in (("tokenizer.ggml.scores", scores_of), ("tokenizer.ggml.token_type", types_of)):
        if name in keys:
            keys[name][-1] = digest(values_of(reader).tobytes())
    tensors, factors = {}, None
    for tensor in reader.tensors:
        data = numpy.ascontiguousarray(tensor.data).tobytes()
        tensors[tensor.name] = [tensor.tensor_type.name, [int(n) for n in tensor.shape], digest(data)]
        if tensor.name == "rope_freqs.weight":  # computed, so equal only nearly
            factors = tensor.data.tolist()
            tensors[tensor.name][-1] = ""
    return {"keys": keys, "tensors": tensors, "rope_freqs": factors}
