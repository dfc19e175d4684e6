"""Define the one exception for bad input, and recover exceptions from other processes."""


class InputError(ValueError):
    """Signal bad input: a file, an option or a message that fails validation.

    The message is a single line that names the place (file, row, field) and what was
    expected there; the command line prints it and exits with code 2.
    """

    def __init__(self, message: str) -> None:
        # Names and what other libraries say may hold line breaks.
        super().__init__(" ".join(message.splitlines()))


def original(error: BaseException) -> BaseException:
    """Return the exception that was raised in another process, without Ray's wrappers.

    A task's error has the original as its ``cause``; the error of an actor that could not be made
    has a task's error as its first argument.
    """
    while type(error).__module__ == "ray.exceptions":
        carried = (getattr(error, "cause", None), *error.args)
        inner = next((one for one in carried if isinstance(one, BaseException)), None)
        if inner is None:
            break
        error = inner
    return error
