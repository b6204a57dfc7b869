"""Encodings of built plugins, called from Python through the structs of qcore/encoding.h."""
import ctypes as c
import os

import numpy as np

LANES = 16
PLAIN_COLS = 256


class Coder(c.Structure):
    _fields_ = [("size", c.c_uint32), ("block_cols", c.c_uint32), ("cols", c.c_size_t), ("row_bytes", c.c_size_t),
                ("desc", c.c_void_p), ("ops", c.c_void_p), ("order", c.c_void_p), ("shared", c.c_void_p)]


DECODE = c.CFUNCTYPE(None, c.POINTER(Coder), c.c_void_p, c.c_void_p, c.c_size_t, c.c_size_t)
ENCODE = c.CFUNCTYPE(None, c.POINTER(Coder), c.c_void_p, c.c_void_p, c.c_void_p, c.c_size_t, c.c_size_t)


class Ops(c.Structure):
    _fields_ = [("size", c.c_uint32), ("decode", DECODE), ("encode", ENCODE), ("fit", c.c_void_p),
                ("snap", c.c_void_p), ("pack", c.c_void_p), ("unpack", c.c_void_p), ("neighbour", c.c_void_p),
                ("adopt", c.c_void_p)]


class Variant(c.Structure):
    _fields_ = [("cpu", c.c_char_p), ("ops", c.POINTER(Ops))]


class EncodingDesc(c.Structure):
    _fields_ = [("size", c.c_uint32), ("flags", c.c_uint32), ("kind", c.c_char_p), ("id", c.c_char_p),
                ("reserved", c.c_void_p), ("block_cols", c.c_uint32), ("block_bytes", c.c_uint32),
                ("sub_cols", c.c_uint32), ("snap_cols", c.c_uint32), ("state_bytes", c.c_uint32),
                ("lowest", c.c_int32), ("highest", c.c_int32), ("levels", c.c_void_p), ("params", c.c_void_p),
                ("reference", c.POINTER(Ops)), ("variants", c.POINTER(Variant)), ("validate", c.c_void_p),
                ("code_bits", c.c_uint32)]


class Plugin(c.Structure):
    _fields_ = [("stamp", c.c_uint8 * 16), ("size", c.c_uint32), ("n_descs", c.c_uint32),
                ("descs", c.POINTER(c.POINTER(EncodingDesc)))]


def plugin_dir():
    build = os.environ.get("QCORE_BUILD", "build")
    return os.environ.get("QC_PLUGIN_DIR", os.path.join(build, "lib", "qcore", "plugins"))


class Encoding:
    """One encoding for rows of `cols` weights, by its portable ops."""

    def __init__(self, plugin, name, cols):
        library = c.CDLL(os.path.join(plugin_dir(), plugin, f"libqc_{plugin}.so"))
        entry = Plugin.in_dll(library, "qc_plugin_entry")
        self.desc = next(d.contents for d in entry.descs[:entry.n_descs] if d.contents.id.decode() == name)
        self.ops = self.desc.reference.contents
        self.cols = cols
        self.block_cols = self.desc.block_cols or cols  # 0: the whole row is one block
        self.row_bytes = cols // self.block_cols * self.desc.block_bytes
        if not self.desc.block_cols:
            self.row_bytes += (cols * self.desc.code_bits + 7) // 8
        self.coder = Coder(c.sizeof(Coder), self.block_cols, cols, self.row_bytes, c.addressof(self.desc),
                           c.addressof(self.ops), None, None)

    def _pieces(self, n_rows):
        step = PLAIN_COLS if self.block_cols == 1 else self.block_cols
        for row in range(0, n_rows, LANES):
            for col in range(0, self.cols, step):
                at = row * self.row_bytes + col // self.block_cols * self.desc.block_bytes
                yield row, min(LANES, n_rows - row), col, min(step, self.cols - col), at

    def encode(self, rows, importance=None):
        rows = np.ascontiguousarray(rows, np.float32)
        out = np.zeros((len(rows), self.row_bytes), np.uint8)
        weight = None if importance is None else np.ascontiguousarray(importance, np.float32)
        for row, n_rows, col, n_cols, at in self._pieces(len(rows)):
            tile = np.zeros((n_cols, LANES), np.float32)
            tile[:, :n_rows] = rows[row:row + n_rows, col:col + n_cols].T
            self.ops.encode(c.byref(self.coder), out.ctypes.data + at, tile.ctypes.data,
                            None if weight is None else weight.ctypes.data + 4 * col, n_rows, n_cols)
        return out

    def decode(self, data):
        data = np.ascontiguousarray(data, np.uint8)
        out = np.empty((len(data), self.cols), np.float32)
        for row, n_rows, col, n_cols, at in self._pieces(len(data)):
            tile = np.empty((n_cols, LANES), np.float32)
            self.ops.decode(c.byref(self.coder), tile.ctypes.data, data.ctypes.data + at, n_rows, n_cols)
            out[row:row + n_rows, col:col + n_cols] = tile[:, :n_rows].T
        return out
