"""Text that strangers have chosen, for people: nothing in it moves a cursor, breaks a line or turns its direction."""


def printable(text: str) -> str:
    """The text with U+FFFD for each character that is not to be seen."""
    return text if text.isprintable() else "".join(each if each.isprintable() else "\ufffd" for each in text)
