"""The one exception for anything from outside that is not as it should be."""


class InputError(ValueError):
    """Bad input: a file, an option or a message that fails validation.

    The message is a single line that names the place (file, row, field) and what was
    expected there; the command line prints it and exits with code 2.
    """

    def __init__(self, message: str) -> None:
        # Names and what other libraries say may hold line breaks.
        super().__init__(" ".join(message.splitlines()))
