"""Backends lay what they do better over those of lower rank, entry by entry. Made-up ones whose squared_error is always
0 or 1 show in the report who won; the table's other entries stay the portable backend's."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import qcore  # noqa: E402

SOURCE = """
#include "qcore/ops.h"
#include <string.h>
static double squared_error(const float *x, const float *y, const float *importance, size_t n)
{
    (void)x, (void)y, (void)importance, (void)n;
    return %(error)s;
}
static void overlay(const char *cpu, const char *table_id, void *table, size_t size)
{
    if (cpu && !strcmp(table_id, QC_OPS_ROW) && size >= sizeof(qc_ops_row))
        ((qc_ops_row *)table)->squared_error = squared_error;
}
static const qc_backend_desc desc = {
    .base = {.size = sizeof(qc_backend_desc), .flags = %(flags)s, .kind = QC_KIND_BACKEND, .id = "%(id)s"},
    .rank = %(rank)d,
    .overlay = overlay,
};
QC_PLUGIN(&desc.base);
"""
INEXACT_METHOD = """
#include "qcore/method.h"
static qc_status round_rows(qc_job *job, const void *state, const void *prepared, const qc_linear *linear, float *w,
                            size_t n_rows, void *dst)
{
    (void)state, (void)prepared;
    return qc_encode_rows(job, linear->coder, dst, w, NULL, n_rows);
}
static const qc_method_desc desc = {
    .base = {.size = sizeof(qc_method_desc), .flags = QC_DESC_INEXACT, .kind = QC_KIND_METHOD, .id = "shaky"},
    .round = round_rows,
};
QC_PLUGIN(&desc.base);
"""
MANIFEST = """\
[plugin]
name = %(id)s
version = 1.0.0
abi = 0.1
library = qc_%(id)s
license = MIT
source = own work
[backend:%(id)s]
summary = Errors are %(error)s
"""


def build(source, library):
    subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-fPIC", "-shared", "-I", ROOT / "sdk/include", source, "-o",
                    library], check=True)


class Backends(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.plugins = self.folder / "plugins"
        self.plugins.mkdir()

    def backend(self, id, rank, error, flags="0", needs=""):
        where = self.plugins / id
        where.mkdir()
        values = {"id": id, "rank": rank, "error": error, "flags": flags}
        (where / "plugin.ini").write_text(MANIFEST % values + needs)
        (where / "b.c").write_text(SOURCE % values)
        build(where / "b.c", where / f"libqc_{id}.so")

    def error(self, *arguments, **run):
        """The relative squared error that a run reports."""
        recipe = qcore.write_recipe(self.folder / "r.yaml", ROOT / "tests/models/tale", self.folder / "o.gguf", "Q8_0",
                                    run=run, plugins={"path": [str(self.plugins)]})
        done = qcore.run("-c", recipe, "--json", "--set", "output.overwrite=true", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)["relative_squared_error"]

    def test_rank_decides(self):
        honest = self.error()
        self.assertTrue(0 < honest < 0.01)
        self.backend("below", -1, "1.0")
        self.assertEqual(self.error(), honest)
        self.backend("above", 10, "1.0")
        self.assertNotEqual(self.error(), honest)
        self.backend("highest", 20, "0.0")
        self.assertEqual(self.error(), 0)

    def test_inexact_ones_only_on_request(self):
        honest = self.error()
        self.backend("fast", 10, "0.0", "QC_DESC_INEXACT")
        self.assertEqual(self.error(), honest)
        self.assertEqual(self.error(exact=False), 0)

    def test_an_inexact_method_only_on_request(self):
        where = self.plugins / "shaky"
        where.mkdir()
        manifest = MANIFEST % {"id": "shaky", "error": "as they come"}
        (where / "plugin.ini").write_text(manifest.replace("[backend:", "[method:"))
        (where / "m.c").write_text(INEXACT_METHOD)
        build(where / "m.c", where / "libqc_shaky.so")
        recipe = qcore.write_recipe(self.folder / "r.yaml", ROOT / "tests/models/tale", self.folder / "o.gguf",
                                    plugins={"path": [str(self.plugins)]})
        choose = "--set", "quantize.methods=shaky", "--set", "quantize.preset=Q8_0"
        done = qcore.run("-c", recipe, *choose)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("method shaky gives other bits on other machines", done.stderr)
        self.assertFalse((self.folder / "o.gguf").exists())
        done = qcore.run("-c", recipe, *choose, "--set", "run.exact=false")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_the_cpu_decides(self):
        honest = self.error()
        self.backend("vectors", 10, "0.0", needs="[requires]\ncpu = x86-v3\n")
        self.assertEqual(self.error("--cpu-mask", "generic"), honest)
        self.assertIn(self.error(), (0, honest))  # as this machine is

    def test_a_broken_one_is_left_out(self):
        honest = self.error()
        self.backend("bad", 10, "0.0")
        (self.plugins / "bad" / "libqc_bad.so").write_text("not a library\n")
        recipe = qcore.write_recipe(self.folder / "r.yaml", ROOT / "tests/models/tale", self.folder / "o.gguf", "Q8_0",
                                    plugins={"path": [str(self.plugins)]})
        self.assertEqual(self.error(), honest)
        (self.folder / "o.gguf").unlink()
        done = qcore.run("-c", recipe, "-q")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("qcore: warning: backend bad cannot be used: cannot be loaded: ", done.stderr)


if __name__ == "__main__":
    unittest.main()
