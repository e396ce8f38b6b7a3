"""The tokenizer of the miniature models: one token a phrase or a number, and no loss of a character."""

import re

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from chosen import language

TOKENS = language.vocabulary()
IDS = {token: i for i, token in enumerate(TOKENS)}
PAD, END, NEWLINE = IDS[language.PAD], IDS[language.END], IDS["\n"]
GOOD, BAD = IDS[language.GOOD], IDS[language.BAD]

_pattern = re.compile(language.token_pattern())


def encode(text: str) -> list[int]:
    """Token ids of a text; a KeyError names what the vocabulary lacks."""
    pieces = _pattern.findall(text)
    if "".join(pieces) != text:
        raise KeyError(f"words outside the vocabulary: {language.unknown_words(text)}")
    return [IDS[piece] for piece in pieces]


def decode(ids: list[int]) -> str:
    return "".join(TOKENS[i] for i in ids)


def hugging_face() -> PreTrainedTokenizerFast:
    """The same tokenizer for transformers and for the servers that read its files."""
    tokenizer = Tokenizer(models.WordLevel(IDS, unk_token=language.UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(language.token_pattern()), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=language.PAD,
        unk_token=language.UNKNOWN,
        eos_token=language.END,
        clean_up_tokenization_spaces=False,
    )
