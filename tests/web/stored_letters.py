"""Dead letters in a list, for what the web layer makes of requests; what is exact about them is tested on Kafka."""

from dataclasses import replace

from streamflow.errors import Fenced, StreamflowError, UserError
from streamflow.model.letter import OPEN, Decided, Decision, Letter, LetterFilter, LetterPage, LetterState


class StoredLetters:
    """A `web.ports.LetterDesk`. `fails`: raised by the next decision."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self.fails: StreamflowError | None = None
        self.rates: list[float] = []

    async def page(self, wanted: LetterFilter, start: int, end: int | None, limit: int) -> LetterPage:
        """From the list."""
        end = len(self.letters) if end is None else end
        found = [letter for letter in self.letters[start:end] if wanted.fits(letter)]
        more = len(found) > limit
        return LetterPage(found[:limit], found[limit - 1].number + 1 if more else None, end)

    async def letter(self, number: int) -> Letter | None:
        """From the list."""
        return self.letters[number] if number < len(self.letters) else None

    def _decide(self, letter: Letter, decision: Decision) -> Letter:
        if self.fails is not None:
            raise self.fails
        self.letters[letter.number] = decided = replace(letter, decision=decision)
        return decided

    async def redrive(
        self, wanted: LetterFilter, start: int, end: int | None, limit: int, per_s: float, by: str
    ) -> Decided:
        """Mark them; results, which have no record, are refused."""
        self.rates.append(per_s)
        page = await self.page(replace(wanted, states=wanted.states or OPEN), start, end, limit)
        refused = [(letter.number, "no_record") for letter in page.letters if letter.source is None]
        letters = [
            self._decide(letter, Decision(LetterState.REDRIVEN, 1, 1, by, execution="e"))
            for letter in page.letters
            if letter.source is not None
        ]
        return Decided(letters, refused, page.next, page.end)

    async def discard(
        self, wanted: LetterFilter, start: int, end: int | None, limit: int, by: str, comment: str
    ) -> Decided:
        """Mark them."""
        page = await self.page(replace(wanted, states=wanted.states or OPEN), start, end, limit)
        letters = [self._decide(letter, Decision(LetterState.DISCARDED, 1, 1, by, comment)) for letter in page.letters]
        return Decided(letters, [], page.next, page.end)

    async def edit(self, number: int, value: bytes, by: str, comment: str) -> Letter | None:
        """Keep the value."""
        letter = self.letters[number]
        if letter.state not in OPEN:
            raise UserError(f"letter {number} is {letter.state}")
        return self._decide(letter, Decision(LetterState.EDITED, 1, 1, by, comment, value))


FENCED = Fenced("somebody else")
