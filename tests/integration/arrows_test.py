"""The design's arrows: who may include whom, what the core may not know, what a built plugin may not contain."""

import configparser
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("QCORE_BUILD", ROOT / "build")).absolute()
SANITIZED = bool(os.environ.get("QCORE_SANITIZE"))

C_HEADERS = set("assert ctype errno float inttypes limits locale math setjmp signal stdarg stdatomic stdbool stddef stdint "
                "stdio stdlib string strings time".split())
POSIX_HEADERS = set("dirent dlfcn fcntl fnmatch getopt pthread sys/auxv sys/ioctl sys/mman sys/resource sys/stat sys/statvfs "
                    "sys/types sys/wait termios unistd".split())
CORE_LIBRARIES = {"ini", "yaml", "jansson", "cpuid", "mach-o/dyld", "sys/sysctl"}
LIBRARY_HEADERS = {"PkgConfig::jansson": {"jansson"}, "PkgConfig::pcre2": {"pcre2"},
                   "PkgConfig::utf8proc": {"utf8proc"}, "PkgConfig::openblas": {"cblas"}}
INTRINSICS = {"immintrin", "arm_neon"}

# Words that the core uses in a sense of its own although a plugin has the same id.
CORE_WORDS = {
    "f32": "what generated vectors and unquantized weights are",
    "imatrix": "the recipe's key calibration.imatrix",
    "gguf": "the manifest's key gguf of an architecture",
    "neon": "a CPU level",
    "i32": "what token ids are stored as",
    "text": "what models are run on",
    "tokens": "what texts are cut into",
}

# The functions whose sums are defined with one fused multiply-add a term: those of plugins/backends/dense/kernels.c, and
# the definition itself, where fmaf is an instruction.
MAY_FUSE = {
    "avx2": {"dense_subtract"} | {f"tile_{rows}" for rows in range(1, 7)},
    "avx512": {"dense_subtract"} | {f"tile_{rows}" for rows in range(1, 15)},
    "neon": {"dense_subtract"} | {f"tile_{rows}" for rows in range(1, 7)},
}
MAY_FUSE_ON_ARM = {"scalar": {"multiply_rows", "gram_rows", "cholesky"}}

# Instructions that round once where a*b+c in the source rounds twice, of all families; and estimates of 1/x and 1/sqrt(x),
# which are each processor's own.
FUSED = re.compile(
    r"\b(vfn?m(?:add|sub)\w+|vfm(?:addsub|subadd)\w+|v?rcp(?:14|28)?[ps][sd]|v?rsqrt(?:14|28)?[ps][sd]|vdpbf16ps"
    r"|fn?m(?:add|sub)|fn?ml[as]\w*|fn?m(?:ad|sb)|b?f[cm]?mla\w*|b?fdot|frecp[es]|frsqrt[es])\b")
ELF_ARM = 183

# Not built where a library is missing, or for other families of machines.
OPTIONAL_PLUGINS = {"blas", "avx2", "avx512", "neon"}

# Variables that come with the compiler's start-up files.
COMPILERS_OWN = {"__dso_handle", "__TMC_END__", "completed.0", "__aarch64_have_lse_atomics"}

# Of the machine that the build is for.
OBJDUMP = os.environ.get("OBJDUMP", "objdump")
NM = os.environ.get("NM", "nm")

FORBIDDEN_CALLS = set("printf puts putchar fprintf fputs fputc fwrite perror fopen open creat exit _exit abort pthread_create "
                      "signal sigaction setlocale dlopen getenv setenv system fork execve socket rand srand time "
                      "longjmp".split())


def sources(folder, *endings):
    return sorted(p for p in (ROOT / folder).rglob("*") if p.suffix in (endings or (".c", ".h")) and p.is_file())


def includes(path):
    """(bracket, name) of every #include."""
    return re.findall(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', path.read_text(), re.M)


def manifests():
    for path in sorted(ROOT.glob("plugins/*/*/plugin.ini")):
        parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=(";",))
        parser.read_string(path.read_text())
        yield path, parser


def string_literals(text):
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.S)
    text = re.sub(r"^\s*#\s*include.*$", "", text, flags=re.M)
    return re.findall(r'"((?:[^"\\]|\\.)*)"', text)


class Includes(unittest.TestCase):
    def test_sdk(self):
        for path in sources("sdk/include"):
            for bracket, name in includes(path):
                with self.subTest(f"{path.relative_to(ROOT)}: {name}"):
                    if bracket == '"':
                        self.assertRegex(name, r"^qcore/\w+\.h$")
                        self.assertTrue((ROOT / "sdk/include" / name).exists())
                    else:
                        allowed = C_HEADERS | INTRINSICS | ({"jansson"} if path.name == "json.h" else set())
                        self.assertIn(name.removesuffix(".h"), allowed)

    def test_plugins(self):
        for path in sources("plugins"):
            cmake = (path.parent / "CMakeLists.txt").read_text()
            declared = set().union(*[h for lib, h in LIBRARY_HEADERS.items() if lib in cmake], set())
            for bracket, name in includes(path):
                with self.subTest(f"{path.relative_to(ROOT)}: {name}"):
                    if bracket == "<":
                        self.assertIn(name.removesuffix(".h"), C_HEADERS | INTRINSICS | declared)
                    elif name.startswith("qcore/"):
                        self.assertTrue((ROOT / "sdk/include" / name).exists())
                        if name == "qcore/json.h":
                            self.assertIn("PkgConfig::jansson", cmake)
                    else:
                        self.assertNotIn("/", name)
                        shared = re.findall(r"^include\(\.\./(\w+)/CMakeLists\.txt\)", cmake, re.M)
                        folders = [path.parent, *(path.parent.parent / folder for folder in shared)]
                        self.assertTrue(any((folder / name).exists() for folder in folders))

    def test_core(self):
        for path in sources("core"):
            for bracket, name in includes(path):
                with self.subTest(f"{path.relative_to(ROOT)}: {name}"):
                    if bracket == '"':
                        self.assertRegex(name, r"^(core|qcore)/\w+\.h$")
                    else:
                        self.assertIn(name.removesuffix(".h"), C_HEADERS | POSIX_HEADERS | CORE_LIBRARIES)

    def test_nothing_includes_tests(self):
        names = {p.name for p in sources("tests", ".h")}
        for path in sources("core") + sources("plugins") + sources("sdk"):
            for bracket, name in includes(path):
                self.assertNotIn(name, names, path)
                self.assertNotIn("tests/", name, path)

    def test_core_holds_no_intrinsics(self):
        for path in sources("core"):
            self.assertNotRegex(path.read_text(), r"_mm\d*_|__m(128|256|512)|float32x4_t", path)

    def test_files_are_small(self):
        for path in sources("core") + sources("plugins") + sources("sdk"):
            with self.subTest(path.relative_to(ROOT)):
                self.assertLess(len(path.read_text().splitlines()), 600)


class CoreNamesNoPlugin(unittest.TestCase):
    def test_string_literals(self):
        ids = {section.split(":", 1)[1] for _, m in manifests() for section in m.sections()
               if ":" in section and not section.startswith("setting:")}
        ids |= {m["plugin"]["name"] for _, m in manifests()}
        self.assertGreater(len(ids), 20)
        for path in sources("core"):
            for text in string_literals(path.read_text()):
                # Help texts name plugins as examples, as they must: usage, and what is indented in a command's help.
                if re.match(r"\s+qcore |.*, as in: qcore ", text) or (path.stem.startswith("cmd_") and text.startswith("  ")):
                    continue
                text = re.sub(r"llama-\w+|llama\.cpp", "", text)  # others' programs
                text = re.sub(r"\bmatrix\.gemm=\w+", "", text)  # the example of an option
                for word in re.findall(r"[A-Za-z0-9_]+", text):
                    if word in CORE_WORDS and text == word:
                        continue
                    with self.subTest(f"{path.relative_to(ROOT)}: {text}"):
                        self.assertNotIn(word, ids - set(CORE_WORDS) if text != word else ids)


class HeadersCompileAlone(unittest.TestCase):
    FLAGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror", "-fsyntax-only", "-I",
             str(ROOT / "sdk/include")]

    def compile_all(self, compilers, language, standard, suffix):
        compilers = [c for c in compilers if shutil.which(c)]
        if not compilers:
            self.skipTest(f"no {language} compiler")
        with tempfile.TemporaryDirectory() as folder:
            for header in sorted((ROOT / "sdk/include/qcore").glob("*.h")):
                source = pathlib.Path(folder) / f"{header.stem}.{suffix}"
                source.write_text(f'#include "qcore/{header.name}"\n#include "qcore/{header.name}"\n'
                                  "typedef int not_empty;\n")
                for compiler in compilers:
                    with self.subTest(f"{compiler} {header.name}"):
                        done = subprocess.run([compiler, f"-std={standard}", *self.FLAGS, str(source)],
                                              capture_output=True, text=True)
                        self.assertEqual(done.returncode, 0, done.stderr)

    def test_c11(self):
        self.compile_all(["gcc", "clang"], "C", "c11", "c")

    def test_cxx17(self):
        self.compile_all(["g++", "clang++"], "C++", "c++17", "cc")

    def test_entry_from_cxx(self):
        """A plugin may be C++: QC_PLUGIN has C linkage there."""
        if not shutil.which("g++"):
            self.skipTest("no C++ compiler")
        with tempfile.TemporaryDirectory() as folder:
            source = pathlib.Path(folder) / "p.cc"
            source.write_text('#include "qcore/ops.h"\nstatic const qc_backend_desc b = {{sizeof(qc_backend_desc), 0, '
                              'QC_KIND_BACKEND, "b", nullptr}, 1, nullptr};\nQC_PLUGIN(&b.base);\n')
            library = pathlib.Path(folder) / "p.so"
            subprocess.run(["g++", "-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fPIC", "-shared",
                            "-fvisibility=hidden", "-I", ROOT / "sdk/include", source, "-o", library], check=True)
            symbols = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True).stdout
            self.assertIn(" qc_plugin_entry\n", symbols)


@unittest.skipUnless(shutil.which(OBJDUMP) and (BUILD / "lib/qcore/plugins").is_dir(), "needs binutils and a build")
class BuiltPlugins(unittest.TestCase):
    def libraries(self):
        found = sorted((BUILD / "lib/qcore/plugins").glob("*/libqc_*.so"))
        names, built = {m["plugin"]["name"] for _, m in manifests()}, {p.parent.name for p in found}
        self.assertEqual(built - names, set())
        self.assertLessEqual(names - built, OPTIONAL_PLUGINS)
        return found

    def test_no_fused_multiply_add(self):
        """-ffp-contract=off reached every file; one fused instruction would make the bits hang on the CPU."""
        for path in [BUILD / "bin/qcore", *self.libraries()]:
            with self.subTest(path.name):
                code = subprocess.run([OBJDUMP, "-d", "--no-show-raw-insn", path], capture_output=True, text=True).stdout
                self.assertGreater(code.count("\n"), 100)
                fused = {}  # function: first such instruction
                for function, body in re.findall(r"^[0-9a-f]+ <([^>]+)>:\n((?:.+\n)*)", code, re.M):
                    found = FUSED.search(body)
                    if found:
                        fused[function] = found[0]
                on_arm = int.from_bytes(path.read_bytes()[18:20], "little") == ELF_ARM  # e_machine
                allowed = (MAY_FUSE | (MAY_FUSE_ON_ARM if on_arm else {})).get(path.parent.name, set())
                self.assertEqual(set(fused) - allowed, set(), fused)
                self.assertLessEqual(allowed, set(fused), "the allowance is for functions that do not need it")

    def test_one_exported_symbol(self):
        for path in self.libraries():
            with self.subTest(path.name):
                lines = subprocess.run([NM, "-D", "--defined-only", path], capture_output=True, text=True).stdout
                names = [line.split()[-1] for line in lines.splitlines()]
                self.assertEqual([n for n in names if not n.startswith("__")], ["qc_plugin_entry"])

    @unittest.skipIf(SANITIZED, "the sanitizers call much")
    def test_no_forbidden_calls(self):
        for path in self.libraries():
            with self.subTest(path.name):
                lines = subprocess.run([NM, "-D", "--undefined-only", path], capture_output=True, text=True).stdout
                names = {line.split()[-1].split("@")[0] for line in lines.splitlines()}
                self.assertEqual(names & FORBIDDEN_CALLS, set())

    @unittest.skipIf(SANITIZED, "the sanitizers have state")
    def test_no_mutable_globals(self):
        """Nothing in .data or .bss but what the compiler's own start-up files bring; tables of pointers are relocated
        once and read-only then (.data.rel.ro)."""
        for path in self.libraries():
            with self.subTest(path.name):
                lines = subprocess.run([OBJDUMP, "-t", path], capture_output=True, text=True).stdout
                objects = [line for line in lines.splitlines() if re.search(r"\s(\.data|\.bss|\.tdata|\.tbss)\s", line)
                           and re.search(r" O ", line)]
                names = [line.split()[-1] for line in objects]
                self.assertEqual([n for n in names if n not in COMPILERS_OWN], [])


if __name__ == "__main__":
    unittest.main()
