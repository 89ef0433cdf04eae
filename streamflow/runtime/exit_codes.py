"""How a worker ends, for its supervisor: 0 as asked, 70 after what a restart may heal, 78 when it cannot help."""

from streamflow.errors import Recovery, StreamflowError

EXIT_FAILED = 70
EXIT_REFUSED = 78


def exit_code(error: BaseException) -> int:
    """Of a worker that ends by this error."""
    refused = isinstance(error, StreamflowError) and error.recovery is Recovery.REFUSE
    return EXIT_REFUSED if refused else EXIT_FAILED
