"""Words for the ladder: prompts, a passage to be predicted token by token, and the tokenizer of the tiny models."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

# Charles Dickens, A Tale of Two Cities (1859), the opening; in the public domain. 302 tokens of SmolLM2, 497 of the
# tiny tokenizer.
PASSAGE = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, "
    "it was the epoch of belief, it was the epoch of incredulity, it was the season of Light, it was the season of "
    "Darkness, it was the spring of hope, it was the winter of despair, we had everything before us, we had nothing "
    "before us, we were all going direct to Heaven, we were all going direct the other way - in short, the period "
    "was so far like the present period, that some of its noisiest authorities insisted on its being received, for "
    "good or for evil, in the superlative degree of comparison only.\n\nThere were a king with a large jaw and a "
    "queen with a plain face, on the throne of England; there were a king with a large jaw and a queen with a fair "
    "face, on the throne of France. In both countries it was clearer than crystal to the lords of the State "
    "preserves of loaves and fishes, that things in general were settled for ever.\n\nIt was the year of Our Lord "
    "one thousand seven hundred and seventy-five. Spiritual revelations were conceded to England at that favoured "
    "period, as at this. Mrs. Southcott had recently attained her five-and-twentieth blessed birthday, of whom a "
    "prophetic private in the Life Guards had heralded the sublime appearance by announcing that arrangements were "
    "made for the swallowing up of London and Westminster."
)

# As many as a decode batch has users, of different lengths, so that users stand at different positions.
PROMPTS: tuple[str, ...] = (
    "What is the capital of France?",
    "Name the largest planet of the solar system.",
    "How many days has a week?",
    "Why is the sky blue?",
    "Write one sentence about a lighthouse.",
    "What do bees make?",
    "Give me three words that rhyme with night.",
    "Which ocean lies between Europe and America, and which one lies between America and Asia?",
    "What is seven plus five?",
    "Explain in one sentence what a compiler does.",
    "Who wrote Romeo and Juliet?",
    "List the colours of a rainbow.",
    "What is ice made of?",
    "Translate the word water into Spanish.",
    "Tell me how to boil an egg.",
    "Which animal says meow?",
    "Finish this sentence: an apple a day",
    "What is the opposite of hot?",
    "Name a musical instrument that has strings and is played with a bow.",
    "In which country do kangaroos live?",
    "What does a thermometer measure, and in which units is it read in most countries of the world?",
    "Spell the word banana.",
    "Say hello.",
    "What is a haiku?",
    "Which season follows winter?",
    "How do plants get their energy from the light of the sun?",
    "Give one reason to learn to swim.",
    "What is the boiling point of water at sea level?",
    "Describe the taste of a lemon in a few words.",
    "Which is heavier, a feather or a stone?",
    "What should I pack for a rainy walk in the mountains with two small children and a dog?",
    "Good morning!",
)

BEGIN, END = "<s>", "</s>"


def tiny_tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer that exists in memory only, of exactly `vocab_size` tokens.

    Its merges are learned from `PASSAGE` and `PROMPTS`, so every token but the bytes outside ASCII can occur in text,
    and any text survives encoding and decoding. It puts `<s>` (0) before a text; `</s>` is 1. It has no chat template.

    Raises:
        ValueError: the texts give fewer than `vocab_size` tokens, or `vocab_size` does not even hold the 256 bytes.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BEGIN, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([PASSAGE, *PROMPTS], trainer)
    if tokenizer.get_vocab_size() != vocab_size:
        raise ValueError(f"the tiny tokenizer came out with {tokenizer.get_vocab_size()} tokens, not {vocab_size}")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, tokenizer.token_to_id(BEGIN))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BEGIN, eos_token=END, pad_token=END, clean_up_tokenization_spaces=False
    )


def unprintable_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens of `tokenizer` that are no text: special ones, control characters, parts of characters."""
    special = set(tokenizer.all_special_ids)
    return [
        token
        for token in range(len(tokenizer))
        if token in special
        or not all(character.isprintable() and character.isascii() for character in str(tokenizer.decode([token])))
    ]
