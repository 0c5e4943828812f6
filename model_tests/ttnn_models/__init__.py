"""The Llama family in TT-NN, driven by its configuration: no model's name and no target is known here.

Read it in this order: `parallelism` and `head_split` (how a model is spread over a mesh), `config` (what is built),
`precision` (`model_precision`, `presets` and `precision_file` for whole models and layers), `collectives`, `state_dict`
and `weights` (Hugging Face weights to the device), `rope`, `layouts`, `sdpa`, `prefill_chunk` and `page_table`, then
the modules `embedding`, `rms_norm`, `rotary_embedding`, `kv_cache` (and `contiguous_kv_cache`, `paged_kv_cache`),
`attention`, `mlp`, `decoder_layer`, `decoder`, `lm_head`, and at last those that run them: `decode_state`,
`model`, `traced_step` and `pipeline`; `text_limits`, `device_sampling`, `prefilling`, `next_tokens` and `session`, a
batch that users join and leave; `forcing`, `generator`, `submeshes`, and `build` for `ttbringup generate`.

Every module moves its weights to the device in `__init__` and computes in `decode` (one token of each of 32 users) and
in `prefill` (all tokens of one user of each instance; rows are tokens, and padding). A module frees the tensors it
makes and never those it is given.
"""
