"""What is said to a server in tests, and how its accounts are checked."""

from __future__ import annotations

from streaming import wire
from tests.fakes import ToneScript
from tests.live.peers import Talk

TEXT = "Hello there, this is the first sentence. And this one is the second, a bit longer one. "


SLOW = ToneScript(delay_s={"slice": 0.01}, characters_per_second=30.0)


def check_accounts(
    client: Talk, context_id: str = "default", audio_format: str = "pcm"
) -> wire.SessionDone:
    """The promises of the protocol about one finished context of a plain socket."""
    starts = [m for m in client.all(wire.AudioStart) if m.context_id == context_id]
    dones = [m for m in client.all(wire.AudioDone) if m.context_id == context_id]
    (end,) = (m for m in client.all(wire.SessionDone) if m.context_id == context_id)
    assert [m.sentence_index for m in starts] == list(range(len(starts)))
    first_samples = [0]
    for done in dones:
        first_samples.append(first_samples[-1] + done.samples)
        assert done.total_bytes == 2 * done.samples or audio_format != "pcm"
    assert [m.first_sample for m in starts] == first_samples[:-1]
    assert first_samples[-1] == end.total_samples
    assert len(starts) == len(dones) == end.total_sentences
    assert isinstance(end, wire.SessionDone)
    return end
