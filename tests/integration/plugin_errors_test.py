"""Plugins that are broken in every way we know: each gets one clear line, and the program goes on or stops as it should."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import textwrap
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import qcore  # noqa: E402

MANIFEST = """\
[plugin]
name = bad
version = 1.0.0
abi = 0.1
library = qc_bad
license = MIT
source = own work
[method:bad]
summary = Broken
"""
METHOD = """
static qc_status bad_round(qc_job *job, const void *state, const void *prepared, const qc_linear *linear, float *w,
                           size_t n_rows, void *dst)
{
    (void)job, (void)state, (void)prepared, (void)linear, (void)w, (void)n_rows, (void)dst;
    return QC_OK;
}
static const qc_method_desc bad = {
    .base = {.size = sizeof(qc_method_desc), .kind = QC_KIND_METHOD, .id = "bad"}, .round = bad_round};
"""
WHOLE = METHOD + "QC_PLUGIN(&bad.base);\n"
STAMP = METHOD + """
static const qc_desc *const descs[] = {&bad.base};
QC_EXPORT extern const qc_plugin qc_plugin_entry;
const qc_plugin qc_plugin_entry = {%s, sizeof(qc_plugin), 1, descs};
"""


class Broken(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name)
        self.path.chmod(0o755)

    def plugin(self, source=WHOLE, manifest=MANIFEST, folder="bad", flags=(), root=None):
        """Writes and compiles <root>/<folder>; a source of None leaves the library out."""
        where = (root or self.path) / folder
        where.mkdir(parents=True)
        where.chmod(0o755)
        (where / "plugin.ini").write_text(manifest)
        if source is not None:
            code = where / "bad.c"
            code.write_text('#include "qcore/encoding.h"\n#include "qcore/format.h"\n#include "qcore/method.h"\n'
                            '#include "qcore/ops.h"\n' + textwrap.dedent(source))
            subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-fPIC", "-shared", "-I", ROOT / "sdk/include",
                            *flags, code, "-o", where / "libqc_bad.so"], check=True)
        return where

    def check(self, *arguments, status=3):
        """The one line that `plugins check` has on what is in our folder."""
        done = qcore.run("plugins", "check", "--plugin-path", self.path, *(arguments or ["bad"]))
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout

    def expect(self, *parts, arguments=(), status=3):
        line = self.check(*arguments, status=status)
        self.assertEqual(line.count("\n"), 1, line)
        for part in parts:
            self.assertIn(part, line)
        return line

    def expect_stamp(self, stamp, *parts):
        self.plugin(STAMP % stamp)
        self.expect("FAIL  method:bad", *parts)

    def test_a_whole_one_is_fine(self):
        self.plugin()
        self.assertEqual(self.check(status=0), "ok    method:bad\n")

    # ---- the library ----

    def test_missing_library(self):
        self.plugin(None)
        self.expect("FAIL  method:bad", "/bad/libqc_bad.so: No such file or directory")

    def test_no_library_at_all(self):
        where = self.plugin(None)
        (where / "libqc_bad.so").write_text("not a library\n")
        self.expect("FAIL", "cannot be loaded", "libqc_bad.so")

    def test_undefined_symbol(self):
        self.plugin("qc_status nowhere(void);\n" + WHOLE.replace("return QC_OK;", "return nowhere();"))
        self.expect("FAIL", "cannot be loaded", "libqc_bad.so: undefined symbol: nowhere")

    def test_missing_entry(self):
        self.plugin("int other_symbol = 1;\n")
        self.expect("not a qcore plugin: it has no symbol qc_plugin_entry")

    def test_wrong_magic(self):
        self.expect_stamp("{0x464c457f, 0, 1, 8, 8, 0, 0, 0x100}",
                          "not a qcore plugin: qc_plugin_entry begins with 0x464c457f instead of 0x31504351")

    def test_other_byte_order(self):
        self.expect_stamp("{0x51435031, 0, 256, 8, 8, 1, 0, 0x100}", "built for big-endian machines, this one is not")

    def test_other_abi(self):
        self.expect_stamp("{QC_ABI_MAGIC, 2, 7, sizeof(void *), sizeof(long), 0, 0, 0x020700}",
                          "plugin speaks ABI 2.7 (SDK 2.7.0), this qcore speaks 0.4: rebuild it")

    def test_newer_minor_is_fine(self):
        self.plugin(STAMP % "{QC_ABI_MAGIC, 0, 99, sizeof(void *), sizeof(long), QC_BIG_ENDIAN, 0, 0x6300}")
        self.check(status=0)

    def test_other_pointer_size(self):
        self.expect_stamp("{QC_ABI_MAGIC, QC_ABI_MAJOR, 1, 4, sizeof(long), QC_BIG_ENDIAN, 0, 0x100}",
                          "built with pointers of 4 bytes, this qcore's have 8")

    def test_other_long(self):
        self.expect_stamp("{QC_ABI_MAGIC, QC_ABI_MAJOR, 1, sizeof(void *), 4, QC_BIG_ENDIAN, 0, 0x100}",
                          "built with `long` of 4 bytes, this qcore's has 8")

    def test_no_descriptors(self):
        self.plugin(STAMP.replace("sizeof(qc_plugin), 1, descs", "sizeof(qc_plugin), 0, descs") % "QC_STAMP")
        self.expect("qc_plugin_entry lists 0 descriptors")

    def test_null_descriptor(self):
        self.plugin(METHOD + "QC_PLUGIN(&bad.base, NULL);\n")
        self.expect("descriptor 1 has no size, kind or id")

    def test_nameless_descriptor(self):
        self.plugin(WHOLE.replace('.id = "bad"', ".id = NULL"))
        self.expect("descriptor 0 has no size, kind or id")

    # ---- descriptors ----

    def test_too_small(self):
        self.plugin(WHOLE.replace(".size = sizeof(qc_method_desc)", ".size = 64"))
        self.expect("method bad: its descriptor has 64 bytes, qcore.method/1 needs at least ")

    def test_larger_is_fine(self):
        self.plugin(WHOLE.replace("static const qc_method_desc bad = {\n    .base",
                                  "static const struct { qc_method_desc d; int more; } newer = {{\n    .base")
                    .replace("sizeof(qc_method_desc)", "sizeof(qc_method_desc) + 8").replace("bad_round};", "bad_round}, 7};")
                    .replace("&bad.base", "&newer.d.base"))
        self.check(status=0)

    def test_null_member(self):
        self.plugin(WHOLE.replace(", .round = bad_round", "").replace("static qc_status bad_round", "qc_status bad_round"))
        self.expect("method bad: mandatory member round (or transform) is NULL in its descriptor")

    def encoding(self, members):
        self.plugin("""
            static void decode(const qc_coder *e, float *x, const void *src, size_t n_rows, size_t n_cols)
            {
                (void)e, (void)x, (void)src, (void)n_rows, (void)n_cols;
            }
            static void encode(const qc_coder *e, void *dst, const float *x, const float *f, size_t n_rows, size_t n_cols)
            {
                (void)e, (void)dst, (void)x, (void)f, (void)n_rows, (void)n_cols;
            }
            const qc_ops_encoding ops = {.size = sizeof ops, .decode = decode, .encode = encode};
            const qc_ops_encoding blind = {.size = sizeof blind, .encode = encode};
            const qc_ops_encoding deaf = {.size = sizeof deaf, .decode = decode};
            const qc_ops_encoding older = {.size = 24, .decode = decode, .encode = encode, .fit = (void (*)(const qc_coder *,
                qc_grid *, const float *, const float *, uint32_t, uint32_t))1};
            static const qc_encoding_desc bad = {
                .base = {.size = sizeof(qc_encoding_desc), .kind = QC_KIND_ENCODING, .id = "bad"},
                .block_cols = 32, .block_bytes = 18, .sub_cols = 32, .snap_cols = 1, .lowest = -8, .highest = 7,
                """ + members + "};\nQC_PLUGIN(&bad.base);\n",
                    MANIFEST.replace("method:bad", "encoding:bad") + "bits = 4.5\n", flags=["-w"])

    def test_encoding_members(self):
        for number, (members, message) in enumerate((
                ("", "mandatory member reference is NULL"),
                (".reference = &blind", "mandatory member reference->decode is NULL"),
                (".reference = &deaf", "mandatory member reference->encode (or fit and pack) is NULL"),
                (".reference = &ops, .sub_cols = 5", "sub_cols 5 must divide block_cols 32"),
                (".reference = &ops, .block_cols = 0", "blocks of 0 weights in 18 bytes"),
                (".reference = &ops, .block_bytes = 20", "plugin.ini says bits = 4.5, its library has 5"))):
            with self.subTest(message):
                self.path = self.path / str(number)
                self.encoding(members)
                self.expect("FAIL  encoding:bad", message)

    def test_members_beyond_an_older_table_are_absent(self):
        self.encoding(".reference = &older")
        self.check(status=0)

    # ---- library and manifest ----

    def test_manifest_promises_more(self):
        self.plugin(manifest=MANIFEST + "[method:other]\nsummary = Not there\n")
        self.expect("/bad/plugin.ini: promises [method:other]", "no qcore.method/1 of that id",
                    arguments=["method:other"])

    def test_manifest_says_nothing(self):
        self.plugin(manifest=MANIFEST.replace("method:bad", "method:good"))
        self.expect("libqc_bad.so: carries qcore.method/1 bad, of which ", "plugin.ini says nothing")

    def test_manifest_lies_on_statistics(self):
        self.plugin(manifest=MANIFEST + "statistics = gram\n")
        self.expect("method bad: plugin.ini says statistics = gram, its library does not want gram")

    def test_unknown_kind_beside_a_known_one(self):
        self.plugin(METHOD + """
            static const qc_desc calibrator = {.size = sizeof(qc_desc), .kind = "com.acme.calibrator/1", .id = "c"};
            QC_PLUGIN(&bad.base, &calibrator);
        """, MANIFEST + "[com.acme.calibrator:c]\nsummary = Of another host\n")
        self.assertEqual(self.check("method:bad", status=0), "ok    method:bad\n")
        self.expect("skip  com.acme.calibrator:c  kind 'com.acme.calibrator' is not known to this qcore",
                    arguments=["com.acme.calibrator:c"], status=0)

    def test_newer_revision_of_a_kind(self):
        self.plugin(WHOLE.replace("QC_KIND_METHOD", '"qcore.method/2"'))
        self.expect("promises [method:bad], but", "has no qcore.method/1 of that id (first: qcore.method/2 bad)")

    # ---- where it lies ----

    def test_world_writable_folder(self):
        self.plugin().chmod(0o777)
        self.expect("FAIL  plugin:bad", "/bad: mode 0777 lets others write it; to trust it: chmod go-w")

    def test_world_writable_library(self):
        (self.plugin() / "libqc_bad.so").chmod(0o757)
        self.expect("FAIL  method:bad", "/libqc_bad.so: mode 0757 lets others write it")

    def test_world_writable_search_folder(self):
        self.plugin()
        self.path.chmod(0o777)
        self.expect("mode 0777 lets others write it", arguments=[f"plugin:{self.path}"])

    def test_symlinks_that_leave(self):
        where = self.plugin()
        for name in ("libqc_bad.so", "plugin.ini"):
            with self.subTest(name):
                outside = self.path / f"outside-{name}"
                (where / name).rename(outside)
                (where / name).symlink_to(outside)
                self.expect(f"/bad/{name}: leads out of its folder, to {outside.resolve()}")
                (where / name).unlink()
                outside.rename(where / name)

    def test_symlink_within(self):
        where = self.plugin()
        (where / "libqc_bad.so").rename(where / "libqc_bad.so.1")
        (where / "libqc_bad.so").symlink_to("libqc_bad.so.1")
        self.check(status=0)

    def test_plugin_path(self):
        where = self.plugin()
        for path, message in ((where, "is a plugin itself; name the folder above"),
                              (self.path / "none", "No such file or directory"),
                              (where / "plugin.ini", "not a folder")):
            with self.subTest(message):
                done = qcore.run("plugins", "--plugin-path", path)
                self.assertIn(done.returncode, (2, 5))
                self.assertEqual(done.stderr, f"qcore: error: plugin folder {path}: {message}\n")

    def test_search_path(self):
        """Command line, $QCORE_PLUGIN_PATH, the user's folder, the program's own: first wins; never the current one."""
        home = self.path / "home"
        roots = [self.path / "line", self.path / "first", self.path / "second", home / "qcore" / "plugins"]
        for root in roots:
            self.plugin(None, root=root)
        environment = dict(os.environ, QCORE_PLUGIN_PATH=f"{roots[1]}::{roots[2]}", XDG_DATA_HOME=str(home))

        def found(*arguments, **changes):
            done = qcore.run("plugins", "list", "--json", *arguments, env={**environment, **changes}, cwd=roots[0])
            listed = json.loads(done.stdout)["plugins"]
            self.assertIn("rtn", [p["id"] for p in listed])
            bad = [p for p in listed if p["id"] == "bad"]
            self.assertTrue(all(p["state"] == "shadowed" for p in bad[1:]))
            return [pathlib.Path(p["manifest"]).parents[1] for p in bad]

        self.assertEqual(found("--plugin-path", roots[0]), roots)
        self.assertEqual(found(), roots[1:])
        self.assertEqual(found(QCORE_PLUGIN_PATH=""), roots[3:])
        self.assertEqual(found(QCORE_PLUGIN_PATH="", XDG_DATA_HOME="relative"), [])
        self.assertEqual(found("--plugin-path", "."), [pathlib.Path("."), *roots[1:]])

    # ---- the list ----

    def test_duplicate_id(self):
        first, second = self.path / "first", self.path / "second"
        self.plugin(root=first)
        self.plugin(root=second)
        done = qcore.run("plugins", "list", "--json", "--plugin-path", first, "--plugin-path", second)
        bad = [p for p in json.loads(done.stdout)["plugins"] if p["id"] == "bad"]
        self.assertEqual([p["state"] for p in bad], ["usable", "shadowed"])
        self.assertEqual(bad[1]["why"], f"{first}/bad/plugin.ini has the same id, and is found first")
        self.assertTrue(bad[1]["manifest"].startswith(str(second)))

    def test_a_folder_named_twice_is_one(self):
        self.plugin(root=self.path / "first")
        done = qcore.run("plugins", "list", "--json", "--plugin-path", self.path / "first", "--plugin-path",
                         f"{self.path}/../{self.path.name}/first/")
        self.assertEqual([p["state"] for p in json.loads(done.stdout)["plugins"] if p["id"] == "bad"], ["usable"])

    def test_cpu_filtered(self):
        self.plugin(manifest=MANIFEST + "[requires]\ncpu = x86-v4\n")
        self.expect("skip  method:bad  needs CPU level x86-v4, this one is taken for generic",
                    arguments=["bad", "--cpu-mask", "generic"], status=0)

    def test_needs_a_newer_host(self):
        self.plugin(manifest=MANIFEST.replace("abi = 0.1", "abi = 0.9"))
        self.expect("needs ABI 0.9, this qcore speaks 0.4")

    def test_bad_lines(self):
        for number, (old, new, message) in enumerate((
                ("version = 1.0.0", "version 1.0.0", ":3: neither [section], nor key = value, nor comment"),
                ("name = bad\n", "name = bad\nname = worse\n", ":3: 'name' again; line 2 has it"),
                ("library = qc_bad", "library = ../qc_bad", ":5: library is '../qc_bad', want letters"),
                ("[method:bad]", "[method:bad", ":8: section header without ']'"),
                ("[method:bad]", "[setting:bad.x]", ":9: [setting:bad.x]: no section [kind:bad]"),
                ("summary = Broken", "summary = " + "x" * 300, ":9: line of "),
                ("summary = Broken", "summary = \x1b[2J", ":9: control character 0x1b"),
                ("summary = Broken", "needs = x", ": [method:bad] has no summary"),
                ("license = MIT\n", "", ": [plugin] has no license"))):
            with self.subTest(message):
                root = self.path / str(number)
                where = self.plugin(None, MANIFEST.replace(old, new), root=root)
                done = qcore.run("plugins", "list", "--broken", "--plugin-path", root)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertIn(f"broken: {where}/plugin.ini{message}", done.stdout)

    def test_unknown_key_is_a_warning(self):
        self.plugin(manifest=MANIFEST + "colour = red\n")
        done = qcore.run("plugins", "show", "method:bad", "--plugin-path", self.path)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(done.stderr, f"qcore: warning: {self.path}/bad/plugin.ini:10: unknown key 'colour' in "
                                      "[method:bad] is ignored\n")

    def test_checks_as_json(self):
        self.plugin(None)
        done = qcore.run("plugins", "check", "bad", "rtn", "--json", "--plugin-path", self.path)
        self.assertEqual(done.returncode, 3)
        results = {check["id"]: check["result"] for check in json.loads(done.stdout)["checks"]}
        self.assertEqual(results, {"bad": "fail", "rtn": "ok"})

    # ---- in a recipe ----

    def recipe(self, method):
        path = self.path / "recipe.yaml"
        path.write_text(json.dumps({
            "model": {"path": str(ROOT / "tests/models/tale")}, "plugins": {"path": [str(self.path)]},
            "quantize": {"preset": "Q4_0", "methods": [method]}, "output": {"path": str(self.path / "out.gguf")}}))
        return qcore.run("-c", path)

    def test_a_recipe_that_names_a_broken_one_stops(self):
        self.plugin(STAMP % "{QC_ABI_MAGIC, 2, 7, sizeof(void *), sizeof(long), 0, 0, 0x020700}")
        done = self.recipe("bad")
        self.assertEqual(done.returncode, 3)
        self.assertIn("method bad cannot be used: ", done.stderr)
        self.assertIn("plugin speaks ABI 2.7", done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1)
        self.assertFalse((self.path / "out.gguf").exists())

    def test_a_recipe_that_does_not_gets_one_line(self):
        self.plugin(None)
        done = self.recipe("rtn")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr, r"(?m)^qcore: warning: a plugin is unusable: .*libqc_bad\.so.*$")
        self.assertEqual(done.stderr.count("warning"), 1)

    def test_a_misspelt_one_is_corrected(self):
        done = self.recipe("rnt")
        self.assertEqual(done.returncode, 2)
        self.assertIn("no method 'rnt'; did you mean 'rtn'?", done.stderr)


if __name__ == "__main__":
    unittest.main()
