"""The one exception that carries a sentence for the person."""


class UserError(Exception):
    """Something the person can mend.

    The text is one clear line that names the file, line or field and the mend. The command line prints it on stderr
    and exits 2; the terminal shows it as a notice. Anything else that is raised is a defect of ours.

    Attributes:
        hint: of one that ends a run, what to try, where the text does not say it.
    """

    hint: str | None = None


class LostNumbers(UserError):
    """A loss or a gradient is NaN or infinite: training cannot go on with these settings."""
