"""What a PRM reads: by its family's row and a tokenizer."""

import json

import pytest

from etsearch.errors import ConfigError, RewardError
from etsearch.models.codec import TURN, Codec, TextCodec, name_of, pieces_of, token_from, turns_of
from etsearch.prms.families import FAMILIES, Head, PrmFamily, find_family
from etsearch.prms.reading import PrmReader
from etsearch.prms.rewards import rewards_of
from etsearch.types import Step, Trajectory


class Letters(Codec):
    """A token is a letter; with ``special`` a text starts with a 0. A chat is ``<role>content</>``."""

    def encode_now(self, text, *, special=False):
        return [0] * special + [ord(letter) for letter in text]

    def decode_now(self, ids):
        return "".join(map(chr, ids))

    def render_now(self, messages, *, opens_answer):
        return "".join(f"<{role}>{content}</>" for role, content in messages) + "<assistant>" * opens_answer

    @property
    def starts_with(self):
        return "^"


class Prefixing(Letters):
    """Puts a space before every text, as SentencePiece does."""

    def encode_now(self, text, *, special=False):
        return super().encode_now(" " + text, special=special)


LABEL = PrmFamily(name="mine", template="{question}", tag="!", good="+", bad="-")


def trajectory(*steps, question="a"):
    return Trajectory(question, tuple(map(Step, steps)))


async def texts(family, *steps, first=0, codec=None):
    """What is read, with the places of reading marked by a '|' after them."""
    codec = codec or Letters()
    out = []
    for reading in await PrmReader(family, codec).read(trajectory(*steps), first):
        letters = [chr(i) + "|" * (place in reading.positions) for place, i in enumerate(reading.ids)]
        out.append("".join(letters))
    return out


async def test_positions_are_counted_not_searched_for():
    assert await texts(LABEL, " b!c \n", "!", "d") == ["\0ab!c!|!!|d!|"]
    assert await texts(LABEL, " b!c \n", "!", "d", first=2) == ["\0ab!c!!!d!|"]


async def test_every_family_reads_as_its_authors_do():
    rows = {name: FAMILIES[name].model_copy(update={"tag_id": None, "label_ids": None}) for name in FAMILIES}
    steps = ("one\ntwo", "Step 2: three ки")
    assert await texts(rows["math_shepherd"], *steps) == ["\0a Step 1: one\ntwo ки|\nStep 2: three ки|"]
    assert await texts(rows["llemma_reward"], *steps) == ["\0a\none\ntwo ки|\nStep 2: three ки|"]
    assert await texts(rows["skywork"], *steps) == ["^a\none two\n|Step 2: three ки\n|"]
    opened, closed = "<user>", "</>"
    for name, last in (("rlhflow_deepseek", "Step 2: three ки"), ("rlhflow_mistral", "Step 2: three")):
        first = f"{opened}a one\ntwo{closed}<assistant>|+{closed}"
        assert await texts(rows[name], *steps) == [f"{first}{opened}{last}{closed}<assistant>|"]
    system = r"<system>Please reason step by step, and put your final answer within \boxed{}.</>"
    qwen = await texts(rows["qwen_prm"], *steps)
    assert qwen == [f"{system}<user>a</><assistant>one\ntwo<extra_0>|Step 2: three ки<extra_0>|"]
    codec = type(
        "Words", (Letters,), {"encode_now": lambda _, t, **_k: [7] if t in ("Yes", "No") else list(map(ord, t))}
    )
    judged = await texts(rows["judge"], *steps, codec=codec())
    assert len(judged) == 2
    assert [text.count("|") for text in judged] == [1, 1]
    assert all(text.endswith("Yes or No.</><assistant>|") for text in judged)
    assert "solution:\none\ntwo\n\nIs every" in judged[0]
    assert "solution:\none\ntwo\nStep 2: three ки\n\nIs every" in judged[1]


async def test_a_tokenizer_that_puts_a_space_before_texts_puts_none_before_pieces():
    row = FAMILIES["math_shepherd"].model_copy(update={"tag_id": None, "label_ids": (ord("+"), ord("-"))})
    assert await texts(row, "b", "c", codec=Prefixing()) == ["\0 a Step 1: b ки|\nStep 2: c ки|"]


async def test_a_step_is_tokenised_once():
    class Counting(Letters):
        asked: list = []  # noqa: RUF012 - looked at below

        def encode_now(self, text, *, special=False):
            self.asked.append(text)
            return super().encode_now(text, special=special)

    reader = PrmReader(LABEL, Counting())
    Counting.asked.clear()
    for _ in range(3):
        await reader.read(trajectory("b", "c"), 0)
    assert sorted(Counting.asked) == ["!b", "!c", "a"]


@pytest.mark.parametrize("first", [-1, 1])
async def test_steps_that_are_not_there(first):
    with pytest.raises(RewardError, match=f"first is {first}") as caught:
        await PrmReader(LABEL, Letters()).read(trajectory("b"), first)
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (LABEL.model_copy(update={"good": "yes"}), "'yes' must be one token"),
        (LABEL.model_copy(update={"tag_id": 7}), "ends in the token 33 of this tokenizer; the family's is 7"),
        (
            LABEL.model_copy(update={"label_ids": (1, 2)}),
            r"tokens \(43, 45\) of this tokenizer; the family's are \(1, 2\)",
        ),
    ],
)
def test_a_tokenizer_that_is_not_the_familys(family, message):
    with pytest.raises(ConfigError, match=message):
        PrmReader(family, Letters())


def test_what_a_tokenizer_must_tell():
    with pytest.raises(ConfigError, match="tokenizer=PATH"):
        PrmReader(FAMILIES["skywork"], TextCodec())
    with pytest.raises(ConfigError, match="needs a chat template"):
        PrmReader(FAMILIES["qwen_prm"], TextCodec())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"template": "no place"}, "{question} once"),
        ({"tag": ""}, "the tag is empty"),
        ({"good": "-"}, "two different labels"),
        ({"step": "nothing"}, "{step} once"),
        ({"chat": [["user", "{question}{step}"]]}, "either template or chat"),
        ({"head": "tail"}, "head"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_row_that_cannot_be(values, message):
    with pytest.raises(ConfigError, match=message):
        PrmFamily.of({**LABEL.model_dump(exclude_defaults=True), **values}, "a row")


def test_which_family_a_model_is_of(tmp_path):
    names = {
        "peiyi9979/math-shepherd-mistral-7b-prm": "math_shepherd",
        "tkitsers/Llemma-reward-model": "llemma_reward",
        "RLHFlow/Llama3.1-8B-PRM-Deepseek-Data": "rlhflow_deepseek",
        "RLHFlow/Llama3.1-8B-PRM-Mistral-Data": "rlhflow_mistral",
        "Skywork/Skywork-o1-Open-PRM-Qwen-2.5-1.5B": "skywork",
        "Qwen/Qwen2.5-Math-PRM-7B": "qwen_prm",
    }
    assert {model: find_family(None, model).name for model in names} == names
    assert find_family("judge", "anything").name == "judge"
    with pytest.raises(ConfigError, match="nothing tells how the PRM 'my-prm'"):
        find_family(None, "my-prm")
    with pytest.raises(ConfigError, match="no PRM family 'mine'"):
        find_family("mine", "my-prm")
    own = tmp_path / "own.yaml"
    own.write_text("like: math_shepherd\ntag: ' §'\ntag_id: null\n", encoding="utf-8")
    family = find_family(str(own), "my-prm")
    assert (family.name, family.tag, family.good, family.numbering) == ("own", " §", "+", r"Step\s+\d+\s*:")
    for text, message in (
        ("like: nothing", "'like' is 'nothing'"),
        ("- 1", "holds no keys"),
        ("a: [", "cannot be read"),
    ):
        own.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=message):
            find_family(str(own), "my-prm")


@pytest.mark.parametrize(
    ("head", "figures", "rewards"),
    [
        (Head.LABELS, [[0.0, 0.0], [2000.0, -2000.0], [-2000.0, 2000.0]], (0.5, 1.0, 0.0)),
        (Head.CLASSES, [[0.0, 0.0], [2000.0, -2000.0]], (0.5, 0.0)),
        (Head.VALUE, [[0.0], [1.0986122886681098]], (0.5, 0.75)),
        (Head.MEAN_LOGIT, [[1.0, -1.0, 3.0, -3.0]], (0.5,)),
    ],
)
def test_rewards_of_each_head(head, figures, rewards):
    assert rewards_of(head, figures) == pytest.approx(rewards, abs=1e-12)


@pytest.mark.parametrize("figures", [[[float("nan"), 0.0]], [[1.0]], [1.0, 2.0], [[1.0, 2.0, 3.0]]])
def test_figures_that_are_none(figures):
    with pytest.raises(RewardError, match=r"no numbers|of shape"):
        rewards_of(Head.LABELS, figures)


@pytest.mark.parametrize("text", ["", "So 3 + 4 = 17.\n\nThe naïve café_x costs ²½", "\t\n ", "日本語 1,000 𝒳"])
def test_a_text_is_its_pieces(text):
    assert "".join(pieces_of(text)) == text
    assert TextCodec().decode_now(TextCodec().encode_now(text)) == text
    assert token_from(name_of(text)) == text


def test_turns_of_a_chat():
    codec = TextCodec(marks_turns=True)
    messages = [("system", "a\nb"), ("user", "c")]
    assert turns_of(codec.render_now(messages, opens_answer=True)) == messages
    assert TURN not in "".join(content for _, content in messages)
    with pytest.raises(ConfigError, match="names no token"):
        token_from(5)


def test_a_folders_tokenizer_neither_cuts_nor_pads(tmp_path):
    tokenizers = pytest.importorskip("tokenizers", reason="needs the extra 'tokenizers'")
    from etsearch import minimath
    from etsearch.models.codec import FolderCodec

    whole = tokenizers.Tokenizer.from_file(str(minimath.model_path("policy") / "tokenizer.json"))
    whole.enable_truncation(4)
    whole.enable_padding(length=6)
    whole.save(str(tmp_path / "tokenizer.json"))
    template = "{% for m in messages %}{{ m.content }}{% break %}{% endfor %}{{ strftime_now('%Y')|length }}"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    codec = FolderCodec(tmp_path)
    question = minimath.example(1).question
    assert codec.decode_now(codec.encode_now(question)) == question
    assert codec.render_now([("user", "a"), ("user", "b")], opens_answer=True) == "a4"


def test_no_piece_of_a_text_is_too_long_to_be_written():
    text = "a" * 5000 + " " * 3000
    assert max(len(str(i)) for i in TextCodec().encode_now(text)) < 4300
    assert TextCodec().decode_now(TextCodec().encode_now(text)) == text


@pytest.mark.parametrize("name", sorted(FAMILIES))
@pytest.mark.parametrize("num_steps", [1, 3, 7])
async def test_what_fits_the_room_is_held(name, num_steps):
    row = FAMILIES[name].model_copy(update={"tag_id": None, "label_ids": None})
    codec = type(
        "Words", (Letters,), {"encode_now": lambda _, t, **_k: [7] if t in ("Yes", "No") else list(map(ord, t))}
    )
    reader, context = PrmReader(row, codec()), 1500
    room = await reader.room("what?", num_steps, context)
    lengths = [room // num_steps + (i < room % num_steps) for i in range(num_steps)]
    read = await reader.read(trajectory(*("x" * length for length in lengths), question="what?"), 0)
    longest = max(len(reading.ids) for reading in read)
    assert context - 60 <= longest <= context
