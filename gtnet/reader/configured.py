"""What front ends have in common that are made from one configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

import gtnet
from gtnet.reader.alphabet import Alphabet
from gtnet.reader.settings import as_dict, from_dict

C = TypeVar("C")
F = TypeVar("F", bound="Configured[Any]")


class Configured(Generic[C]):
    """A front end that its configuration describes, saved as that and made again from it.

    Its recognition graphs are chains of frames, unless it says otherwise in `characters`.
    """

    name: str
    kind: ClassVar[type[Any]]
    """The dataclass of its configurations."""
    looks: Sequence[Any] = ()

    def __init__(self, config: C | None = None) -> None:
        self.config: C = self.kind() if config is None else config

    def settings(self) -> dict[str, Any]:
        """All that makes it, as JSON takes it."""
        return as_dict(self.config)

    @classmethod
    def from_settings(cls: type[F], values: dict[str, Any]) -> F:
        """The front end that `settings` describes."""
        return cls(from_dict(cls.kind, values))

    def characters(self, alphabet: Alphabet) -> gtnet.Graph:
        """The transducer from frames to characters: runs of frames, blanks between or not."""
        return gtnet.ctc_topology(alphabet.num_labels, alphabet.nothing)
