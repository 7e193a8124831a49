"""Every decoder of outside input that there is."""

from tests.fuzz.configurations import configuration_decoders
from tests.fuzz.decoder import Decoder
from tests.fuzz.dumps import dump_decoders
from tests.fuzz.streams import stream_decoders
from tests.fuzz.values import value_decoders


def decoders() -> dict[str, Decoder]:
    """All of them by name."""
    every = [*value_decoders(), *dump_decoders(), *stream_decoders(), *configuration_decoders()]
    assert len({one.name for one in every}) == len(every)
    return {one.name: one for one in every}
