"""The arithmetic of the device's matrix unit and packer, rule by rule.

Sources of the rules: Tenstorrent's public ISA documentation (which mantissa bits a fidelity phase multiplies), the
source of its simulator ttsim v1.10 (`src/tensix.cpp`: how products are aligned, added, rounded and packed), the kernels
that the ttnn wheel ships (the order in which they use the unit), and TT-NN's source (what it chooses by itself). Each
function names its own. All are checked against results of that simulator (tests/emulation/numerics).

Values are torch float32 tensors; a BF16 or a block format's value is a float32 one that the format holds exactly.
"""
