"""What a notebook cell made is closed when the cell runs again."""

from typing import Protocol


class Closed(Protocol):
    """Something that ends."""

    def close(self) -> None: ...


_by_cell: dict[str, tuple[str, list[Closed]]] = {}


def close_former(made: Closed) -> None:
    """Close what an earlier execution of the cell that runs has made; `made` is new in it."""
    cell, execution = _cell()
    if cell is None:
        return
    earlier, others = _by_cell.get(cell, ("", []))
    if earlier != execution:
        for old in others:
            old.close()
        others = []
    _by_cell[cell] = (execution, [*others, made])


def _cell() -> tuple[str | None, str]:
    """The notebook cell that is running, and which execution of it this is."""
    try:
        from IPython import get_ipython

        parent = get_ipython().get_parent()
        return parent["metadata"].get("cellId"), parent["header"]["msg_id"]
    except (ImportError, AttributeError, KeyError):
        return None, ""
