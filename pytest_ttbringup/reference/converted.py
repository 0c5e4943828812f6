"""A copy on disk of a model converted from GGUF, so that it is read and dequantized once.

For SmolLM2 transformers takes 15 to 20 s to read the GGUF (it parses the vocabulary three times), and 2 s to read the
copy, of which 0.4 s go into checking it. The copy is an ordinary Hugging Face folder: fp32 safetensors (538 MB),
configuration, tokenizer.
"""

from __future__ import annotations

import glob
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

from pytest_ttbringup.errors import BringupError

FORMAT = 1  # of the copy; a change makes all older copies stale
MANIFEST = "manifest.json"
BLOCK = 1 << 20


def converted_folder(
    source: Path, cache_dir: Path, build: Callable[[Path], None], progress: Callable[[str], None]
) -> Path:
    """The folder in `cache_dir` with the copy of `source`; `build(folder)` makes it if there is none or it is damaged.

    Its name changes with the content of `source` and the versions of transformers and gguf. Several processes may ask
    at once: one builds.

    Raises:
        BringupError: `source` can't be read, or `cache_dir` can't be written.
    """
    try:
        folder = cache_dir / "reference" / f"{source.stem}-{_key(source)}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(folder.name + ".lock")):
            if folder.exists():
                problem = _problem(folder)
                if not problem:
                    return folder
                progress(f"the converted copy of {source.name} in {folder} is damaged ({problem}): making it again")
                shutil.rmtree(folder)
            for left in folder.parent.glob(f".{glob.escape(folder.name)}.*"):  # by a process that was killed
                shutil.rmtree(left)
            _make(folder, build)
        return folder
    except OSError as error:
        raise BringupError(
            f"The converted copy of {source.name} can't be kept in {cache_dir}: {error.strerror or error}. "
            "It takes four bytes per weight. Free space there, or give another folder with --tt-cache=DIR."
        ) from error


def _make(folder: Path, build: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        build(made)
        sums = {file.name: _sha256(file) for file in sorted(made.iterdir())}
        (made / MANIFEST).write_text(json.dumps(sums, indent=1), encoding="utf-8")
        made.rename(folder)


def _problem(folder: Path) -> str:
    """What is wrong with the copy; empty when it is as it was written."""
    try:
        sums = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        changed = [name for name, sum_ in sums.items() if _sha256(folder / name) != sum_]
    except (OSError, ValueError, AttributeError) as error:
        return str(error)
    return f"{changed[0]} has changed" if changed else ""


def _key(source: Path) -> str:
    parts = (str(FORMAT), _sha256(source), version("transformers"), version("gguf"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
