"""The one RISC-V executable that the compiler stand-in "links".

TT-Metal reads every kernel binary back before it would send it to a core. On the emulated target nothing is ever sent,
so one small valid file serves every processor of Wormhole and Blackhole. What TT-Metal asks of it (measured with ttnn
0.81.1): ELF32, little-endian RISC-V, `ET_EXEC`; the first `PT_LOAD` is text and starts at `e_entry`; `.data` starts the
second `PT_LOAD`, whose physical address follows the text; an `SHT_RELA` section for the text; allocatable sections
4-aligned and inside a segment.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_TEXT_ADDRESS = 0x9000
_DATA_ADDRESS = 0xFFB00000  # the start of a processor's local data memory on both architectures
_NOP = b"\x13\x00\x00\x00"  # addi x0, x0, 0
_EM_RISCV = 243
_ET_EXEC = 2
_PT_LOAD = 1
_SHT_PROGBITS, _SHT_SYMTAB, _SHT_STRTAB, _SHT_RELA = 1, 2, 3, 4
_SHF_WRITE, _SHF_ALLOC, _SHF_EXECINSTR = 1, 2, 4
_HEADER, _PROGRAM_HEADER, _SECTION_HEADER = "<16sHHIIIIIHHHHHH", "<8I", "<10I"


@dataclass(frozen=True)
class _Section:
    name: str
    kind: int
    content: bytes = b""
    flags: int = 0
    address: int = 0
    link: int = 0
    info: int = 0
    entry_size: int = 0


def empty_program() -> bytes:
    """The bytes of a RISC-V executable with four no-operation instructions and one zeroed data word."""
    text, data = _NOP * 4, bytes(4)
    sections = [
        _Section(".text", _SHT_PROGBITS, text, _SHF_ALLOC | _SHF_EXECINSTR, _TEXT_ADDRESS),
        _Section(".rela.text", _SHT_RELA, link=4, info=1, entry_size=12),
        _Section(".data", _SHT_PROGBITS, data, _SHF_ALLOC | _SHF_WRITE, _DATA_ADDRESS),
        _Section(".symtab", _SHT_SYMTAB, bytes(16), link=5, info=1, entry_size=16),
        _Section(".strtab", _SHT_STRTAB, b"\0"),
    ]
    names = b"\0" + b"".join(section.name.encode() + b"\0" for section in sections) + b".shstrtab\0"
    sections.append(_Section(".shstrtab", _SHT_STRTAB, names))

    body = bytearray(struct.calcsize(_HEADER) + 2 * struct.calcsize(_PROGRAM_HEADER))
    offsets = []
    for section in sections:
        body.extend(bytes(-len(body) % 4))
        offsets.append(len(body))
        body.extend(section.content)
    body.extend(bytes(-len(body) % 4))
    section_table = len(body)
    body.extend(struct.pack(_SECTION_HEADER, *[0] * 10))
    for section, offset in zip(sections, offsets, strict=True):
        body.extend(
            struct.pack(
                _SECTION_HEADER,
                names.index(b"\0" + section.name.encode() + b"\0") + 1,
                section.kind,
                section.flags,
                section.address,
                offset,
                len(section.content),
                section.link,
                section.info,
                4,
                section.entry_size,
            )
        )

    text_segment = (_PT_LOAD, offsets[0], _TEXT_ADDRESS, _TEXT_ADDRESS, len(text), len(text), 5, 4)
    data_segment = (_PT_LOAD, offsets[2], _DATA_ADDRESS, _TEXT_ADDRESS + len(text), len(data), len(data), 6, 4)
    header = struct.pack(
        _HEADER,
        b"\x7fELF\x01\x01\x01".ljust(16, b"\0"),
        _ET_EXEC,
        _EM_RISCV,
        1,
        _TEXT_ADDRESS,
        struct.calcsize(_HEADER),
        section_table,
        0,
        struct.calcsize(_HEADER),
        struct.calcsize(_PROGRAM_HEADER),
        2,
        struct.calcsize(_SECTION_HEADER),
        len(sections) + 1,
        len(sections),
    )
    start = header + struct.pack(_PROGRAM_HEADER, *text_segment) + struct.pack(_PROGRAM_HEADER, *data_segment)
    body[: len(start)] = start
    return bytes(body)
