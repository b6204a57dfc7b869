"""Methods of built plugins, called from Python through the structs of qcore/method.h: what a host does, in small."""
import ctypes as c
import os

import numpy as np

from qcore_encodings import plugin_dir

LIBC = c.CDLL(None)
LIBC.aligned_alloc.restype = c.c_void_p
LIBC.aligned_alloc.argtypes = [c.c_size_t, c.c_size_t]
LIBC.free.argtypes = [c.c_void_p]

TABLE_BYTES = 512
P = c.c_void_p
LOG = c.CFUNCTYPE(None, P, c.c_int, c.c_char_p)
ALLOC = c.CFUNCTYPE(P, P, c.c_size_t)
FREE = c.CFUNCTYPE(None, P, P)
FIND = c.CFUNCTYPE(P, P, c.c_char_p)
NUMBER = c.CFUNCTYPE(c.c_double, P, c.c_char_p)
TEXT = c.CFUNCTYPE(c.c_char_p, P, c.c_char_p)
BODY = c.CFUNCTYPE(c.c_int, P, P, c.c_size_t, c.c_size_t)
PARALLEL = c.CFUNCTYPE(c.c_int, P, c.c_size_t, c.c_size_t, BODY, P)
FAIL = c.CFUNCTYPE(c.c_int, P, c.c_int, c.c_char_p)
PROGRESS = c.CFUNCTYPE(c.c_int, P, c.c_uint64, c.c_uint64)
FIGURE = c.CFUNCTYPE(None, P, c.c_char_p, c.c_double)
OVERLAY = c.CFUNCTYPE(None, c.c_char_p, c.c_char_p, P, c.c_size_t)
ROWS = c.CFUNCTYPE(c.c_int, P, P, c.c_size_t, c.c_size_t, P)


class HostStruct(c.Structure):
    _fields_ = [("size", c.c_uint32), ("abi_major", c.c_uint16), ("abi_minor", c.c_uint16), ("log", LOG),
                ("alloc", ALLOC), ("free", FREE), ("find", FIND), ("number", NUMBER), ("text", TEXT)]


class Job(c.Structure):
    _fields_ = [("size", c.c_uint32), ("worker", c.c_uint32), ("host", c.POINTER(HostStruct)), ("seed", c.c_uint64),
                ("scratch", ALLOC), ("parallel_for", PARALLEL), ("fail", FAIL), ("progress", PROGRESS),
                ("figure", FIGURE)]


class Input(c.Structure):
    _fields_ = [("size", c.c_uint32), ("cols", c.c_size_t), ("n_tokens", c.c_uint64), ("mean_square", P),
                ("absmax", P), ("gram", P), ("samples", P), ("n_samples", c.c_size_t)]


class Linear(c.Structure):
    _fields_ = [("size", c.c_uint32), ("name", c.c_char_p), ("role", c.c_char_p), ("layer", c.c_int32),
                ("expert", c.c_int32), ("rows", c.c_size_t), ("cols", c.c_size_t), ("input", P), ("coder", P)]


class End(c.Structure):
    _fields_ = [("size", c.c_uint32), ("linear", c.POINTER(Linear)), ("map", P), ("rows", ROWS)]


class Axis(c.Structure):
    _fields_ = [("size", c.c_uint32), ("n_channels", c.c_size_t), ("input", P), ("n_writers", c.c_size_t),
                ("n_readers", c.c_size_t), ("writers", P), ("readers", P), ("name", c.c_char_p)]


class MethodDesc(c.Structure):
    _fields_ = [("size", c.c_uint32), ("flags", c.c_uint32), ("kind", c.c_char_p), ("id", c.c_char_p),
                ("reserved", P), ("statistics", c.c_uint32),
                ("create", c.CFUNCTYPE(c.c_int, P, P, c.POINTER(P))), ("destroy", c.CFUNCTYPE(None, P, P)),
                ("transform", c.CFUNCTYPE(c.c_int, P, P, P, P)),
                ("prepare", c.CFUNCTYPE(c.c_int, P, P, P, P, P, c.POINTER(P))),
                ("release", c.CFUNCTYPE(None, P, P)),
                ("round", c.CFUNCTYPE(c.c_int, P, P, P, P, P, c.c_size_t, P))]


class MethodPlugin(c.Structure):
    _fields_ = [("stamp", c.c_uint8 * 16), ("size", c.c_uint32), ("n_descs", c.c_uint32),
                ("descs", c.POINTER(c.POINTER(MethodDesc)))]


class BackendDesc(c.Structure):
    _fields_ = [("size", c.c_uint32), ("flags", c.c_uint32), ("kind", c.c_char_p), ("id", c.c_char_p),
                ("reserved", P), ("rank", c.c_int32), ("overlay", OVERLAY)]


class BackendPlugin(c.Structure):
    _fields_ = [("stamp", c.c_uint8 * 16), ("size", c.c_uint32), ("n_descs", c.c_uint32),
                ("descs", c.POINTER(c.POINTER(BackendDesc)))]


def open_plugin(name, struct):
    library = c.CDLL(os.path.join(plugin_dir(), name, f"libqc_{name}.so"))
    return struct.in_dll(library, "qc_plugin_entry")


def pointer(array):
    return None if array is None else array.ctypes.data


class Method:
    """A method with its settings; figures that it told and its last message are kept."""

    def __init__(self, plugin, **settings):
        self.settings, self.figures, self.message = settings, {}, ""
        self.blocks, self.tables = [], {}
        self._make_host()
        self.desc = open_plugin(plugin, MethodPlugin).descs[0].contents
        self.state = P()
        self.check(self.desc.create(c.addressof(self.job), None, c.byref(self.state)))

    def _take(self, bytes_):
        block = LIBC.aligned_alloc(64, (bytes_ // 64 + 1) * 64)
        c.memset(block, 0, bytes_)
        return block

    def _find(self, _, name):
        if name not in self.tables:
            table = (c.c_uint8 * TABLE_BYTES)()
            c.cast(table, c.POINTER(c.c_uint32))[0] = TABLE_BYTES
            open_plugin("scalar", BackendPlugin).descs[0].contents.overlay(b"", name, table, TABLE_BYTES)
            self.tables[name] = table
        return c.addressof(self.tables[name])

    def _scratch(self, _, bytes_):
        self.blocks.append(self._take(bytes_))
        return self.blocks[-1]

    def _parallel(self, job, n, chunk, body, arg):
        for begin in range(0, n, chunk):
            status = body(arg, job, begin, min(n, begin + chunk))
            if status:
                return status
        return 0

    def _fail(self, _, status, message):
        self.message = self.message or message.decode()
        return status

    def _figure(self, _, name, value):
        self.figures[name.decode()] = value

    def _make_host(self):
        self.host = HostStruct(c.sizeof(HostStruct), 0, 3, LOG(lambda *_: None), ALLOC(lambda _, n: self._take(n)),
                               FREE(lambda _, p: LIBC.free(p)), FIND(self._find),
                               NUMBER(lambda _, name: float(self.settings.get(name.decode(), 0))),
                               TEXT(lambda _, name: b""))
        self.job = Job(c.sizeof(Job), 0, c.pointer(self.host), 0, ALLOC(self._scratch), PARALLEL(self._parallel),
                       FAIL(self._fail), PROGRESS(lambda *_: 0), FIGURE(self._figure))

    def check(self, status):
        if status:
            raise RuntimeError(f"status {status}: {self.message}")

    def _forget(self):
        for block in self.blocks:
            LIBC.free(block)
        self.blocks = []

    def transform(self, x, readers, channel_map=None, n_channels=None):
        """Factors of the axis that `readers`, (weights, Encoding), have in common; x: rows of the input, or None."""
        cols = readers[0][0].shape[1]
        n = n_channels or cols
        known = make_input(x)
        keep, ends = [], (P * len(readers))()
        for i, (w, encoding) in enumerate(readers):
            linear = make_linear(w, encoding, known)
            end = End(c.sizeof(End), c.pointer(linear), pointer(channel_map), ROWS(give_rows(w)))
            keep.append((linear, end))
            ends[i] = c.addressof(end)
        axis = Axis(c.sizeof(Axis), n, address(known), 0, len(readers), None, c.addressof(ends), b"made -> made")
        factor = np.ones(n, np.float32)
        self.check(self.desc.transform(c.addressof(self.job), self.state, c.addressof(axis), pointer(factor)))
        self._forget()
        return factor

    def round(self, x, w, encoding, chunk=1 << 20):
        """The rows' bytes, rounded in chunks of so many rows."""
        known, prepared = make_input(x), P()
        linear = make_linear(w, encoding, known)
        self.check(self.desc.prepare(c.addressof(self.job), self.state, address(known),
                                     c.addressof(encoding.desc), None, c.byref(prepared)))
        out = np.zeros((len(w), encoding.row_bytes), np.uint8)
        for row in range(0, len(w), chunk):
            rows = np.array(w[row:row + chunk], np.float32)
            self.check(self.desc.round(c.addressof(self.job), self.state, prepared, c.addressof(linear),
                                       pointer(rows), len(rows), pointer(out[row:])))
            self._forget()
        self.desc.release(c.addressof(self.host), prepared)
        return out


def give_rows(w):
    def rows(_, job, first, n, out):
        c.memmove(out, w[first:first + n].ctypes.data, n * w.shape[1] * 4)
        return 0
    return rows


def make_input(x):
    if x is None:
        return None
    x = np.ascontiguousarray(x, np.float32)
    mean_square = np.mean(np.square(x, dtype=np.float64), 0).astype(np.float32)
    known = Input(c.sizeof(Input), x.shape[1], len(x), pointer(mean_square), None, None, pointer(x), len(x))
    known.keep = (x, mean_square)
    return known


def make_linear(w, encoding, known):
    return Linear(c.sizeof(Linear), b"made.weight", b"made", -1, -1, w.shape[0], w.shape[1], address(known),
                  c.addressof(encoding.coder))


def address(struct):
    return None if struct is None else c.addressof(struct)
