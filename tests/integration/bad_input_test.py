"""Bad input and bad surroundings: one clear line, the right exit code, nothing left behind.

    QCORE=build/bin/qcore python3 tests/integration/bad_input_test.py

Cases come from tests/support/broken.py. A failing one can be laid out for a closer look:

    python3 tests/integration/bad_input_test.py --lay-out FOLDER [PART OF ITS NAME]
"""

import concurrent.futures
import os
import pathlib
import re
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import unittest

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "fixtures")]

import broken
import qcore

EXIT_CODES = range(2, 8)  # 1 is a bug, see `qcore --help`
SANITIZER = re.compile(r"Sanitizer|runtime error:")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
SECONDS = 60


def snapshot(folder):
    """Every path below a folder, with the bytes of each file."""
    return {path.relative_to(folder): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def complaints_about(process):
    """What is wrong with how a failed run ended and with what it said."""
    if SANITIZER.search(process.stderr):
        yield "a sanitizer spoke"
    if process.returncode not in EXIT_CODES:
        yield f"exit status {process.returncode}"
    lines = process.stderr.splitlines()
    if sum(line.startswith("qcore: error: ") for line in lines) != 1:
        yield "not exactly one error line"
    if any(not line.startswith("qcore: ") for line in lines):
        yield "a line that does not begin with 'qcore: '"
    if CONTROL.search(process.stderr):
        yield "control characters"


def complaints_about_files(before, folder, succeeded):
    """An error leaves the folder as it was; success adds one output (a file, or a folder of safetensors)."""
    after = snapshot(folder)
    added = set(after) - set(before)
    outputs = {path for path in added if path.parent not in added}
    if len(outputs) > succeeded:
        yield f"left behind: {sorted(map(str, added))}"
    if any(after.get(path, 0) != content for path, content in before.items()):
        yield "input changed"


def examine(case):
    """What is wrong with the program's answer to a case; "" if nothing is."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        case.build(folder)
        before = snapshot(folder)
        try:
            process = qcore.run("-c", "recipe.yaml", cwd=folder, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return f"{case.kind}: {case.name}: still running after {SECONDS} s"
        succeeded = process.returncode == 0
        found = list(complaints_about_files(before, folder, succeeded))
        if not succeeded:
            found += complaints_about(process)
            if case.names and not any(name in process.stderr for name in case.names):
                found.append(f"the message names none of {', '.join(case.names)}")
        elif case.verdict == broken.ERROR:
            found.append("accepted")
        elif SANITIZER.search(process.stderr):
            found.append("a sanitizer spoke")
    return f"{case.kind}: {case.name}: {'; '.join(found)}\n    {process.stderr.strip()[:2000]}" if found else ""


class BrokenFiles(unittest.TestCase):
    """One method for each kind of file, made below."""

    def examine_all(self, cases):
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            failures = [text for text in pool.map(examine, cases) if text]
        self.assertFalse(failures, f"{len(failures)} of {len(cases)}:\n" + "\n".join(failures))

    def test_there_are_enough_cases(self):
        self.assertGreaterEqual(len(broken.all_cases()), 200)

    def test_the_good_ones_are_good(self):
        for kind in ("bpe", "spm", "sharded", "f16", "f32"):
            with self.subTest(kind), tempfile.TemporaryDirectory() as scratch:
                output = qcore.convert(broken.good(kind), f"{scratch}/model.gguf", "F16", f"{scratch}/recipe.yaml")
                self.assertGreater(os.path.getsize(output), 100000)


class Surroundings(unittest.TestCase):
    """Good input, but the output cannot be written."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)
        (self.folder / "out").mkdir()

    def fails(self, output, names, **options):
        recipe = qcore.write_recipe(self.folder / "recipe.yaml", broken.good("bpe"), output)
        before = snapshot(self.folder)
        process = qcore.run("-c", recipe, timeout=SECONDS, **options)
        found = list(complaints_about_files(before, self.folder, False)) + list(complaints_about(process))
        self.assertFalse(found, f"{found}\n{process.stderr}")
        self.assertTrue(any(str(name) in process.stderr for name in names), process.stderr)
        return process

    def test_file_size_limit(self):
        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))

        self.fails(self.folder / "out" / "model.gguf", ["model.gguf"], preexec_fn=limit)

    def test_full_disk(self):
        disk = self.folder / "disk"
        disk.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", disk], capture_output=True).returncode:
            self.skipTest("no right to mount a small disk")
        self.addCleanup(subprocess.run, ["umount", disk], check=True)
        process = self.fails(disk / "model.gguf", ["model.gguf"])
        self.assertIn("space", process.stderr.lower())

    def test_device_that_is_always_full(self):
        if os.geteuid() != 0:
            self.skipTest("not root, so no device can be made")
        device = self.folder / "out" / "model.gguf"
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 7))  # as /dev/full, which must not be at risk here
        self.fails(device, ["model.gguf"])
        self.assertTrue(device.is_char_device())

    def test_folder_that_cannot_be_written(self):
        self.fails("/proc/model.gguf", ["/proc"])

    def test_folder_of_another_user(self):
        if os.geteuid() != 0:
            self.skipTest("not root, so there is no other user to become")
        os.chmod(self.folder, 0o755)
        for path in broken.good("bpe").parents:
            if path.name.startswith("qcore-broken-"):
                os.chmod(path, 0o755)
        if qcore.run("--help", user=65534).returncode:
            self.skipTest("the other user cannot run the program")
        self.fails(self.folder / "out" / "model.gguf", [self.folder / "out"], user=65534, group=65534, extra_groups=[])

    def test_output_exists(self):
        output = self.folder / "out" / "model.gguf"
        output.write_bytes(b"precious")
        self.fails(output, ["model.gguf"])

    def test_output_is_a_folder_in_use(self):
        (self.folder / "out" / "letter.txt").write_text("precious")
        self.fails(self.folder / "out", ["out"])

    def test_output_is_a_folder_named_like_a_file(self):
        (self.folder / "out" / "model.gguf" / "inner").mkdir(parents=True)
        self.fails(self.folder / "out" / "model.gguf", ["model.gguf"])

    def test_output_through_a_dangling_link(self):
        output = self.folder / "out" / "model.gguf"
        output.symlink_to(self.folder / "nowhere" / "model.gguf")
        recipe = qcore.write_recipe(self.folder / "recipe.yaml", broken.good("bpe"), output)
        process = qcore.run("-c", recipe, timeout=SECONDS)
        self.assertFalse((self.folder / "nowhere").exists())
        if process.returncode:
            self.assertFalse(list(complaints_about(process)), process.stderr)

    def test_output_is_an_input(self):
        model = broken.good("bpe") / "model.safetensors"
        content = model.read_bytes()
        self.fails(model, ["model.safetensors"])
        self.assertEqual(model.read_bytes(), content)


def add_tests():
    kinds = {}
    for case in broken.all_cases():
        kinds.setdefault(case.kind, []).append(case)
    for kind, cases in kinds.items():
        setattr(BrokenFiles, "test_" + re.sub(r"\W", "_", kind), lambda self, cases=cases: self.examine_all(cases))


def lay_out(folder, part=""):
    for number, case in enumerate(case for case in broken.all_cases() if part in f"{case.kind}: {case.name}"):
        place = pathlib.Path(folder) / f"{number:03}"
        place.mkdir(parents=True)
        case.build(place)
        print(f"{place}: {case.kind}: {case.name}")


add_tests()

if __name__ == "__main__":
    if sys.argv[1:2] == ["--lay-out"]:
        lay_out(*sys.argv[2:4])
    else:
        unittest.main()
