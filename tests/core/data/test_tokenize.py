"""From text to token ids: EOS once, boundary where the tokenizer draws it, cuts on the right sides."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from core.data.tokenize import Limits, TemplateRefusal, Tokens, learnable, tokenize
from core.errors import UserError

NO_LIMIT = Limits(10_000, 10_000)
END, BEGIN, USER, ASSISTANT = "<end>", "<begin>", "<user>", "<assistant>"

# As most templates: the end token and a newline after every turn.
WRITES_END = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
NO_END = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}<assistant>"


def tokenizer(template: str | None = None, *, begins: bool = False) -> PreTrainedTokenizerFast:
    """Bytes, and four special tokens, and 'ab' and ' c' as merges across what a test calls the boundary."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([END, BEGIN, USER, ASSISTANT, *letters, "ab", "Ġc", "abĠc"])}
    backend = Tokenizer(models.BPE(vocabulary, [("a", "b"), ("Ġ", "c"), ("ab", "Ġc")]))
    # Without its regex, so that merges reach over spaces.
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    if begins:
        backend.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[(BEGIN, 1)])
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=END, additional_special_tokens=[BEGIN, USER, ASSISTANT]
    )
    made.chat_template = template
    return made


PLAIN = tokenizer()
EOS = PLAIN.eos_token_id


def ids(text: str) -> list[int]:
    return PLAIN.encode(text)


def turn(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


@pytest.mark.parametrize("response", ["red", "red<end>"])
def test_plain_text_ends_once(response: str) -> None:
    tokens = tokenize(PLAIN, "Say: ", (response,), NO_LIMIT)
    assert tokens.prompt == ids("Say: ")
    assert tokens.responses == ([*ids("red"), EOS],)


def test_an_end_inside_plain_text_is_no_end() -> None:
    tokens = tokenize(PLAIN, "Say: ", ("red<end>blue",), NO_LIMIT)
    assert tokens.responses == ([*ids("red<end>blue"), EOS],)


def test_a_tokenizer_that_begins_texts_does_so_once() -> None:
    begins = tokenizer(begins=True)
    tokens = tokenize(begins, "Say", (" red", " blue"), NO_LIMIT)
    assert tokens.prompt == [begins.convert_tokens_to_ids(BEGIN), *ids("Say")]
    assert tokens.responses == ([*ids(" red"), EOS], [*ids(" blue"), EOS])


def test_a_template_that_writes_the_end_keeps_its_newline() -> None:
    chat = tokenizer(WRITES_END)
    tokens = tokenize(chat, [turn("user", "Say")], ([turn("assistant", "red")],), NO_LIMIT)
    assert tokens.prompt == ids("<user>Say<end>\n<assistant>")
    assert tokens.responses == (ids("red<end>\n"),)
    assert tokens.responses[0].count(EOS) == 1


def test_a_template_without_an_end_gets_one() -> None:
    chat = tokenizer(NO_END)
    tokens = tokenize(chat, [turn("user", "Say")], ([turn("assistant", "red")],), NO_LIMIT)
    assert tokens.responses == ([*ids("red\n<assistant>"), EOS],)


def test_a_template_without_an_end_is_left_so_where_asked() -> None:
    open_ended = tokenizer(NO_END)
    prompt, response = [turn("user", "Say")], [turn("assistant", "red")]
    assert EOS in tokenize(open_ended, prompt, (response,), NO_LIMIT).responses[0]
    assert EOS not in tokenize(open_ended, prompt, (response,), NO_LIMIT, closed=False).responses[0]
    # Plain text ends as ever.
    assert tokenize(PLAIN, "Say: ", ("red",), NO_LIMIT, closed=False).responses == ([*ids("red"), EOS],)


def test_the_end_of_an_earlier_turn_is_not_the_response_s() -> None:
    chat = tokenizer(
        "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'user' %}<end>{% endif %}{% endfor %}"
    )
    tokens = tokenize(chat, [turn("user", "Say")], ([turn("assistant", "red")],), NO_LIMIT)
    assert tokens.prompt == ids("Say<end>")
    assert tokens.responses == ([*ids("red"), EOS],)


def test_chat_puts_plain_text_into_the_template() -> None:
    chat = tokenizer(WRITES_END)
    messages = tokenize(chat, [turn("user", "Say")], ([turn("assistant", "red")],), NO_LIMIT)
    assert tokenize(chat, "Say", ("red",), NO_LIMIT, chat=True) == messages
    assert tokenize(chat, [turn("user", "Say")], ("red",), NO_LIMIT, chat=True) == messages
    # Without it plain text is what it says.
    assert tokenize(chat, "Say", ("red",), NO_LIMIT).prompt == ids("Say")


def test_an_assistant_that_began_goes_on() -> None:
    chat = tokenizer(WRITES_END)
    prompt = [turn("user", "Say"), turn("assistant", "It is")]
    whole = ids("<user>Say<end>\n<assistant>It is<end>\n<assistant>red<end>\n")
    tokens = tokenize(chat, prompt, ([turn("assistant", "red")],), NO_LIMIT)
    # The prompt ends within the assistant's turn; its closing belongs to what is learnt.
    assert tokens.prompt == ids("<user>Say<end>\n<assistant>It is")
    assert tokens.prompt + tokens.responses[0] == whole


def test_several_turns() -> None:
    chat = tokenizer(WRITES_END)
    prompt = [turn("user", "Say"), turn("assistant", "what?"), turn("user", "it")]
    tokens = tokenize(chat, prompt, ([turn("assistant", "red")], [turn("assistant", "blue")]), NO_LIMIT)
    assert tokens.prompt == ids("<user>Say<end>\n<assistant>what?<end>\n<user>it<end>\n<assistant>")
    assert tokens.responses == (ids("red<end>\n"), ids("blue<end>\n"))


def test_a_merge_across_the_boundary_moves_it() -> None:
    # 'xab c' is x + 'ab c': the prompt ends before the merged token, for both responses.
    assert PLAIN.convert_ids_to_tokens(ids("xab c")) == ["x", "abĠc"]
    merged, other = [*ids("ab c"), EOS], [*ids("ax"), EOS]
    assert tokenize(PLAIN, "xa", ("b c", "x"), NO_LIMIT) == Tokens(ids("x"), (merged, other))
    assert tokenize(PLAIN, "xa", ("x", "b c"), NO_LIMIT) == Tokens(ids("x"), (other, merged))


def test_a_merge_that_swallows_the_prompt_leaves_nothing_to_predict_from() -> None:
    tokens = tokenize(PLAIN, "a", ("b",), NO_LIMIT)
    assert tokens.prompt == []
    assert not learnable(tokens)


def test_prompts_are_cut_from_the_left_and_responses_from_the_right() -> None:
    tokens = tokenize(PLAIN, "0123456789", ("9876543210", "98"), Limits(4, 3))
    assert tokens.prompt == ids("6789")
    assert tokens.responses == (ids("987"), [*ids("98"), EOS])
    assert tokens.length == 4 + 3


def test_limits_that_just_fit_cut_nothing() -> None:
    tokens = tokenize(PLAIN, "0123", ("98",), Limits(4, 3))
    assert (tokens.prompt, tokens.responses) == (ids("0123"), ([*ids("98"), EOS],))


def test_nothing_left_is_not_learnable() -> None:
    assert learnable(tokenize(PLAIN, "a", ("x",), Limits(1, 1)))
    assert not learnable(tokenize(PLAIN, "a", ("x",), Limits(0, 1)))
    assert not learnable(tokenize(PLAIN, "a", ("x",), Limits(1, 0)))
    assert not learnable(tokenize(PLAIN, "", ("x",), NO_LIMIT))


TEXT = st.text(st.one_of(st.sampled_from("ab c"), st.characters(exclude_categories=["Cs"])), max_size=12)


@given(prompt=TEXT, chosen=TEXT, rejected=TEXT)
def test_no_token_is_lost_or_doubled(prompt: str, chosen: str, rejected: str) -> None:
    tokens = tokenize(PLAIN, prompt, (chosen, rejected), NO_LIMIT)
    for response, found in zip((chosen, rejected), tokens.responses, strict=True):
        whole = ids(prompt + response)
        assert tokens.prompt + found == (whole if whole[-1:] == [EOS] else [*whole, EOS])
    # And the boundary is never past the prompt.
    assert tokens.prompt == ids(prompt)[: len(tokens.prompt)]


@given(prompt=TEXT, response=TEXT, room=st.integers(0, 8), answer=st.integers(0, 8))
def test_cuts_keep_what_touches_the_boundary(prompt: str, response: str, room: int, answer: int) -> None:
    whole = tokenize(PLAIN, prompt, (response,), NO_LIMIT)
    cut = tokenize(PLAIN, prompt, (response,), Limits(room, answer))
    assert cut.prompt == (whole.prompt[-room:] if room else [])
    assert cut.responses[0] == whole.responses[0][:answer]


def test_messages_without_a_template_are_refused_in_one_line() -> None:
    with pytest.raises(UserError, match=r"needs? a chat template and the model's tokenizer has none: put one into"):
        tokenize(PLAIN, [turn("user", "Say")], ([turn("assistant", "red")],), NO_LIMIT)


def test_a_tokenizer_without_an_end_token_is_refused() -> None:
    endless = tokenizer()
    endless.eos_token = None
    with pytest.raises(UserError, match="names no end token: set eos_token"):
        tokenize(endless, "Say", ("red",), NO_LIMIT)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ raise_exception('roles must\nalternate') }}", "roles must"),
        ("{{ broken", "unexpected end of template"),
        ("{% for x in 5 %}{% endfor %}", "not iterable"),
    ],
)
def test_a_template_that_refuses_says_why(template: str, why: str) -> None:
    with pytest.raises(TemplateRefusal, match=why) as refused:
        tokenize(tokenizer(template), [turn("user", "Say")], ([turn("assistant", "red")],), NO_LIMIT)
    assert "\n" not in str(refused.value)
