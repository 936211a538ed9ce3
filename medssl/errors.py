"""The one error type that a user is meant to read."""

from medssl.privacy import printable


class UserError(Exception):
    """Something the user can mend: `CODE where: cause. Fix: what to do`.

    `code` is a stable upper-case word (`CONFIG`, `CUT`, `GEOMETRY`, ...), `where` the file, key,
    case or patient concerned, `cause` says what was found and what was expected, `fix` the way out.
    The command line prints the message without a traceback and leaves with the exit status; Jupyter
    prints it without one, too (`%debug` still goes to the place).
    """

    status = 2

    def __init__(self, code: str, where: object, cause: str, fix: str):
        self.code, self.where, self.cause, self.fix = code, str(where), cause.rstrip("."), fix
        where = printable(self.where)  # a file's name may hold line breaks or steer a terminal
        stop = "" if self.cause.endswith("?") else "."
        super().__init__(f"{code} {where}: {printable(self.cause)}{stop} Fix: {printable(fix)}")

    def _render_traceback_(self) -> list[str]:
        return [str(self)]

    def __reduce__(self):
        return type(self), (self.code, self.where, self.cause, self.fix)


class TooManyBad(UserError):
    """The work is done and written, but more of the input was refused than the user allows."""

    status = 3


def check_bad(bad: int, total: int, allowed: float, where: object) -> None:
    """Raise TooManyBad if the share of refused inputs is over `allowed`; `where` lists them."""
    if bad > allowed * total:
        cause = f"{bad} of {total} were refused, max_bad={allowed:g} allows {int(allowed * total)}"
        raise TooManyBad(
            "TOO_MANY_BAD", where, cause, "mend the files listed there, or raise max_bad"
        )


def one_line(error: BaseException, limit: int = 1000) -> str:
    """An exception as one printable line: control characters and line breaks become spaces.

    It is long enough that no path is cut in two: what hides names later would not know half of one.
    """
    words = getattr(error, "strerror", None) or f"{error}" or type(error).__name__
    line = " ".join(printable(words).split())
    return line if len(line) <= limit else line[: limit + 1].rpartition(" ")[0] or "<long text>"


def out_of_memory(error: BaseException) -> bool:
    """Whether memory of the machine or of a GPU ran out; torch has no type of its own for the first."""
    words = ("can't allocate memory", "Unable to allocate", "CUDA out of memory")
    return isinstance(error, MemoryError) or any(each in str(error) for each in words)
