"""Run the program under test: environment QCORE, by default build/bin/qcore."""

import json
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("QCORE", ROOT / "build" / "bin" / "qcore")).absolute()


def run(*arguments, timeout=300, **options):
    """The finished process, its output as text (bytes that are not UTF-8 are kept visible)."""
    return subprocess.run(
        [str(PROGRAM), *map(str, arguments)],
        capture_output=True,
        text=True,
        errors="backslashreplace",
        timeout=timeout,
        **options,
    )


def write_recipe(path, model, output, preset="F16", **sections):
    """A recipe in flow style, which is JSON: YAML reads both. output: a path, or the whole section."""
    output = output if isinstance(output, dict) else {"path": str(output)}
    recipe = {"model": {"path": str(model)}, "quantize": {"preset": preset}, "output": output}
    recipe.update(sections)
    pathlib.Path(path).write_text(json.dumps(recipe, indent=2) + "\n")
    return path


def convert(model, output, preset, recipe, **sections):
    """Quantize a model; an AssertionError that says what the program said, if it fails."""
    process = run("-c", write_recipe(recipe, model, output, preset, **sections))
    if process.returncode != 0:
        raise AssertionError(f"qcore ended with status {process.returncode} on {model}:\n{process.stderr}")
    return output
