"""What an approval does, in plain Python: rows by number, people, and a clock. Knows nothing of partitions or ids."""

from dataclasses import dataclass, field

#: A vote: (who, what, comment).
Said = tuple[str, str, str | None]


@dataclass
class Waiting:
    """One row that waits."""

    since: int
    approvers: list[str]
    votes: list[Said] = field(default_factory=list)
    escalated: bool = False


@dataclass
class Model:
    """quorum of approvers; deadline and escalation on one clock, in ms."""

    quorum: int
    approvers: list[str]
    deadline: int | None = None
    escalate: int | None = None
    escalate_to: tuple[str, ...] = ()
    waiting: dict[int, Waiting] = field(default_factory=dict)
    left: dict[int, tuple[str, list[Said]]] = field(default_factory=dict)

    def park(self, number: int, at: int) -> None:
        self.waiting[number] = Waiting(at, list(self.approvers))

    def say(self, number: int, who: str, what: str, comment: str | None, to: str | None) -> None:
        row = self.waiting.get(number)
        if row is None or who in {voter for voter, _, _ in row.votes}:
            return
        if row.approvers and who not in row.approvers:
            return
        if what == "delegate":
            if row.approvers and to and to not in row.approvers:
                row.approvers = [to if each == who else each for each in row.approvers]
            return
        row.votes.append((who, what, comment))
        against = len([vote for vote in row.votes if vote[1] == "reject"])
        if len(row.votes) - against == self.quorum:
            self._leave(number, "approved")
        elif against > (len(row.approvers) - self.quorum if row.approvers else 0):
            self._leave(number, "rejected")

    def pass_time(self, now: int) -> None:
        for number, row in sorted(self.waiting.items()):
            if self.escalate is not None and not row.escalated and now >= row.since + self.escalate:
                row.escalated = True
                known = {*row.approvers, *(voter for voter, _, _ in row.votes)}
                row.approvers = row.approvers + [each for each in self.escalate_to if each not in known]
            if self.deadline is not None and now >= row.since + self.deadline:
                self._leave(number, "expired")

    def _leave(self, number: int, outcome: str) -> None:
        self.left[number] = (outcome, self.waiting.pop(number).votes)
