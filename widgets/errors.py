"""An error as one says it beside a figure."""

import traceback
from pathlib import Path


LONGEST = 300  # characters of an error that is said


def told(error: Exception) -> str:
    """An error as one says it, with the line where it was raised, be it a method's or a view's.

    JAX may add a page of advice: only the first line is said.
    """
    calls = traceback.extract_tb(error.__traceback__)
    ours = [call for call in calls if "site-packages" not in Path(call.filename).parts]
    at = ours[-1] if ours else None
    # What a cell defines is in a file that is not there.
    file = Path(at.filename).name if at and Path(at.filename).exists() else "a cell"
    place = f" (in {at.name}, line {at.lineno} of {file})" if at else ""
    first, _, more = str(error).strip().partition("\n")
    cut = " ..." if more.strip() or len(first) > LONGEST else ""
    return f"{type(error).__name__}: {first[:LONGEST]}{cut}{place}"
