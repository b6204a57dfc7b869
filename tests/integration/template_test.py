"""The template of the SDK, built as a stranger would: outside of the tree, against a build folder and an installation."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import qcore  # noqa: E402

BUILD = pathlib.Path(os.environ.get("QCORE_BUILD", ROOT / "build")).absolute()


def command(*arguments, **options):
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}")
    return done.stdout


class Template(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.source = self.folder / "clip"
        shutil.copytree(ROOT / "sdk" / "template", self.source)

    def build(self, prefix):
        build = self.source / "build"
        environment = dict(os.environ, CMAKE_PREFIX_PATH=str(prefix))
        command("cmake", "-S", self.source, "-B", build, "-DQCORE_WERROR=ON", env=environment)
        command("cmake", "--build", build)
        return build

    def check(self, prefix, program):
        build = self.build(prefix)
        shown = json.loads(command(program, "plugins", "show", "method:clip", "--json", "--plugin-path", build))
        plugin, = shown["plugins"]
        self.assertEqual(plugin["state"], "usable")
        setting, = plugin["settings"]
        self.assertEqual((setting["name"], setting["type"], setting["default"], setting["min"], setting["max"]),
                         ("limit", "float", 20, 1, 1000))
        self.assertIn("ok    method:clip", command(program, "plugins", "check", "clip", "--plugin-path", build))
        self.assertIn("100% tests passed", command("ctest", "--test-dir", build))
        symbols = command("nm", "-D", "--defined-only", build / "lib/qcore/plugins/clip/libqc_clip.so").split()
        self.assertEqual(symbols[2::3], ["qc_plugin_entry"])
        return build

    def test_against_the_build_tree(self):
        self.check(BUILD, qcore.PROGRAM)

    def test_against_an_installation(self):
        prefix = self.folder / "prefix"
        command("cmake", "--install", BUILD, "--prefix", prefix)
        program = prefix / "bin" / "qcore"
        build = self.check(prefix, program)
        command("cmake", "--install", build, "--prefix", prefix)
        listed = json.loads(command(program, "plugins", "list", "--kind", "methods", "--json"))
        clip, = [p for p in listed["plugins"] if p["id"] == "clip"]
        self.assertEqual(clip["manifest"], str(prefix / "lib/qcore/plugins/clip/plugin.ini"))

    def test_without_cmake(self):
        for prefix in (BUILD, self.folder / "prefix"):
            if prefix != BUILD:
                command("cmake", "--install", BUILD, "--prefix", prefix)
            environment = dict(os.environ, PKG_CONFIG_PATH=str(prefix / "lib/pkgconfig"))
            flags = command("pkg-config", "--cflags", "qcore", env=environment).split()
            folder = self.folder / prefix.name / "alone" / "clip"
            folder.mkdir(parents=True)
            shutil.copy(self.source / "plugin.ini", folder)
            command(os.environ.get("CC", "cc"), "-std=c11", "-O2", "-ffp-contract=off", "-fPIC", "-shared",
                    "-fvisibility=hidden", *flags, self.source / "clip.c", "-o", folder / "libqc_clip.so")
            self.assertIn("ok    method:clip",
                          command(qcore.PROGRAM, "plugins", "check", "clip", "--plugin-path", folder.parent))

    def test_in_a_recipe(self):
        """Uninstalled, with its setting; a wide limit changes nothing, a narrow one does."""
        build = self.build(BUILD)
        model = ROOT / "tests" / "models" / "tale"
        outputs = []
        for name, method in (("rtn", "rtn"), ("wide", {"clip": {"limit": 1000}}), ("narrow", {"clip": {"limit": 2}})):
            outputs.append(self.folder / f"{name}.gguf")
            recipe = {"model": {"path": str(model)}, "plugins": {"path": [str(build)]},
                      "quantize": {"preset": "Q4_0", "methods": [method]}, "output": {"path": str(outputs[-1])}}
            path = self.folder / f"{name}.yaml"
            path.write_text(json.dumps(recipe, indent=2))
            command(qcore.PROGRAM, "-q", "-c", path)
        rtn, wide, narrow = [len(p.read_bytes()) for p in outputs]
        self.assertGreater(rtn, 1000)
        tail = 100_000  # weights; the metadata before them names the method
        rtn, wide, narrow = [p.read_bytes()[-tail:] for p in outputs]
        self.assertEqual(rtn, wide)
        self.assertNotEqual(rtn, narrow)

    def test_a_wrong_setting_is_named(self):
        build = self.build(BUILD)
        recipe = self.folder / "r.yaml"
        recipe.write_text(json.dumps({
            "model": {"path": str(ROOT / "tests/models/tale")}, "plugins": {"path": [str(build)]},
            "quantize": {"preset": "Q4_0", "methods": [{"clip": {"limit": 0}}]},
            "output": {"path": str(self.folder / "o.gguf")}}))
        done = qcore.run("-c", recipe)
        self.assertEqual(done.returncode, 2)
        self.assertIn("method clip: setting 'limit' is '0', want a number from 1 to 1000", done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1)


if __name__ == "__main__":
    unittest.main()
