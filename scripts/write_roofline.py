"""Writes docs/roofline.md: `python scripts/write_roofline.py > docs/roofline.md` (about a minute)."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

EXAMPLES = (("smollm2-135m", "n150"), ("llama-3.1-8b", "n150"), ("llama-3.1-8b", "n300"))

HEAD = """\
# What a model will run at, at best

Written by `python scripts/write_roofline.py > docs/roofline.md`, with ttnn {ttnn}. Nothing on this page was measured
by this project; every figure is a bound computed in that run, or a published one and named as such.

## How it is computed

`ttbringup roofline` builds the ladder's TT-NN model, all layers of it, on TT-Metal's mock cluster, with every weight
and KV cache allocated and none written. TT-NN checks, allocates and selects programs as ever, and its own graph
capture tells which device operations a decode step and a prefill issue, with shapes, formats, memory and math
fidelity. Of each:

- **bytes of DRAM**: operands in DRAM are read once, results written once; what is in L1 is free. Of an embedding
  table the rows looked up, of a KV cache the tiles up to the position. A tile of 1024 values is 2048 bytes in
  bfloat16, 1088 in bfloat8_b, 576 in bfloat4_b.
- **operations of the matrix unit**: 2MNK of a matmul, on whole tiles; both products of attention, of the positions
  attended to, half of the square if it is causal. Norms, rotary embedding and element-wise operations count their
  bytes only: the vector unit's peak is not published.
- **bytes between chips**: (N - 1) / N of the tensor for a reduce_scatter or all_gather of N chips, over the links to
  a neighbour (both ways for more than two chips, as in a ring).

Its least time is the longest of bytes / DRAM bandwidth, operations / (peak / phases of the fidelity), bytes /
Ethernet bandwidth, with all cores of the chip busy. A step is the sum, since a command queue runs operations one
after another; the figure "if all operations overlapped" is what not even a perfect prefetch of weights could beat.
Every count is a lower one and every peak an upper one, so the speed is an upper bound *for the operations issued*;
another implementation may issue others. Time between operations, latencies of collectives and of the host are not in
it.

In tensor parallel the mesh has all chips of a copy, and what TT-NN issues on each of them is recorded, its collectives
included. `--residual=fractured` lets each chip keep only its columns of the hidden state, as TT-NN's own LLM code does
and as 8192 columns must be kept: TT-NN's RMSNorm does not take them on one core.

Peaks and their sources are in `pytest_ttbringup/planning/roofline/peaks.py`: Tenstorrent's specifications of the
cards, the matrix unit of TT-Metal's report on matrix multiply FLOPS, the links of its report on collective bandwidth.
For a Galaxy and a p300 no published cores and clock were found, and they are refused.

With `--profile=ops_perf_results_….csv` (TT-Metal's profiler, the file `tt-perf-report` reads) what a device measured
stands beside the bound, matched by the names of operations in their order; an operation that was faster than its
bound is flagged, because then one of the two is wrong. `--format=json` has everything unrounded.

## Checked against published figures

`benchmarks/roofline_published.py`: speeds that Tenstorrent published for Llama models, beside the bound at position
128 (README: tenstorrent/tt-metal, `models/README.md`, last update 3 November 2025; PERF:
`models/tt_transformers/PERF.md`). No published figure may be above its bound;
`tests/planning/roofline/test_published.py` holds them to it, and with a tenth of the bandwidth every figure of one
chip would be. PERF's performance models have part of the MLP in bfp4 (of README's it is not stated); they are laid
against all of it in bfloat4_b at LoFi. Their implementation issues other operations than the ladder's, but must read
the same weights. Several chips keep the residual fractured here.

{published}

On one chip, TT-Metal's own models reach 44 to 70 % of the bound for 3 and 8 billion parameters, and about 30 % for
one billion, where time between and within small operations counts. With more chips the share falls: the bound has no
latency of collectives. Of the published times to the first token, the bound is 12 to 25 %: it supposes that every
operand moves once and that all cores are busy. README's table has no Llama-3.1-8B on an n300, hence PERF's.

## Examples
"""


def main() -> None:
    """Run everything, print the page."""
    published = _run(str(ROOT / "benchmarks" / "roofline_published.py"))
    sys.stdout.write(HEAD.format(ttnn=version("ttnn"), published=published))
    code = "from pytest_ttbringup.cli import main; raise SystemExit(main())"
    for model, system in EXAMPLES:
        arguments = ("roofline", f"--tt-model={model}", f"--tt-system={system}")
        shown = _run("-c", code, *arguments)
        sys.stdout.write(f"\n```\n$ ttbringup {' '.join(arguments)}\n{shown}\n```\n")


def _run(*arguments: str) -> str:
    result = subprocess.run([sys.executable, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return result.stdout.strip()


if __name__ == "__main__":
    main()
