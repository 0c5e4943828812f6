"""What a model will run at, at best: bounds from the operations that TT-NN issues, and the peaks of a system.

`recording` notes the device operations of a block, `Work.of` counts what each must move and multiply, `Bound.of` adds
up the times that takes on a chip of a system. `model_steps` does the recording for a whole model that has no weights.
"""
