"""Loops over single products, compiled by numba; imported when the first such product is wanted, for numba takes 0.5 s.

The compiled code is kept on disk in numba's cache folder (see `emulation.arithmetic.choose`).
"""
