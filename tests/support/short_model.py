"""The model of the tree with its first blocks alone: what takes a block at a time is tested as well, and faster."""

import json
import pathlib
import re
import shutil
import struct


def write(source, folder, layers):
    """Copies a folder of one safetensors file, less all blocks from `layers` on."""
    source, folder = pathlib.Path(source), pathlib.Path(folder)
    folder.mkdir()
    for path in source.iterdir():
        if path.suffix != ".safetensors":
            shutil.copy(path, folder / path.name)
    config = json.loads((source / "config.json").read_text())
    config["num_hidden_layers"] = layers
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    data = (source / "model.safetensors").read_bytes()
    (n,) = struct.unpack("<Q", data[:8])
    header, kept, begin = json.loads(data[8 : 8 + n]), {}, 0
    pieces = []
    for name, entry in header.items():
        block = re.match(r"model\.layers\.(\d+)\.", name)
        if name == "__metadata__" or (block and int(block.group(1)) >= layers):
            continue
        first, last = entry["data_offsets"]
        pieces.append(data[8 + n + first : 8 + n + last])
        kept[name] = {**entry, "data_offsets": [begin, begin + last - first]}
        begin += last - first
    text = json.dumps(kept).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"".join(pieces))
    return folder
