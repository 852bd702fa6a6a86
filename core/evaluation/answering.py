"""A model answers: log-likelihoods of continuations, and texts that it writes greedily; each on disk before it counts.

Token sequences that begin alike (few-shot headers, the choices of one question) are run once. What is in a batch is
decided by the requests alone, and not by what was answered before a kill: the answers of a run that was resumed are
those of one that was not, to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import make_prompt_cache

from core.config.models import AUTO
from core.data.tokenize import Tokens, refuse_unknown_tokens
from core.errors import UserError
from core.evaluation.kept import Kept
from core.evaluation.shared_prefix import Node, plan
from core.generation.candidates_pass import response_text
from core.generation.decode import PREFILL, Decoder, Job, Row, bytes_per_row, choose, expanded
from core.generation.draw import NotNumbers, Settings, stream
from core.models.head import ENTRIES_CPU, ENTRIES_GPU, LEAST, Head
from core.models.load import LanguageModel
from core.models.vocabulary import target_logps

# Rows in a forward pass where the configuration says auto; tokens in one; and what one costs beside them, in tokens.
_ROWS = {"cpu": 16, "gpu": 64}
_TOKENS = {"cpu": 512, "gpu": 8192}
_OVERHEAD = {"cpu": 16, "gpu": 128}
# Bytes that keys and values of a batch may take, a common beginning counted for each row.
_CACHE = {"cpu": 1 << 30, "gpu": 1 << 32}


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How likely `continuation` is after `context`."""

    context: str
    continuation: str


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model writes after `context`, up to the first of `stop`."""

    context: str
    stop: tuple[str, ...]
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Scored:
    """Attributes:
    logprob: of the continuation, in nats, summed over its tokens.
    greedy: whether each of them is the likeliest there.
    tokens: how many there are.
    """

    logprob: float
    greedy: bool
    tokens: int


class Answerer:
    """Answers lists of requests. The same list gives the same answers, however often it was begun before.

    Args:
        batch_size: sequences in one forward pass; AUTO: what suits the device.
        between: called where all that was done is on disk; may raise to end it here.
        answered: called with how many requests were answered just now. What is on disk already is not among them.
        sharing: run common beginnings once. Off to measure what that gives.

    Attributes:
        cut: requests of the last list whose context lost its beginning, so that they fit the model's positions.
        run: tokens that went through the model.
        why_not_shared: what keeps beginnings from being shared; "" where nothing does.
    """

    def __init__(
        self,
        loaded: LanguageModel,
        kept: Kept,
        *,
        batch_size: int = AUTO,
        between: Callable[[], None] = lambda: None,
        answered: Callable[[int], None] = lambda count: None,
        sharing: bool = True,
    ) -> None:
        device = "gpu" if mx.default_device() == mx.Device(mx.gpu) else "cpu"
        self._loaded = loaded
        self._tokenizer = loaded.tokenizer
        self._kept = kept
        self._size = _ROWS[device] if batch_size == AUTO else batch_size
        self._tokens = _TOKENS[device]
        self._overhead = _OVERHEAD[device]
        self._fits = _CACHE[device] // max(1, bytes_per_row(loaded.model, 1))  # tokens
        self._between = between
        self._answered = answered
        self._vocabulary = loaded.vocabulary
        self._head = Head(loaded.model)
        room = loaded.config.get("max_position_embeddings")
        self._room = room if isinstance(room, int) and room > 0 else 1 << 30
        self._encode = lru_cache(maxsize=64)(self._encoded)
        self._marks = lru_cache(maxsize=64)(self._special)
        self.why_not_shared = _obstacle(self._head, loaded) if sharing else "switched off"
        self._way: Any = None
        self.cut = 0
        self.run = 0

    @property
    def room(self) -> int:
        """Tokens that the model has positions for."""
        return self._room

    def tokens(self, text: str) -> int:
        """How many tokens a text has."""
        return len(self._encoded(text))

    def known(self, requests: Sequence[Likelihood | Completion]) -> int:
        """How many of these are answered on disk."""
        return sum(_key(self._kept, request) in self._kept for request in requests)

    def likelihoods(self, requests: Sequence[Likelihood]) -> list[Scored]:
        """An answer for each, in order.

        Raises:
            UserError: a continuation is longer than the model's positions, or the model gives no numbers.
        """
        self.cut = 0
        names = [_key(self._kept, request) for request in requests]
        once = dict(zip(names, requests, strict=True))
        asked = [_Asked(name, *self._pair(request)) for name, request in self._each(once)]
        self._keep([(one.name, [0.0, True, 0]) for one in asked if not one.wanted])
        asked = [one for one in asked if one.wanted]
        rows = _rows(asked)
        shareable = [row.ids[: row.first] for row in rows] if not self.why_not_shared else [[] for _ in rows]
        root = plan(shareable, self._overhead, [len(row.ids) for row in rows])
        for node, prefix in self._walk(root, [row.ids for row in rows], None):
            self._score(node, prefix, rows)
        return [Scored(float(said[0]), bool(said[1]), int(said[2])) for said in (self._kept[name] for name in names)]

    def completions(self, requests: Sequence[Completion]) -> list[str]:
        """A text for each, in order, without what it stopped at.

        Raises:
            UserError: max_tokens leaves no room for a context, or the model gives no numbers.
        """
        self.cut = 0
        names = [_key(self._kept, request) for request in requests]
        once = dict(zip(names, requests, strict=True))
        written = [_Written(name, self._prompt(request), request) for name, request in self._each(once)]
        before = [one.ids[:-1] for one in written]
        root = plan(before if not self.why_not_shared else [[] for _ in before], self._overhead, list(map(len, before)))
        for node, prefix in self._walk(root, before, None):
            # By length, so that rows which are decoded together have like ends; by place alone where that is the same.
            order = sorted(node.rows, key=lambda row: (-len(written[row].ids), row))
            while order:
                longest = max(len(written[row].ids) + written[row].request.max_tokens for row in order)
                count = max(1, min(self._size, self._fits // longest))
                window, order = [written[row] for row in order[:count]], order[count:]
                self._between()
                self._write(window, prefix)
        return [str(self._kept[name]) for name in names]

    # From text to tokens

    def _each(self, once: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        """Texts of a large benchmark take minutes to be put into tokens: commands are obeyed meanwhile."""
        for number, entry in enumerate(once.items()):
            if number % 256 == 255:
                self._between()
            yield entry

    def _encoded(self, text: str) -> list[int]:
        """As lm-eval's Hugging Face model has it: the tokenizer's special tokens, unless the text begins with them."""
        tokenizer = self._tokenizer
        if not text.isascii():
            # Half characters, which tokenizers do not take.
            text = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        begins = getattr(tokenizer, "bos_token", None)
        special = {"add_special_tokens": False} if begins and text.startswith(begins) else {}
        ids = list(tokenizer.encode(text, **special))
        # Some tokenizers end every text, and after its end nothing follows.
        ends = tokenizer.eos_token_id is not None and ids[-1:] == [tokenizer.eos_token_id]
        return ids[:-1] if ends and not text.endswith(tokenizer.eos_token) else ids

    def _pair(self, request: Likelihood) -> tuple[list[int], list[int]]:
        """Context and continuation as lm-eval's `TemplateLM._encode_pair` splits them."""
        context, continuation = request.context, request.continuation
        if not context:
            wanted = list(self._tokenizer.encode(continuation, add_special_tokens=False))
            start = self._tokenizer.bos_token_id
            start = self._tokenizer.eos_token_id if start is None else start
            before = [start] if wanted[:1] != [start] else []
            # A continuation that brings the beginning along is scored from behind it.
            before, wanted = (before, wanted) if before else (wanted[:1], wanted[1:])
        else:
            spaces = len(context) - len(context.rstrip())
            if spaces:
                continuation = context[-spaces:] + continuation
                context = context[:-spaces]
            before = self._encode(context)
            wanted = self._encoded(context + continuation)[len(before) :]
            if not before:
                # Nothing but spaces before it.
                return self._pair(Likelihood("", continuation))
        if len(wanted) > self._room:
            raise UserError(
                f"an answer to be scored has {len(wanted)} tokens and the model {self._room} positions: leave it out"
            )
        if len(before) + len(wanted) > self._room + 1:
            self.cut += 1
            before = before[len(before) + len(wanted) - self._room - 1 :]
        refuse_unknown_tokens(Tokens(before, (wanted,)), self._vocabulary)
        return before, wanted

    def _prompt(self, request: Completion) -> list[int]:
        room = self._room - request.max_tokens
        if room < 1:
            raise UserError(
                f"max_tokens: {request.max_tokens} leaves no room in the model's {self._room} positions: lower it"
            )
        ids = self._encoded(request.context)
        if not ids:
            start = self._tokenizer.bos_token_id
            ids = [self._tokenizer.eos_token_id if start is None else start]
        if len(ids) > room:
            self.cut += 1
            ids = ids[-room:]
        refuse_unknown_tokens(Tokens(ids, ([],)), self._vocabulary)
        return ids

    # Common beginnings

    def _walk(
        self, node: Node, sequences: Sequence[list[int]], before: _Prefix | None
    ) -> Iterator[tuple[Node, _Prefix | None]]:
        """Each node with what it begins with; None where that is nothing."""
        here = before
        if node.depth:
            here = _Prefix(self, sequences[node.row][: node.depth], before)
        if node.rows:
            yield node, here
        for child in node.children:
            yield from self._walk(child, sequences, here)

    def _keep(self, said: list[tuple[str, Any]]) -> None:
        new = self._kept.append(said)
        if new:
            self._answered(new)

    # Likelihoods

    def _score(self, node: Node, prefix: _Prefix | None, rows: list[_Row]) -> None:
        order = sorted(node.rows, key=lambda row: (-len(rows[row].ids), row))
        while order:
            width = len(rows[order[0]].ids) - node.depth
            count = max(1, min(self._size, self._tokens // width, self._fits // (node.depth + width)))
            batch, order = [rows[index] for index in order[:count]], order[count:]
            self._between()
            if all(one.name in self._kept for row in batch for one in row.asked):
                continue
            self._keep(self._scores(batch, node.depth, width, prefix))

    def _scores(self, batch: list[_Row], depth: int, width: int, prefix: _Prefix | None) -> list[tuple[str, Any]]:
        ids = np.zeros((len(batch), width), np.int32)
        places: list[tuple[int, int]] = []  # the row and the column that a token is told from
        targets: list[int] = []
        spans: list[tuple[_Asked, int]] = []
        for number, row in enumerate(batch):
            ids[number, : len(row.ids) - depth] = row.ids[depth:]
            for one in row.asked:
                first = len(one.before) - 1 - depth
                spans.append((one, len(targets)))
                places += [(number, first + step) for step in range(len(one.wanted))]
                targets += one.wanted
        logps, greedy = self._through(ids, places, np.array(targets, np.int32), prefix)
        found = []
        for one, start in spans:
            part = slice(start, start + len(one.wanted))
            total = math.fsum(logps[part].tolist())
            if not math.isfinite(total):
                raise UserError(
                    "the model's log-probs are no numbers: its weights are broken, or compute.dtype too small"
                )
            found.append((one.name, [total, bool(greedy[part].all()), len(one.wanted)]))
        return found

    def _through(
        self, ids: Any, places: list[tuple[int, int]], targets: Any, prefix: _Prefix | None
    ) -> tuple[Any, Any]:
        """log p of each target and whether it is the likeliest, by the places they are told from."""
        count, width = ids.shape
        cache = None if prefix is None else expanded(prefix.cache, count, "prompt")
        if cache is None and width > PREFILL:
            cache = make_prompt_cache(self._loaded.model)
        logps = np.zeros(len(places), np.float32)
        greedy = np.zeros(len(places), bool)
        columns = np.array([column for _, column in places])
        flat = np.array([row for row, _ in places])
        for start in range(0, width, PREFILL):
            part = ids[:, start : start + PREFILL]
            inside = np.flatnonzero((columns >= start) & (columns < start + PREFILL))
            # Several continuations are told from one place: the choices of a question that are one letter.
            wanted, which = np.unique(flat[inside] * part.shape[1] + columns[inside] - start, return_inverse=True)
            positions = mx.array(wanted if len(wanted) else np.zeros(1), mx.int32)
            features = self._head.features(mx.array(part), positions, cache)
            mx.eval(features, [] if cache is None else [layer.state for layer in cache])
            self.run += part.size
            if len(inside):
                logps[inside], greedy[inside] = self._measure(features, which, targets[inside])
        return logps, greedy

    def _measure(self, features: mx.array, which: Any, targets: Any) -> tuple[Any, Any]:
        """Of these targets, each told from the row `which` of the features."""
        logps = np.zeros(len(targets), np.float32)
        greedy = np.zeros(len(targets), bool)
        entries = ENTRIES_GPU if mx.default_device() == mx.Device(mx.gpu) else ENTRIES_CPU
        size = max(LEAST, entries // self._vocabulary)
        for start in range(0, features.shape[0], size):
            inside = np.flatnonzero((which >= start) & (which < start + size))
            logits = self._head.logits(features[start : start + size])
            rows, wanted = mx.array(which[inside] - start, mx.int32), mx.array(targets[inside], mx.int32)
            best = mx.argmax(logits, axis=-1)[rows]
            found, _ = target_logps(logits[rows], wanted)
            mx.eval(found, best)
            logps[inside], greedy[inside] = np.array(found), np.array(best == wanted)
        return logps, greedy

    # Completions

    def _write(self, window: list[_Written], prefix: _Prefix | None) -> None:
        if all(one.name in self._kept for one in window):
            return
        if self._way is None:
            self._way = choose(self._loaded.model)[0]
        decoder = Decoder(self._loaded.model, set(self._tokenizer.eos_token_ids), size=self._size, way=self._way)
        coming = iter(window)
        live: list[_Written] = []
        try:
            while True:
                while decoder.rows + len(decoder.queue) < self._size and (one := next(coming, None)) is not None:
                    one.row = Row(Settings(0.0), stream("greedy"), one.request.max_tokens)
                    cache = None
                    if prefix is not None:
                        cache = expanded(prefix.cache, 1, "prompt")
                        self.extend(cache, one.ids[:-1], prefix.size)
                    decoder.queue.append(Job(one.ids, [one.row], cache=cache))
                    live.append(one)
                if not decoder.busy:
                    break
                decoder.step()
                done = [one for one in live if self._ended(one)]
                live = [one for one in live if one not in done]
                self._keep([(one.name, self._text(one)) for one in done])
                self._between()
        except NotNumbers:
            raise UserError(
                "the model gives no numbers (NaN): its weights are broken, or overflow: try compute.dtype: float32"
            ) from None
        self.run += decoder.prefilled + decoder.drawn

    def _ended(self, one: _Written) -> bool:
        """Whether a response is at its end, by itself or by a word that ends it."""
        row = one.row
        assert row is not None
        if not row.finish and row.tokens and one.request.stop:
            if row.tokens[-1] in self._marks(one.request.stop):
                row.finish = "stop"
            else:
                # A token is a byte at least, and a character four bytes at most.
                longest = max(map(len, one.request.stop))
                tail = self._tokenizer.decode(row.tokens[-4 * longest - 8 :], skip_special_tokens=True)
                if any(word in tail for word in one.request.stop) and _cut(self._whole(one), one.request.stop)[1]:
                    row.finish = "stop"
        return bool(row.finish)

    def _special(self, stop: tuple[str, ...]) -> set[int]:
        """Those of the words that are one special token, which is not seen in a text."""
        found = set()
        for word in stop:
            ids = self._tokenizer.encode(word, add_special_tokens=False)
            if len(ids) == 1 and not self._tokenizer.decode(ids, skip_special_tokens=True):
                found.add(int(ids[0]))
        return found

    def _whole(self, one: _Written) -> str:
        assert one.row is not None
        return response_text(self._tokenizer, one.ids, one.row.tokens, one.row.finish)

    def _text(self, one: _Written) -> str:
        return _cut(self._whole(one), one.request.stop)[0]

    def extend(self, cache: list[Any], ids: list[int], start: int) -> None:
        """Run the tokens from `start` on into a cache of one row."""
        for at in range(start, len(ids), PREFILL):
            self._loaded.model(mx.array([ids[at : at + PREFILL]]), cache=cache)
            mx.eval([layer.state for layer in cache])
        self.run += max(0, len(ids) - start)

    def fresh(self) -> list[Any]:
        """A cache with nothing in it."""
        return list(make_prompt_cache(self._loaded.model))


class _Prefix:
    """The cache of a common beginning, computed when it is first wanted.

    Always from that of the beginning before it, so that it is the same to the bit whatever else was answered.
    """

    def __init__(self, answerer: Answerer, ids: list[int], before: _Prefix | None) -> None:
        self._answerer = answerer
        self._ids = ids
        self._before = before
        self._cache: list[Any] | None = None
        self.size = len(ids)

    @property
    def cache(self) -> list[Any]:
        if self._cache is None:
            before = self._before
            cache = self._answerer.fresh() if before is None else expanded(before.cache, 1, "prompt")
            self._answerer.extend(cache, self._ids, 0 if before is None else before.size)
            self._cache = cache
        return self._cache


@dataclass(slots=True)
class _Asked:
    """A continuation, as tokens."""

    name: str
    before: list[int]
    wanted: list[int]

    @property
    def inputs(self) -> list[int]:
        """What is run to score it."""
        return [*self.before, *self.wanted[:-1]]


@dataclass(slots=True)
class _Row:
    """A sequence that is run, and the continuations that are told from it."""

    ids: list[int]
    asked: list[_Asked]

    @property
    def first(self) -> int:
        """The first token whose output is wanted; what is before may be shared."""
        return min(len(one.before) for one in self.asked) - 1


@dataclass(slots=True, eq=False)
class _Written:
    """A text that is being written."""

    name: str
    ids: list[int]
    request: Completion
    row: Row | None = None


def _key(kept: Kept, request: Likelihood | Completion) -> str:
    if isinstance(request, Likelihood):
        return kept.key("likelihood", request.context, request.continuation)
    return kept.key("completion", request.context, list(request.stop), request.max_tokens)


def _rows(asked: list[_Asked]) -> list[_Row]:
    """One row for all continuations whose inputs are its own or its beginning."""
    keys = [np.asarray(one.inputs, ">u4").tobytes() for one in asked]
    order = sorted(range(len(asked)), key=lambda index: (keys[index], index), reverse=True)
    rows: list[_Row] = []
    last = b""
    for index in order:
        # What begins with this one sorts right behind it.
        if rows and last.startswith(keys[index]):
            rows[-1].asked.append(asked[index])
        else:
            rows.append(_Row(asked[index].inputs, [asked[index]]))
            last = keys[index]
    return rows


def _cut(text: str, stop: tuple[str, ...]) -> tuple[str, bool]:
    """The text before the first of these words, and whether there is one."""
    found = [place for word in stop if (place := text.find(word)) >= 0]
    return (text[: min(found)], True) if found else (text, False)


def _obstacle(head: Head, loaded: LanguageModel) -> str:
    """Why this model's common beginnings cannot be shared; "" where they can: found out by computing both ways once."""
    before, rows = [1, 4, 2, 5, 3], [[2, 6, 1, 3], [3, 1, 0, 0]]
    places = mx.array([0, 1, 2, 3, 4, 5], mx.int32)
    try:
        cache: list[Any] = list(make_prompt_cache(loaded.model))
        loaded.model(mx.array([before[:2]]), cache=cache)
        cache = expanded(cache, 1, "prompt")
        loaded.model(mx.array([before[2:]]), cache=cache)
        shared = head.logits(head.features(mx.array(rows), places, expanded(cache, 2, "prompt")))
        whole = mx.array([[*before, *row] for row in rows])
        plain = head.logits(head.features(whole, mx.array([5, 6, 7, 8, 14, 15], mx.int32)))
        mx.eval(shared, plain)
    except Exception as error:  # a model's code raises what it likes when its cache is another
        return f"its code takes no other cache ({type(error).__name__})"
    difference = float(mx.linalg.norm(shared - plain) / (mx.linalg.norm(plain - plain.mean()) + 1e-9))
    if not difference < (2e-3 if loaded.model(mx.array([[1]])).dtype == mx.float32 else 0.1):
        return f"its logits would be off by {difference:.1%}"
    return ""
