"""Which backend runs each kernel: by CPU, by name, one by one; what is said of it, and what is refused."""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import qcore  # noqa: E402

MODEL = pathlib.Path(__file__).resolve().parents[1] / "models/tale"


def plugins(*arguments):
    return subprocess.run([qcore.PROGRAM, "plugins", *arguments], capture_output=True, text=True)


def kernels(*arguments):
    return json.loads(plugins("show", "--ops", "--json", *arguments).stdout)["kernels"]


class Ops(unittest.TestCase):
    def run_with(self, *arguments):
        with tempfile.TemporaryDirectory() as folder:
            return subprocess.run(
                [qcore.PROGRAM, "-q", "-s", f"model.path={MODEL}", "-s", "quantize.preset=Q4_0", "-s",
                 f"output.path={folder}/out.gguf", *arguments], capture_output=True, text=True)

    def test_every_kernel_has_an_owner(self):
        self.assertIn("matrix.gemm", kernels())
        self.assertTrue(all(kernels().values()))
        self.assertEqual(set(kernels("--cpu-mask", "generic").values()), {"scalar"})
        self.assertEqual(set(kernels("--backend", "scalar").values()), {"scalar"})

    def test_list_says_which_runs_and_why_not(self):
        listed = json.loads(plugins("list", "--kind", "backend", "--cpu-mask", "generic", "--json").stdout)["plugins"]
        use = {p["id"]: p["use"] for p in listed}
        self.assertEqual(use["scalar"], "in use: every kernel")
        if "blas" in use:
            self.assertIn("run.exact: false", use["blas"])
        for p in listed:
            if p["state"] == "filtered":
                self.assertIn("needs CPU level", p["why"])

    def test_by_name(self):
        for arguments in (["--backend", "scalar"], ["--backend", "auto"], ["-s", "run.backend=scalar"],
                          ["--ops", "matrix.gemm=scalar", "--ops", "row.sum_squares=scalar"]):
            self.assertEqual(self.run_with(*arguments).returncode, 0, arguments)

    def test_one_that_cannot_be_loaded_says_so(self):
        others = sorted(set(kernels().values()) - {"scalar"})
        if not others:
            self.skipTest("this machine runs the portable kernels alone")
        home = pathlib.Path(qcore.PROGRAM).resolve().parents[1] / "lib/qcore/plugins" / others[0]
        with tempfile.TemporaryDirectory() as folder:
            broken = pathlib.Path(folder, others[0])
            shutil.copytree(home, broken)
            for library in broken.glob("*qc_*"):
                library.unlink()
                library.write_text("no library")
            self.assertEqual(self.run_with("--plugin-path", folder).returncode, 0)
            run = self.run_with("--plugin-path", folder, "--backend", others[0])
        self.assertEqual(run.returncode, 3, run.stderr)
        self.assertRegex(run.stderr, f"error: backend {others[0]}: cannot be loaded")

    def test_plugins_takes_no_option_for_nothing(self):
        for arguments in (["--ops"], ["list", "--backend", "scalar"], ["show", "--ops", "scalar"]):
            done = plugins(*arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn("--ops is for show alone", done.stderr)

    def test_refused_in_one_line(self):
        for arguments, words in ((["--backend", "scalr"], "no backend 'scalr'; did you mean 'scalar'?"),
                                 (["--ops", "gemm"], "'gemm' is no TABLE.ENTRY=BACKEND"),
                                 (["--ops", "matrix.gem=scalar"], "no entry 'matrix.gem'"),
                                 (["--ops", "matrix.gemm=nobody"], "no backend 'nobody'")):
            run = self.run_with(*arguments)
            self.assertEqual(run.returncode, 2, arguments)
            self.assertIn(words, run.stderr)
            self.assertEqual(run.stderr.count("\n"), 1, run.stderr)


if __name__ == "__main__":
    unittest.main()
