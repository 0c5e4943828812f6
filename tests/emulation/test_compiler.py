"""The compiler stand-in keeps the contract that TT-Metal's build expects."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from pytest_ttbringup.emulation.compiler import COMPILER_PATH, install_compiler
from pytest_ttbringup.emulation.elf import empty_program


@pytest.fixture
def compiler(tmp_path: Path) -> Path:
    install_compiler(tmp_path)
    return tmp_path / COMPILER_PATH


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_program_reads_back_as_a_riscv_executable() -> None:
    elf = ELFFile(io.BytesIO(empty_program()))
    assert (elf["e_machine"], elf["e_type"], elf.elfclass, elf.little_endian) == ("EM_RISCV", "ET_EXEC", 32, True)
    text, data = elf.iter_segments()
    assert (text["p_type"], text["p_vaddr"]) == ("PT_LOAD", elf["e_entry"])
    assert data["p_paddr"] == text["p_paddr"] + text["p_filesz"]
    assert text.data() == elf.get_section_by_name(".text").data()
    assert data.data() == elf.get_section_by_name(".data").data()
    relocations = elf.get_section_by_name(".rela.text")
    assert relocations["sh_type"] == "SHT_RELA"
    assert elf.get_section(relocations["sh_info"]).name == ".text"


def test_a_link_writes_the_program(compiler: Path, tmp_path: Path) -> None:
    assert run(compiler, "-O3", "a.o", "b.o", "-o", tmp_path / "kernel.elf").returncode == 0
    assert (tmp_path / "kernel.elf").read_bytes() == empty_program()


@pytest.mark.parametrize("how", [["-c"], ["-x", "c++-header"]])
def test_compiling_writes_an_object_and_its_dependencies(compiler: Path, tmp_path: Path, how: list[str]) -> None:
    made = run(compiler, *how, "kernel.cc", "-o", tmp_path / "kernel.o", "-MF", tmp_path / "kernel.d")
    assert made.returncode == 0
    assert (tmp_path / "kernel.o").is_file()
    assert (tmp_path / "kernel.d").read_text() == f"{tmp_path / 'kernel.o'}: kernel.cc\n"


def test_it_tells_its_version(compiler: Path) -> None:
    assert "stand-in" in run(compiler, "--version").stdout


def test_no_output_named_is_an_error(compiler: Path) -> None:
    refused = run(compiler, "-c", "kernel.cc")
    assert refused.returncode == 1
    assert "no -o FILE" in refused.stderr
