"""qcore tokenize: the ids that Hugging Face's own code gives, out of a folder and out of a GGUF file alike."""

import json
import pathlib
import sys
import tempfile
import unittest

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "fixtures")]

import make_random_models
import qcore

AWKWARD = json.loads((TESTS / "fixtures" / "awkward.json").read_text())
TALE = TESTS / "models" / "tale"
# one model for each tokenizer of tests/fixtures that a model there has
MODELS = {"llama": "spm", "llama-rope-llama3": "llama3", "qwen2": "qwen2", "tale": "tale"}
SOME = AWKWARD[::17]


def expected_of(tokenizer):
    return json.loads((TESTS / "fixtures" / "expected_ids" / f"{tokenizer}.json").read_text())


class TokenizerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.scratch.name)

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def source(self, name):
        folder = self.folder / name
        if name == "tale":
            return TALE
        return folder if folder.exists() else make_random_models.write_model(name, folder)

    def converted(self, name):
        file = self.folder / f"{name}.gguf"
        return file if file.exists() else qcore.convert(self.source(name), file, "F16", self.folder / "recipe.yaml")

    def tokenize(self, model, text, *options):
        path = self.folder / "text"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        process = qcore.run("tokenize", model, "--text", path, "--json", *options)
        self.assertEqual((process.returncode, process.stderr), (0, ""))
        return json.loads(process.stdout)

    def test_ids(self):
        for name, tokenizer in MODELS.items():
            expected = expected_of(tokenizer)
            for model in (self.source(name), self.converted(name)):
                with self.subTest(model=model):
                    for text in SOME:
                        got = self.tokenize(model, text, "--bare")
                        self.assertEqual(got["ids"], expected["plain"][AWKWARD.index(text)], ascii(text))
                    for text, ids in expected["parsed"]:
                        self.assertEqual(self.tokenize(model, text, "--special")["ids"], ids, ascii(text))

    def test_pieces(self):
        answer = self.tokenize(TALE, "One foggy day Lena lost a flute.", "--bare")
        self.assertEqual("".join(answer["pieces"]), "One foggy day Lena lost a flute.")
        self.assertEqual(answer["tokens"], len(answer["ids"]))
        self.assertEqual(answer["bytes"], 32)

    def test_lines(self):
        process = qcore.run("tokenize", TALE, "--bare", "--string", 'a"\n\u6cb3')
        lines = [line.split(None, 1) for line in process.stdout.splitlines()]
        self.assertTrue(all(line[0].isdigit() for line in lines), process.stdout)
        self.assertEqual(lines[1][1], '"\\""')
        self.assertIn('"\\n"', [line[1] for line in lines])
        self.assertIn("  <|bos|>\n", qcore.run("tokenize", TALE, "--string", "a").stdout)
        self.assertIn('"\\xe6"', [line[1] for line in lines], "bytes of a character that has no token")

    def test_any_bytes(self):
        for name in MODELS:
            answer = self.tokenize(self.source(name), bytes(range(256)) * 3, "--bare")
            self.assertGreater(answer["tokens"], 256)

    def test_empty(self):
        self.assertEqual(self.tokenize(TALE, b"", "--bare")["ids"], [])

    def refuse(self, status, part, *arguments):
        process = qcore.run("tokenize", *arguments)
        self.assertEqual((process.returncode, process.stdout), (status, ""), process.stderr)
        self.assertRegex(process.stderr, r"\Aqcore: error: .*\n\Z")
        self.assertIn(part, process.stderr)

    def test_mistakes(self):
        self.refuse(2, "no model given")
        self.refuse(2, "name one text", TALE)
        self.refuse(2, "name one text", TALE, "--string", "a", "--text", "b")
        self.refuse(5, "nowhere.txt", TALE, "--text", self.folder / "nowhere.txt")
        self.refuse(5, "nowhere", self.folder / "nowhere", "--string", "a")

    def edit_gguf(self, old, new):
        """A GGUF file in which a text has become another of the same length."""
        file = self.folder / "edited.gguf"
        data = self.converted("tale").read_bytes()
        self.assertEqual(len(old), len(new))
        self.assertIn(old, data)
        file.write_bytes(data.replace(old, new))
        return file

    def test_bad_metadata(self):
        key = b"tokenizer.ggml."
        for old, new, status, part in (
            (b"\x05\0\0\0\0\0\0\0qwen2", b"\x05\0\0\0\0\0\0\0qwen3", 3, "unknown pre-tokenizer 'qwen3'"),
            (b"\x04\0\0\0\0\0\0\0gpt2", b"\x04\0\0\0\0\0\0\0bert", 3, "no plugin encodes texts"),
            (key + b"model", key + b"modem", 2, "no tokenizer"),
            (key + b"merges", key + b"mergex", 4, "no tokenizer.ggml.merges"),
            (key + b"tokens", key + b"tokenz", 4, "no tokenizer.ggml.tokens"),
        ):
            with self.subTest(part=part):
                self.refuse(status, part, self.edit_gguf(old, new), "--string", "a")


if __name__ == "__main__":
    unittest.main()
